"""The members of a `Join`, decided as they arrive.

A member runs for all rows that are open when it starts, so every open row has the outcomes of the same members: the
state is one batch for each member that has arrived, over the open rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import anyio
import numpy as np

from stretto.batch.batch import Batch
from stretto.engine.apply import shaped
from stretto.engine.context import Context
from stretto.errors import DeadlineExceeded, StepError, StrettoError
from stretto.plan.nodes import Join
from stretto.plan.plan import Plan
from stretto.plan.protocols import UNDECIDED

Run: TypeAlias = Callable[[Plan, tuple[Batch, ...]], Awaitable[Batch]]


async def join(node: Join, inputs: Sequence[tuple[Batch, ...]], context: Context, run: Run) -> Batch:
    """Return the answers of a `Join` as a list; `inputs` are each member's, and `run` evaluates a member's plan."""
    tally = Tally(node, inputs[0][0].size, context)

    async def member(at: int) -> None:
        rows = tally.open
        if len(rows):
            columns = inputs[at] if len(rows) == tally.size else tuple(_take(each, rows) for each in inputs[at])
            tally.add(node.names[at], rows, await run(node.members[at], columns))

    async def in_turn() -> None:
        for at in range(len(node.members)):
            await member(at)

    async def side_by_side() -> None:
        async def beside(at: int) -> None:
            await member(at)
            if not len(tally.open):
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for at in range(len(node.members)):
                tasks.start_soon(beside, at)

    if not node.waits:
        await in_turn()
    else:
        with anyio.move_on_after(node.seconds):
            await (in_turn() if node.in_turn else side_by_side())
        tally.end()
    return Batch(tally.answers.tolist(), tally.size, tally.errors)


class Tally:
    """What has arrived for the rows of a `Join`, and the positions of those that are still open."""

    def __init__(self, node: Join, size: int, context: Context) -> None:
        self.node, self.size, self.context = node, size, context
        self.open = np.arange(size)
        self.answers = np.empty(size, dtype=object)
        self.errors: dict[int, StrettoError] = {}
        self._arrived: dict[str, Batch] = {}

    def add(self, name: str, rows: np.ndarray, result: Batch) -> None:
        """Decide what can be with one more member's outcomes, for the rows at these positions."""
        if not len(self.open):
            return
        self._arrived[name] = result if len(rows) == len(self.open) else _take(result, np.searchsorted(rows, self.open))
        self._fail_expired(name)
        self._decide(tuple(each for each in self.node.names if each not in self._arrived))

    def end(self) -> None:
        """Decide the rows that are open after the node's seconds without the members that have not arrived."""
        if len(self.open) and self.context.expired:
            self.errors |= {int(row): self.context.exceeded(repr(self.node.title)) for row in self.open}
        elif len(self.open):
            self._decide(())

    def _fail_expired(self, name: str) -> None:
        # After the request's own deadline a row has no answer: `until` would take it for a failure of the member.
        errors = self._arrived[name].errors
        expired = [at for at, error in errors.items() if isinstance(error, DeadlineExceeded)]
        if expired and self.context.expired:
            self.errors |= {int(self.open[at]): errors[at] for at in expired}
            self._close(expired)

    def _decide(self, waiting: tuple[str, ...]) -> None:
        """Decide rows together where the until can, and the others one by one."""
        decided = np.zeros(len(self.open), dtype=bool)
        alone = np.ones(len(self.open), dtype=bool)
        for places, columns in self._alike() if self.node.many and len(self.open) > 1 else ():
            sure = self._together(places, columns, waiting)
            if sure is not None:
                decided[places[sure]] = True
                alone[places if waiting else places[sure]] = False
        if alone.any():
            decided[self._one_by_one(np.flatnonzero(alone), waiting)] = True
        if decided.any():
            self._close(np.flatnonzero(decided))

    def _alike(self) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Return the rows in which the same members failed and answers have one form: their places, and the columns."""
        for failed, rows in by_failure(self._arrived, len(self.open)).items():
            some = {name: _take(batch, rows) for name, batch in self._arrived.items() if name not in failed}
            places = np.arange(len(rows)) if isinstance(rows, range) else np.asarray(rows)
            for own, part in Batch.pack(tuple(some), list(some.values()), len(rows)).parts() if some else ():
                yield places if len(own) == len(places) else places[np.asarray(own)], part.data()

    def _together(self, places: np.ndarray, columns: Mapping[str, Any], waiting: tuple[str, ...]) -> np.ndarray | None:
        """Decide these rows with `many`, and return which of them are decided; None where it can't tell."""
        try:
            decision = cast("Any", self.node.many)(columns, waiting)
            if decision is None:
                return None
            answers, decided = decision
            if not (isinstance(answers, np.ndarray) and answers.ndim == 1):
                answers = np.fromiter(shaped(answers, len(places)).rows(), dtype=object, count=len(places))
            self.answers[self.open[places[decided]]] = answers[decided]
        except Exception:  # each row by itself says what is wrong with it
            return None
        return decided

    def _one_by_one(self, places: np.ndarray, waiting: tuple[str, ...]) -> list[int]:
        """Decide these rows one by one, and return the places of those that are decided."""
        outcomes = [_take(batch, places).outcomes() for batch in self._arrived.values()]
        rows = zip(*outcomes, strict=True) if outcomes else [()] * len(places)
        decided: list[int] = []
        for at, row in zip(places.tolist(), rows, strict=True):
            outcome = self._outcome(dict(zip(self._arrived, row, strict=True)), waiting)
            if outcome is UNDECIDED:
                continue
            decided.append(at)
            if isinstance(outcome, StrettoError):
                self.errors[int(self.open[at])] = outcome
            else:
                self.answers[self.open[at]] = outcome
        return decided

    def _outcome(self, arrived: dict[str, Any], waiting: tuple[str, ...]) -> Any:
        node = self.node
        try:
            answer = node.one(arrived, waiting)
        except StrettoError as error:
            return error if node.own_inputs else error.under(node.title)
        except Exception as error:
            return StepError.of(node.title, error)
        if answer is not UNDECIDED or waiting:
            return answer
        missing = [name for name in node.names if name not in arrived]
        if not missing:
            return StepError(node.title, "Undecided", "all members answered, and none of it decides")
        return DeadlineExceeded(f"{node.title!r}, without {', '.join(missing)}", node.seconds)

    def _close(self, places: Sequence[int] | np.ndarray) -> None:
        left = np.delete(np.arange(len(self.open)), places)
        self.open = self.open[left]
        self._arrived = {name: _take(batch, left) for name, batch in self._arrived.items()} if len(left) else {}


def by_failure(batches: Mapping[str, Batch], size: int) -> dict[tuple[str, ...], Sequence[int]]:
    """Return the positions of rows by the names of the batches in which they have failed, those of no failure first."""
    failed = {i for batch in batches.values() for i in batch.errors}
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in sorted(failed):
        groups[tuple(name for name, batch in batches.items() if i in batch.errors)].append(i)
    fine = [i for i in range(size) if i not in failed] if failed else range(size)
    return {(): fine, **groups} if fine else dict(groups)


def _take(batch: Batch, rows: Any) -> Batch:
    return batch if len(rows) == batch.size and isinstance(rows, range) else batch.take(rows)
