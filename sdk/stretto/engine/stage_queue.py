"""A local stage with its queue: rows of many requests run through it together."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import anyio

from stretto.batch.batch import Batch
from stretto.engine.batching import Coalescer
from stretto.engine.context import Context, latest
from stretto.engine.evaluate import evaluate_stage
from stretto.engine.threads import Threads
from stretto.errors import Overloaded, StrettoError
from stretto.plan.steps import Stage

LOOP_BUDGET = 0.005
"""The longest a stage may hold the event loop, in seconds; one that is expected to take longer goes to a thread."""

Row: TypeAlias = tuple[Any, float | None]
"""One request's row with its deadline."""


class Cost:
    """What a stage takes for batches of about so many rows, as measured: a moving mean a power of two.

    Threads note while the event loop asks, so that nothing here grows.
    """

    def __init__(self) -> None:
        self._seconds: list[float | None] = [None] * 64

    def note(self, rows: int, seconds: float) -> None:
        """Remember what a batch took."""
        size = rows.bit_length()
        before = self._seconds[size]
        self._seconds[size] = seconds if before is None else 0.8 * before + 0.2 * seconds

    def expect(self, rows: int) -> float | None:
        """Guess what a batch will take, in seconds; None where nothing is known."""
        size = rows.bit_length()
        for less in range(size + 1):
            seconds = self._seconds[size - less]
            if seconds is not None:
                return seconds * 2.0**less
        return next((seconds for seconds in self._seconds if seconds is not None), None)


class Request:
    """The columns of one request's rows, with their context."""

    __slots__ = ("columns", "context")

    def __init__(self, columns: tuple[Batch, ...], context: Context) -> None:
        self.columns, self.context = columns, context


class StageQueue:
    """Runs a stage: short batches in the event loop, longer ones in a thread, as its measured cost says."""

    def __init__(self, stage: Stage, threads: Threads, *, max_batch: int, max_queued: int, lanes: int) -> None:
        self.stage = stage
        self.cost = Cost()
        self._threads = threads
        self._max_batch = max_batch
        self._bulk = anyio.Semaphore(lanes)
        self._queue: Coalescer[Row | Request, Any] = Coalescer(
            self._start, lanes=lanes, max_batch=max_batch, max_queued=max_queued, name=f"stage {stage.name}"
        )

    def submit(self, row: Any, deadline: float | None) -> Awaitable[Any]:
        """Queue one row; what it gives is the answer, or raises the row's error."""
        return self._queue.submit((row, deadline))

    async def run(self, columns: tuple[Batch, ...], context: Context) -> Batch:
        """Queue the rows of a request's columns, and give their outcomes by its deadline."""
        size = columns[0].size
        try:
            with anyio.move_on_after(context.budget):
                if context.spans is None and size <= self._max_batch:
                    result = await self._queue.submit(Request(columns, context), size)
                elif context.spans is None:
                    # More than others could share a batch with: it has a thread to itself, when it is its turn.
                    async with self._bulk:
                        result = await self._threaded(columns, context, size)
                else:
                    # A traced request runs alone, so that the spans are its own.
                    with context.span(self.stage.name, "stage", size):
                        result = await self._threaded(columns, context, size)
                if not context.expired:
                    return result
        except Overloaded as full:
            error: StrettoError = full
        else:
            error = context.exceeded(f"stage {self.stage.name!r}")
        # A row that had failed on the way here keeps its own error: that one says where the time went.
        failed = Batch.pack(tuple(map(str, range(len(columns)))), columns, size).errors
        return Batch.failed(failed.get(i) or error for i in range(size))

    async def aclose(self) -> None:
        """Withdraw what waits, and cancel what runs."""
        await self._queue.aclose()

    def _start(self, items: list[Row | Request]) -> Sequence[Any] | Awaitable[Sequence[Any]]:
        singles = [item for item in items if type(item) is tuple]
        if len(singles) == len(items):
            # The usual case, on the hot path: single rows of concurrent requests.
            rows, deadlines = zip(*singles, strict=True)
            return self._go((Batch(list(rows), len(rows), request=True),), Context(latest(deadlines)), Batch.outcomes)
        batches = [_as_batch(item) for item in items]
        columns = tuple(Batch.concat(same) for same in zip(*(batch.columns for batch in batches), strict=True))
        return self._go(columns, Context(latest(each.context.deadline for each in batches)), partial(_split, items))

    def _go(
        self, columns: tuple[Batch, ...], context: Context, split: Callable[[Batch], Sequence[Any]]
    ) -> Sequence[Any] | Awaitable[Sequence[Any]]:
        size = columns[0].size
        expected = self.cost.expect(size)
        if expected is not None and expected < LOOP_BUDGET:
            return split(self._timed(columns, context, size))

        async def later() -> Sequence[Any]:
            return split(await self._threaded(columns, context, size))

        return later()

    def _timed(self, columns: tuple[Batch, ...], context: Context, size: int) -> Batch:
        start = time.perf_counter()
        result = evaluate_stage(self.stage, columns, context)
        self.cost.note(size, time.perf_counter() - start)
        return result

    async def _threaded(self, columns: tuple[Batch, ...], context: Context, size: int) -> Batch:
        return await self._threads.run(self._timed, columns, context, size)


def _split(items: list[Row | Request], result: Batch) -> Sequence[Any]:
    answers: list[Any] = []
    start = 0
    for item in items:
        if isinstance(item, Request):
            size = item.columns[0].size
            answers.append(result if size == result.size else result.part(start, start + size))
        else:
            size = 1
            answers.append(result.part(start, start + 1).outcomes()[0])
        start += size
    return answers


def _as_batch(item: Row | Request) -> Request:
    if isinstance(item, Request):
        return item
    return Request((Batch([item[0]], 1, request=True),), Context(deadline=item[1]))
