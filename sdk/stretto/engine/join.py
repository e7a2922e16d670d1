"""The members of a `Join`, decided as they arrive.

A member runs for all rows that are open when it starts, so every open row has the outcomes of the same members: the
state is one batch for each member that has arrived, over the open rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, cast

import anyio
import numpy as np
from anyio.abc import TaskGroup

from stretto.batch.batch import Batch, dicts
from stretto.batch.contain import contained, failure
from stretto.batch.returned import shaped
from stretto.engine.backend import Backend
from stretto.engine.context import Context, limit
from stretto.errors import DeadlineExceeded, StepError, StrettoError
from stretto.plan.nodes import Join
from stretto.plan.protocols import UNDECIDED


async def join(node: Join, columns: Sequence[Batch], context: Context, backend: Backend) -> Batch:
    """Return the answers of a `Join`, as a list."""
    tally = _Tally(node, columns, context)

    async def member(at: int) -> None:
        if rows := tally.open:
            tally.add(at, rows, await backend.evaluate(node.members[at], tally.inputs(at), context))

    async def member_or_end(at: int, tasks: TaskGroup) -> None:
        await member(at)
        if not tally.open:
            tasks.cancel_scope.cancel()

    if not node.waits:
        for at in range(len(node.members)):
            await member(at)
        return tally.batch()
    with limit(node.seconds):
        if node.in_turn:
            for at in range(len(node.members)):
                await member(at)
        else:
            async with anyio.create_task_group() as tasks:
                for at in range(1, len(node.members)):
                    tasks.start_soon(member_or_end, at, tasks)
                await member_or_end(0, tasks)
    tally.end()
    return tally.batch()


class _Tally:
    """What has arrived for the rows of a `Join`; `open` are the positions of the rows that are not decided.

    Places are those of rows among the open ones.
    """

    def __init__(self, node: Join, columns: Sequence[Batch], context: Context) -> None:
        self.node, self.columns, self.context = node, columns, context
        self.size = columns[0].size
        self.open: Sequence[int] = range(self.size)
        self._arrived: dict[str, Batch] = {}
        self._answers: list[Any] = [None] * self.size
        self._errors: dict[int, StrettoError] = {}

    def inputs(self, at: int) -> Sequence[Batch]:
        """Return the inputs of a member, for the open rows."""
        columns = self.columns[at : at + 1] if self.node.own_inputs else self.columns
        return columns if len(self.open) == self.size else [each.take(self.open) for each in columns]

    def add(self, at: int, rows: Sequence[int], result: Batch) -> None:
        """Decide what can be with one more member's outcomes, for the rows at these positions."""
        if len(rows) > len(self.open):  # others have arrived since the member started
            result = result.take(np.searchsorted(rows, self.open).tolist())
        self._arrived[self.node.names[at]] = result
        if result.errors and self.context.expired:
            # After the request's own deadline a row has no answer: `until` would take it for the member's failure.
            expired = {i: error for i, error in result.errors.items() if isinstance(error, DeadlineExceeded)}
            self._errors |= {self.open[i]: error for i, error in expired.items()}
            self._close(list(expired))
        self._decide(tuple([each for each in self.node.names if each not in self._arrived]))

    def end(self) -> None:
        """Decide the open rows, after the node's seconds, without the members that have not arrived."""
        if self.context.expired:
            self._errors |= {row: self.context.exceeded(repr(self.node.title)) for row in self.open}
        else:
            self._decide(())

    def batch(self) -> Batch:
        """Return the rows' outcomes."""
        return Batch(self._answers, self.size, self._errors)

    def _decide(self, waiting: tuple[str, ...]) -> None:
        """Decide rows together where the until can, and the others one by one."""
        size = len(self.open)
        if self.node.many is None or size < 2:
            return self._close(self._one_by_one(range(size), waiting))
        decided: list[int] = []
        left: list[int] = []
        for places, columns in self._alike():
            sure = self._together(places, columns, waiting) if columns else None
            if sure is None:
                left += places
            else:
                decided += places if sure.all() else compress(places, sure)
                left += () if waiting else compress(places, ~sure)
        return self._close([*decided, *self._one_by_one(sorted(left), waiting)])

    def _alike(self) -> Iterator[tuple[Sequence[int], dict[str, Any]]]:
        """Return the rows in which the same members failed and answers have one form: their places, and the columns."""
        arrived = self._arrived.values()
        if arrived and all(isinstance(each.values, np.ndarray) and not each.errors for each in arrived):
            # The usual case, on the hot path: models that answer with arrays, and none has failed.
            yield range(len(self.open)), {name: each.values for name, each in self._arrived.items()}
            return
        for failed, rows in by_failure(self._arrived, len(self.open)).items():
            some = {name: batch.take(rows) for name, batch in self._arrived.items() if name not in failed}
            if not some:
                yield rows, {}
                continue
            for own, part in Batch.pack(tuple(some), list(some.values()), len(rows)).parts():
                yield [rows[at] for at in own], part.data()

    def _together(self, places: Sequence[int], columns: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
        """Decide these rows with `many`, and return an array of which are decided; None where it can't tell."""
        try:
            decision = cast("Any", self.node.many)(columns, waiting)
            if decision is None:
                return None
            answers, decided = decision
            if decided.any():
                values = shaped(answers, len(places)).rows()
                if places == range(self.size) and decided.all():
                    self._answers = list(values)
                else:
                    for place, value in compress(zip(places, values, strict=True), decided):
                        self._answers[self.open[place]] = value
        except BaseException as error:
            contained(error)  # what is wrong with which row is for `one` to say
            return None
        return decided

    def _one_by_one(self, places: Sequence[int], waiting: tuple[str, ...]) -> list[int]:
        """Decide these rows one by one, and return the places of those that are decided."""
        if not places:
            return []
        columns = [batch.outcomes() for batch in self._arrived.values()]
        if len(places) < len(self.open):
            columns = [[column[at] for at in places] for column in columns]
        decided: list[int] = []
        for at, arrived in zip(places, dicts(tuple(self._arrived), columns, len(places)), strict=True):
            outcome = self._outcome(arrived, waiting)
            if outcome is UNDECIDED:
                continue
            decided.append(at)
            if isinstance(outcome, StrettoError):
                self._errors[self.open[at]] = outcome
            else:
                self._answers[self.open[at]] = outcome
        return decided

    def _outcome(self, arrived: dict[str, Any], waiting: tuple[str, ...]) -> Any:
        node = self.node
        try:
            answer = node.one(arrived, waiting)
        except StrettoError as error:
            return error if node.own_inputs else error.under(node.title)
        except BaseException as error:
            return failure(node.title, contained(error))
        if answer is not UNDECIDED or waiting:
            return answer
        missing = [name for name in node.names if name not in arrived]
        if not missing:
            return StepError(node.title, "Undecided", "all members answered, and none of it decides")
        return DeadlineExceeded(f"{node.title!r}, without {', '.join(missing)}", node.seconds)

    def _close(self, places: Sequence[int]) -> None:
        if len(places) == len(self.open):
            self.open, self._arrived = (), {}
        elif places:
            closed = set(places)
            left = [at for at in range(len(self.open)) if at not in closed]
            self.open = [self.open[at] for at in left]
            self._arrived = {name: batch.take(left) for name, batch in self._arrived.items()}


def by_failure(batches: Mapping[str, Batch], size: int) -> dict[tuple[str, ...], Sequence[int]]:
    """Return the positions of rows by the names of the batches in which they have failed, those of no failure first."""
    failed = {i for batch in batches.values() for i in batch.errors}
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in sorted(failed):
        groups[tuple(name for name, batch in batches.items() if i in batch.errors)].append(i)
    fine = [i for i in range(size) if i not in failed] if failed else range(size)
    return {(): fine, **groups} if fine else dict(groups)
