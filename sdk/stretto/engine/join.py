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

Run: TypeAlias = Callable[[Plan, Sequence[Batch]], Awaitable[Batch]]


async def join(node: Join, columns: Sequence[Batch], context: Context, run: Run) -> Batch:
    """Return the answers of a `Join` that waits, as a list; `run` evaluates a member's plan."""
    tally = Tally(node, columns, context)

    async def member(at: int) -> None:
        if len(rows := tally.open):
            tally.add(at, rows, await run(node.members[at], tally.inputs(at)))

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

    with anyio.move_on_after(node.seconds):
        await (in_turn() if node.in_turn else side_by_side())
    tally.end()
    return tally.batch()


class Tally:
    """What has arrived for the rows of a `Join`; `open` are the positions of the rows that are not decided."""

    def __init__(self, node: Join, columns: Sequence[Batch], context: Context) -> None:
        self.node, self.columns, self.context = node, columns, context
        self.size = columns[0].size
        self._one = node.one
        self.open = np.arange(self.size)
        self._arrived: dict[str, Batch] = {}
        self._answers = np.empty(self.size, dtype=object)
        self._errors: dict[int, StrettoError] = {}

    def inputs(self, at: int) -> Sequence[Batch]:
        """Return the inputs of a member, for the open rows."""
        columns = self.columns[at : at + 1] if self.node.own_inputs else self.columns
        return columns if len(self.open) == self.size else [_take(each, self.open) for each in columns]

    def add(self, at: int, rows: np.ndarray, result: Batch) -> None:
        """Decide what can be with one more member's outcomes, for the rows at these positions."""
        if len(rows) > len(self.open):  # others have arrived since the member started
            result = _take(result, np.searchsorted(rows, self.open))
        self._arrived[self.node.names[at]] = result
        if result.errors:
            self._fail_expired(result.errors)
        self._decide(tuple([each for each in self.node.names if each not in self._arrived]))

    def end(self) -> None:
        """Decide the open rows, after the node's seconds, without the members that have not arrived."""
        if self.context.expired:
            self._errors |= {row: self.context.exceeded(repr(self.node.title)) for row in self.open.tolist()}
        else:
            self._decide(())

    def batch(self) -> Batch:
        """Return the rows' outcomes."""
        return Batch(self._answers.tolist(), self.size, self._errors)

    def _fail_expired(self, errors: Mapping[int, StrettoError]) -> None:
        # After the request's own deadline a row has no answer: `until` would take it for a failure of the member.
        expired = [at for at, error in errors.items() if isinstance(error, DeadlineExceeded)]
        if expired and self.context.expired:
            self._errors |= {int(self.open[at]): errors[at] for at in expired}
            self._close(expired)

    def _decide(self, waiting: tuple[str, ...]) -> None:
        """Decide rows together where the until can, and the others one by one."""
        size = len(self.open)
        if self.node.many is None or size < 2:
            return self._close(self._one_by_one(np.arange(size), waiting))
        decided, left = np.zeros(size, dtype=bool), np.ones(size, dtype=bool)
        for places, columns in self._alike():
            sure = self._together(places, columns, waiting)
            if sure is not None:
                decided[places[sure]] = True
                left[places if waiting else places[sure]] = False
        if left.any():
            decided[self._one_by_one(np.flatnonzero(left), waiting)] = True
        return self._close(np.flatnonzero(decided))

    def _alike(self) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Return the rows in which the same members failed and answers have one form: their places, and the columns."""
        arrived = self._arrived.values()
        if arrived and all(isinstance(each.values, np.ndarray) and not each.errors for each in arrived):
            # The usual case, on the hot path: models that answer with arrays, and none has failed.
            yield np.arange(len(self.open)), {name: each.values for name, each in self._arrived.items()}
            return
        for failed, rows in by_failure(self._arrived, len(self.open)).items():
            some = {
                name: batch if isinstance(rows, range) else batch.take(rows)
                for name, batch in self._arrived.items()
                if name not in failed
            }
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
            if decided.any():
                if not (isinstance(answers, np.ndarray) and answers.ndim == 1):
                    answers = np.fromiter(shaped(answers, len(places)).rows(), dtype=object, count=len(places))
                self._answers[self.open[places[decided]]] = answers[decided]
        except Exception:  # what is wrong with which row is for `one` to say
            return None
        return decided

    def _one_by_one(self, places: np.ndarray, waiting: tuple[str, ...]) -> list[int]:
        """Decide these rows one by one, and return the places of those that are decided."""
        size = len(places)
        outcomes = {
            name: Batch((batch if size == batch.size else _take(batch, places)).outcomes(), size)
            for name, batch in self._arrived.items()
        }
        rows = Batch(outcomes, size).rows()
        decided: list[int] = []
        for at, position, arrived in zip(places.tolist(), self.open[places].tolist(), rows, strict=True):
            outcome = self._outcome(arrived, waiting)
            if outcome is UNDECIDED:
                continue
            decided.append(at)
            if isinstance(outcome, StrettoError):
                self._errors[position] = outcome
            else:
                self._answers[position] = outcome
        return decided

    def _outcome(self, arrived: dict[str, Any], waiting: tuple[str, ...]) -> Any:
        node = self.node
        try:
            answer = self._one(arrived, waiting)
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
        if len(places) == len(self.open):
            self.open, self._arrived = self.open[:0], {}
        elif len(places):
            left = np.ones(len(self.open), dtype=bool)
            left[places] = False
            self.open = self.open[left]
            self._arrived = {name: _take(batch, np.flatnonzero(left)) for name, batch in self._arrived.items()}


def by_failure(batches: Mapping[str, Batch], size: int) -> dict[tuple[str, ...], Sequence[int]]:
    """Return the positions of rows by the names of the batches in which they have failed, those of no failure first."""
    failed = {i for batch in batches.values() for i in batch.errors}
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in sorted(failed):
        groups[tuple(name for name, batch in batches.items() if i in batch.errors)].append(i)
    fine = [i for i in range(size) if i not in failed] if failed else range(size)
    return {(): fine, **groups} if fine else dict(groups)


def _take(batch: Batch, rows: np.ndarray) -> Batch:
    return batch.take(cast("Sequence[int]", rows))
