"""A local stage with its queue: rows of many requests run through it together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import anyio

from stretto.batch.batch import Batch
from stretto.batch.frames import are_plain
from stretto.engine.batching import Coalescer
from stretto.engine.context import UNLIMITED, Context, latest, limit, now
from stretto.engine.cost import Cost
from stretto.engine.evaluate import Program
from stretto.engine.held import HELD, in_event_loop, warn
from stretto.engine.meaning import failures
from stretto.engine.per_loop import PerLoop
from stretto.engine.threads import Threads
from stretto.errors import Overloaded, StrettoError
from stretto.plan.steps import Stage

LOOP_BUDGET = 0.005
"""The longest a stage may hold the event loop, in seconds; one that is expected to take longer goes to a thread."""

Item: TypeAlias = tuple[Any, float | None]
"""One request's row, or the `Columns` of its rows, with its deadline."""


class Columns(tuple[Batch, ...]):
    """A request's rows, as a stage's inputs have them."""

    __slots__ = ()


class StageQueue:
    """Runs a stage: short batches in the event loop, longer ones in a thread, as its measured cost says.

    `workers` batches run side by side in threads, of at most `max_batch` rows each. Event loops of several threads have
    a queue each; what they share is the cost, the threads and the program, which is not changed once it is made.
    """

    def __init__(self, stage: Stage, threads: Threads, *, max_batch: int, max_queued: int, workers: int) -> None:
        self.stage = stage
        self.cost = Cost()
        self._program = Program(stage.plan)
        self._threads = threads
        self._max_batch = max_batch
        self._bulk = PerLoop(lambda: anyio.Semaphore(workers))
        self._queue: Coalescer[Item, Any] = Coalescer(
            self._start,
            workers=workers,
            max_batch=max_batch,
            max_queued=max_queued,
            name=f"stage {stage.name}",
            cost=self.cost,
        )
        self.aclose = self._queue.aclose

    def takes_together(self, rows: int) -> bool:
        """Return whether so many rows should be computed together: where that does not pay, each comes alone."""
        return rows <= self.cost.batch(self._max_batch)

    def ask(self, row: Any, context: Context) -> Awaitable[Any]:
        """Queue one row, for a caller that awaits its answer, or error, at once."""
        return self._queue.ask((row, None)) if context.deadline is None else self._in_time(row, context)

    async def _in_time(self, row: Any, context: Context) -> Any:
        with limit(context.budget):
            return await self._queue.ask((row, context.deadline), deadline=context.deadline)
        raise context.exceeded(f"stage {self.stage.name!r}")

    async def run(self, columns: tuple[Batch, ...], context: Context) -> Batch:
        """Queue the rows of a request's columns, and return their outcomes by its deadline."""
        try:
            with limit(context.budget):
                result = await self._by_size(columns, context, columns[0].size)
                if not context.expired:
                    return result
        except Overloaded as full:
            error: StrettoError = full
        else:
            error = context.exceeded(f"stage {self.stage.name!r}")
        # A row that had failed on the way here keeps its own error: that one says where the time went.
        failed = failures(columns)
        return Batch.failed(failed.get(i) or error for i in range(columns[0].size))

    async def _by_size(self, columns: tuple[Batch, ...], context: Context, size: int) -> Batch:
        if context.spans is not None:
            # A traced request runs alone, so that the spans are its own.
            with context.span(self.stage.name, "stage", size):
                return await self._threads.run(self._timed, columns, context)
        if size <= self._max_batch:
            return await self._queue.ask((Columns(columns), context.deadline), size, context.deadline)
        # More than others could share a batch with: it has a thread to itself, when it is its turn.
        async with self._bulk.here():
            return await self._threads.run(self._timed, columns, context)

    def _start(self, items: list[Item]) -> Sequence[Any] | Awaitable[Sequence[Any]]:
        values, deadlines = zip(*items, strict=True)
        deadline = latest(deadlines)
        context = UNLIMITED if deadline is None else Context(deadline)
        columns, answers = together(values)
        expected = self.cost.expect(columns[0].size)
        if expected is not None and expected < LOOP_BUDGET:
            return answers(self._timed(columns, context))
        return self._later(columns, context, answers)

    async def _later(
        self, columns: Columns, context: Context, answers: Callable[[Batch], Sequence[Any]]
    ) -> Sequence[Any]:
        return answers(await self._threads.run(self._timed, columns, context))

    def _timed(self, columns: tuple[Batch, ...], context: Context) -> Batch:
        start = now()
        result = self._program(columns, context)
        seconds = now() - start
        self.cost.note(columns[0].size, seconds)
        if seconds > HELD and in_event_loop():
            warn(self.stage.name, f"it took {seconds:.1f} s for {columns[0].size} rows", asynchronous=False)
        return result


def together(values: Sequence[Any]) -> tuple[Columns, Callable[[Batch], Sequence[Any]]]:
    """Return the rows of several requests as one, and the function that cuts their outcomes back into requests.

    A value is a single row, or the `Columns` of several.
    """
    if are_plain(values):
        # The usual case, on the hot path: single rows of concurrent requests.
        return Columns((Batch(list(values), len(values), request=True),)), Batch.outcomes
    if Columns not in map(type, values):
        return Columns((Batch.of(values, request=True),)), Batch.outcomes
    requests = [each if type(each) is Columns else Columns((Batch.of([each], request=True),)) for each in values]
    return Columns(Batch.concat(same) for same in zip(*requests, strict=True)), partial(_cut, values)


def _cut(values: Sequence[Any], result: Batch) -> list[Any]:
    """Return what each request gets of a batch's result: the answer to its row, or the outcomes of its columns."""
    answers: list[Any] = []
    start = 0
    for value in values:
        stop = start + (value[0].size if type(value) is Columns else 1)
        part = result if stop - start == result.size else result.slice(start, stop)
        answers.append(part if type(value) is Columns else part.outcomes()[0])
        start = stop
    return answers
