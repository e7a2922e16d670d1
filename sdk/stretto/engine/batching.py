"""Natural batching: what gathers while the workers are busy travels together."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing
from functools import partial
from types import coroutine
from typing import Any, Generic, TypeAlias, TypeVar

from stretto.engine.context import now
from stretto.engine.cost import Cost
from stretto.engine.per_loop import PerLoop
from stretto.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")
Entry: TypeAlias = tuple[Item, asyncio.Future[Result], int, float | None]
"""An item, the future of its result, the rows in it, and its deadline."""
Entries: TypeAlias = list[Entry[Item, Result]]
Answers: TypeAlias = Sequence[Result | Exception]
Parts: TypeAlias = AsyncGenerator[Sequence[tuple[int, Result | Exception]]]
"""The results by their positions in the batch, as they are ready."""
Run: TypeAlias = Callable[[list[Item]], Answers[Result] | Awaitable[Answers[Result]] | Parts[Result]]

PATIENCE = 3
"""The iterations of the event loop that a free worker waits at most, each only if the last brought more items."""
PATIENT = 60.0
"""Seconds that an item without a deadline may have to wait."""
HASTE = 0.1
"""The part of its time that an item may have to wait for the oldest to go first, until nothing waits any more."""
STANDING = 8.0
"""How many times as long as a row takes the rows may wait that are left in a queue that has been too long for long."""
LOOKED_AT = 16
"""The items after which the queue is looked at: the time that it takes is measured in microseconds, and so are rows."""
OVERDUE = 3.0
"""The multiple of the usual time after which a worker may leave a batch to itself."""
USUAL = 0.25
"""Seconds that are taken for the usual time at first."""
LEAST = 0.005
"""Seconds below which no time counts as unusual."""


class Coalescer(Generic[Item, Result]):
    """A queue in front of something that takes many items in one go.

    A free worker takes what is there at the end of the present iteration of the event loop, so a single caller waits
    for nothing; where there are several items, or were in the batch before, it waits while each iteration brings more,
    up to `PATIENCE`. While all `workers` are busy items gather, and the next free one takes them together, oldest
    first, up to `max_batch`. `run` returns a result an item, at once, as an awaitable, which keeps the worker busy, or
    in parts as they are ready, of which the first frees the worker; an exception among the results is raised at its own
    caller. An item that weighs more than `max_batch` travels alone. Past `max_queued` an item is `Overloaded` at once.

    With the measured `cost` of its rows the queue is bounded by time too. A batch has as many rows as pay. An item that
    can't be computed before its deadline, or within `PATIENT`, is `Overloaded` at once; and while the oldest may not
    make it, the newest go first: of more than can be computed the oldest would all be late (as Facebook's adaptive LIFO
    has it: Maurer, Fail at Scale, ACM Queue 13(8), 2015).

    There are no timers, unless `spare` says how many batches may leave their worker to others: those that take longer
    than `OVERDUE` times the usual.
    """

    def __init__(
        self,
        run: Run[Item, Result],
        *,
        workers: int = 1,
        max_batch: int = 64,
        max_queued: int = 10_000,
        name: str = "the models",
        spare: int = 0,
        cost: Cost | None = None,
    ) -> None:
        self._queue = PerLoop(lambda: _Queue(run, workers, max_batch, max_queued, name, spare, cost))

    def submit(self, item: Item, weight: int = 1, deadline: float | None = None) -> asyncio.Future[Result]:
        """Return the future of an item's result; cancelling it withdraws the item. `weight` is the rows in it.

        Raises:
            Overloaded: the queue is full.
        """
        queue = self._queue.here()
        future = queue.add(item, weight, deadline)
        queue.soon()
        return future

    def ask(self, item: Item, weight: int = 1, deadline: float | None = None) -> Awaitable[Result]:
        """Return the same for a caller that awaits at once.

        The first of a batch then runs it in its own task, which spares an iteration of the event loop.

        Raises:
            Overloaded: the queue is full.
        """
        queue = self._queue.here()
        future = queue.add(item, weight, deadline)
        if queue.due or not queue.free:
            return future
        queue.due = True
        return queue.lead(future)

    async def aclose(self) -> None:
        """Withdraw what waits, and cancel what runs."""
        await self._queue.here().aclose()


class _Queue(Generic[Item, Result]):
    """What waits in an event loop, bounded by the rows in it, and when it is run.

    Its tasks are asyncio's own, in no task group: a batch belongs to all its callers, and outlives each of them.
    """

    def __init__(
        self,
        run: Run[Item, Result],
        workers: int,
        max_batch: int,
        max_queued: int,
        name: str,
        spare: int,
        cost: Cost | None,
    ) -> None:
        self._run, self._max_batch, self._max_queued, self._name = run, max_batch, max_queued, name
        self._loop = asyncio.get_running_loop()
        self._entries: deque[Entry[Item, Result]] = deque()
        self._rows = self._seen = self._iterations = self._last = 0
        self._running: set[asyncio.Future[Any]] = set()
        self._cost, self._workers = cost, workers
        self._overloaded_since: float | None = None
        self.free = workers
        self.due = False
        self.usual = USUAL if spare else None
        self.spare = spare

    def add(self, item: Item, weight: int, deadline: float | None) -> asyncio.Future[Result]:
        if self._cost is not None and (len(self._entries) % LOOKED_AT == LOOKED_AT - 1 or self._overloaded_since):
            self._shed(self._cost, weight, deadline)
        if self._rows + weight > self._max_queued and self._rows:
            self._entries = deque(entry for entry in self._entries if not entry[1].done())
            self._rows = sum(entry[2] for entry in self._entries)
            if self._rows and self._rows + weight > self._max_queued:
                raise self._full()
        future: asyncio.Future[Result] = self._loop.create_future()
        self._entries.append((item, future, weight, deadline))
        self._rows += weight
        return future

    def _shed(self, cost: Cost, weight: int, deadline: float | None) -> None:
        """Fail the oldest entries that can't be computed in time, and find out whether the newest should go first.

        Raises:
            Overloaded: one more item can't be computed in time, even if it goes first.
        """
        at = now()
        own = _patience(deadline, weight, at)
        seconds = self._drained(cost, weight)
        if seconds is None:
            return
        # Once it has stood for longer than all of a request's time, this is no burst: then the queue is kept short, so
        # that what is answered is answered soon.
        standing = self._overloaded_since is not None and at - self._overloaded_since > own
        most = STANDING * (cost.expect(1) or 0.0) if standing else math.inf
        while self._entries:
            _, future, rows, due = self._entries[0]
            left = _patience(due, rows, at)
            if self._overloaded_since is None and seconds > HASTE * min(left, own):
                self._overloaded_since = at
            if seconds <= min(left, most) and not future.done():
                break
            self._entries.popleft()
            self._rows -= rows
            if not future.done():
                future.set_exception(self._full(seconds))
            seconds = self._drained(cost, weight) or 0.0
        alone = cost.drain(weight, self._max_batch, self._workers) or 0.0
        if alone > own > 0:
            raise self._full(alone)

    def _drained(self, cost: Cost, weight: int) -> float | None:
        return cost.drain(self._rows + weight, self._max_batch, self._workers)

    def _full(self, seconds: float = 0.0) -> Overloaded:
        late = f", which takes {seconds:.1f} s for them: one would not be answered in time" if seconds else ""
        message = (
            f"{self._rows} rows wait in front of {self._name}{late}; try again later, or ask for many rows with "
            "client.map(rows), which keeps a few under way, or with client.predict_many(rows)"
        )
        return Overloaded(message, seconds) if seconds else Overloaded(message)

    def soon(self) -> None:
        if self.free and not self.due:
            self.due = True
            self._loop.call_soon(self._flush)

    async def lead(self, future: asyncio.Future[Result]) -> Result:
        """Run what is there after this iteration of the event loop, and return the future's result."""
        try:
            await _iteration()
        except asyncio.CancelledError:
            future.cancel()
            self._loop.call_soon(self._flush)
            raise
        self._flush()
        try:
            return await future
        finally:
            del future  # the traceback of its error holds this frame: so they need no garbage collector

    async def aclose(self) -> None:
        for _, future, _, _ in self._entries:
            future.cancel()
        self._entries.clear()
        self._rows = 0
        running = list(self._running)
        for work in running:
            work.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _take(self) -> Entries[Item, Result]:
        """Remove the entries whose turn it is, as many rows as pay, and return those that somebody waits for."""
        entries = self._entries
        batch: Entries[Item, Result] = []
        room = self._max_batch
        if self._cost is not None and len(entries) > 1:
            room = self._cost.batch(room)
        first = 0 if self._overloaded_since is None else -1
        while entries and (not batch or entries[first][2] <= room):
            entry = entries.pop() if first else entries.popleft()
            self._rows -= entry[2]
            if not entry[1].done():
                batch.append(entry)
                room -= entry[2]
        if not entries:
            self._overloaded_since = None
        return batch

    def _expects_more(self) -> bool:
        """Return whether waiting one more iteration pays: requests that are answered together come back together."""
        waiting = len(self._entries)
        several = waiting > 1 or self._last > 1
        if several and waiting > self._seen and self._rows < self._max_batch and self._iterations < PATIENCE:
            self._seen = waiting
            self._iterations += 1
            return True
        self._seen = self._iterations = 0
        return False

    def _flush(self) -> None:
        self.due = False
        if self.free and self._expects_more():
            self.soon()
            return
        while self.free and self._entries:
            batch = self._take()
            self._last = len(batch)
            if batch and self._start(batch):
                # One batch an iteration, so that callers with an answer run before the next one is computed.
                if self._entries:
                    self.soon()
                return

    def _start(self, batch: Entries[Item, Result]) -> bool:
        """Run a batch; return whether it has been computed here and now."""
        try:
            results = self._run([entry[0] for entry in batch])
        except Exception as error:
            _settle(batch, [error] * len(batch))
            return False
        if isinstance(results, list) or not isinstance(results, Awaitable | AsyncGenerator):
            _settle(batch, results)
            return True
        worker = _Worker(self, self._loop)
        work = asyncio.ensure_future(results if isinstance(results, Awaitable) else _in_parts(batch, results, worker))
        self._running.add(work)
        work.add_done_callback(partial(self._ended, batch, worker))
        _cancel_with_all(batch, work)
        return False

    def _ended(self, batch: Entries[Item, Result], worker: _Worker, work: asyncio.Future[Any]) -> None:
        self._running.discard(work)
        if work.cancelled():
            for _, future, _, _ in batch:
                future.cancel()
        elif error := work.exception():
            _settle(batch, [error] * len(batch))
        elif work.result() is not None:
            _settle(batch, work.result())
        worker.end()

    def freed(self) -> None:
        self.free += 1
        self._flush()


def _patience(deadline: float | None, rows: int, at: float) -> float:
    """Return the seconds that an item may wait: a call of many rows without a deadline, as long as it takes."""
    if deadline is not None:
        return deadline - at
    return PATIENT if rows == 1 else math.inf


class _Worker:
    """The worker of one batch: busy until its first results are there, or until it leaves an overdue batch alone."""

    __slots__ = ("_alone", "_busy", "_queue", "_start", "_timer")

    def __init__(self, queue: _Queue[Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        self._queue = queue
        self._busy = True
        self._alone = False
        queue.free -= 1
        self._timer: asyncio.TimerHandle | None = None
        if queue.usual is not None:
            self._start = loop.time()
            self._wait()

    def free(self) -> None:
        """Record that the first results are there."""
        if self._timer is not None and self._queue.usual is not None:
            self._timer.cancel()
            self._timer = None
            # Moves towards the median, since it goes up as often as it goes down.
            slower = asyncio.get_running_loop().time() - self._start > self._queue.usual
            self._queue.usual = max(LEAST, self._queue.usual * (1.1 if slower else 1 / 1.1))
        if self._busy:
            self._busy = False
            self._queue.freed()

    def end(self) -> None:
        """Record that the batch has ended."""
        if self._alone:
            self._alone = False
            self._queue.spare += 1
        self.free()

    def _wait(self) -> None:
        assert self._queue.usual is not None
        self._timer = asyncio.get_running_loop().call_later(OVERDUE * self._queue.usual, self._leave)

    def _leave(self) -> None:
        if not self._queue.spare:
            self._wait()
            return
        self._queue.spare -= 1
        self._alone, self._busy = True, False
        self._queue.freed()


async def _in_parts(batch: Entries[Item, Result], parts: Parts[Result], worker: _Worker) -> None:
    """Set the result of each item as soon as it is there.

    Raises:
        RuntimeError: there was no result for an item.
    """
    async with aclosing(parts):
        async for part in parts:
            if part:
                _settle([batch[at] for at, _ in part], [result for _, result in part])
                worker.free()
    if not all(future.done() for _, future, _, _ in batch):
        raise RuntimeError(f"{len(batch)} items went in, and not all had a result")


def _cancel_with_all(batch: Entries[Any, Any], work: asyncio.Future[Any]) -> None:
    """Cancel the work on a batch once nobody waits for any item of it."""
    left = len(batch)

    def one_less(future: asyncio.Future[Any]) -> None:
        nonlocal left
        left -= 1
        if not left and future.cancelled():
            work.cancel()

    for _, future, _, _ in batch:
        future.add_done_callback(one_less)


@coroutine
def _iteration() -> Generator[None]:
    """Wait for one iteration of the event loop, as ``asyncio.sleep(0)`` does with one more frame."""
    yield


def _settle(batch: Entries[Item, Result], results: Sequence[Result | BaseException]) -> None:
    if len(results) != len(batch):
        results = [RuntimeError(f"{len(batch)} items went in and {len(results)} results came out")] * len(batch)
    for (_, future, _, _), result in zip(batch, results, strict=True):
        if not future.done():
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
