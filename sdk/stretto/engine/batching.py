"""Natural batching: what gathers while the lanes are busy travels together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeAlias, TypeVar

from stretto.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")
Entry: TypeAlias = tuple[Item, asyncio.Future[Result], int]
Entries: TypeAlias = list[Entry[Item, Result]]
PATIENCE = 3
"""How many turns of the event loop a free lane waits at most, each only if the turn before brought more company."""


class Coalescer(Generic[Item, Result]):
    """A queue in front of something that takes many items in one go.

    A free lane takes what is there at the end of the event loop's present turn, so a single caller waits for nothing;
    where several items are there, it waits for as long as each further turn brings more, but no more than `PATIENCE`.
    While all `lanes` are busy items gather, and the next free lane takes them together, oldest first, up to
    `max_batch`. There are no timers. `run` gives a result an item, either at once or as an awaitable, which keeps the
    lane busy; a result that is an exception is raised at its own caller. An item that weighs more than `max_batch`
    travels alone. Past `max_queued` the answer is `Overloaded` at once.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result | Exception] | Awaitable[Sequence[Result | Exception]]],
        *,
        lanes: int = 1,
        max_batch: int = 64,
        max_queued: int = 10_000,
        name: str = "",
    ) -> None:
        self._run = run
        self._free = self._lanes = lanes
        self._max_batch = max_batch
        self._max_queued = max_queued
        self._name = name
        self._queue: deque[Entry[Item, Result]] = deque()
        self._queued = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = False
        self._seen = self._turns = 0
        self._running: set[asyncio.Future[Sequence[Result | Exception]]] = set()

    def submit(self, item: Item, weight: int = 1) -> asyncio.Future[Result]:
        """Put an item in the queue; cancelling the future it gives withdraws it. `weight` is the rows in it.

        Raises:
            Overloaded: the queue is full.
        """
        loop = self._loop
        # Futures belong to a loop: asyncio.run called a second time starts with a new one and an empty queue.
        if loop is None or loop is not asyncio.get_running_loop():
            loop = self._restart()
        if self._queued and self._queued + weight > self._max_queued:
            self._drop_cancelled()
            if self._queued and self._queued + weight > self._max_queued:
                raise Overloaded(f"{self._queued} rows wait in front of {self._name or 'the models'}; try again later")
        future: asyncio.Future[Result] = loop.create_future()
        self._queue.append((item, future, weight))
        self._queued += weight
        if self._free and not self._due:
            self._due = True
            loop.call_soon(self._flush)  # as `_soon` does, on the hot path
        return future

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _expects_more(self) -> bool:
        """Return whether a lane does well to wait for one turn more: requests that travel in step arrive in step."""
        waiting = len(self._queue)
        if waiting > 1 and waiting > self._seen and self._queued < self._max_batch and self._turns < PATIENCE:
            self._seen = waiting
            self._turns += 1
            return True
        self._seen = self._turns = 0
        return False

    async def aclose(self) -> None:
        """Withdraw what waits, and cancel what runs."""
        if self._loop is not asyncio.get_running_loop():
            self._restart()
        while self._queue:
            self._queue.popleft()[1].cancel()
        self._queued = 0
        running = list(self._running)
        for work in running:
            work.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _restart(self) -> asyncio.AbstractEventLoop:
        # What was left of another event loop died with it.
        self._loop = asyncio.get_running_loop()
        self._queue, self._running = deque(), set()
        self._queued, self._free, self._due = 0, self._lanes, False
        self._seen = self._turns = 0
        return self._loop

    def _flush(self) -> None:
        self._due = False
        if self._free and self._expects_more():
            self._soon()
            return
        while self._free and self._queue:
            batch = self._next()
            if not batch:
                continue
            results = self._start(batch)
            if results is None:
                continue
            if not isinstance(results, list) and isinstance(results, Awaitable):
                self._free -= 1
                work = asyncio.ensure_future(results)
                self._running.add(work)
                work.add_done_callback(partial(self._ended, batch, self._running))
                _Withdrawal(batch, work)
            else:
                _settle(batch, results)
                # One batch a turn, so that whoever was answered gets to run before the next one is computed.
                if self._queue:
                    self._soon()
                return

    def _start(
        self, batch: Entries[Item, Result]
    ) -> Sequence[Result | Exception] | Awaitable[Sequence[Result | Exception]] | None:
        try:
            return self._run([item for item, _, _ in batch])
        except Exception as error:
            _settle(batch, [error] * len(batch))
            return None

    def _ended(
        self,
        batch: Entries[Item, Result],
        running: set[asyncio.Future[Sequence[Result | Exception]]],
        work: asyncio.Future[Sequence[Result | Exception]],
    ) -> None:
        running.discard(work)
        if work.cancelled():
            for _, future, _ in batch:
                future.cancel()
        elif error := work.exception():
            _settle(batch, [error] * len(batch))
        else:
            _settle(batch, work.result())
        if running is self._running:
            self._free += 1
            self._flush()

    def _next(self) -> Entries[Item, Result]:
        batch: Entries[Item, Result] = []
        total = 0
        queue = self._queue
        while queue and (not batch or total + queue[0][2] <= self._max_batch):
            entry = queue.popleft()
            self._queued -= entry[2]
            if not entry[1].done():
                batch.append(entry)
                total += entry[2]
        return batch

    def _drop_cancelled(self) -> None:
        self._queue = deque(entry for entry in self._queue if not entry[1].done())
        self._queued = sum(entry[2] for entry in self._queue)


class _Withdrawal(Generic[Item, Result]):
    """Cancels the work on a batch once nobody waits for any item of it."""

    def __init__(self, batch: Entries[Item, Result], work: asyncio.Future[Sequence[Result | Exception]]) -> None:
        self._left = len(batch)
        self._work = work
        for _, future, _ in batch:
            future.add_done_callback(self._one_less)

    def _one_less(self, future: asyncio.Future[Result]) -> None:
        self._left -= future.cancelled()
        if not self._left:
            self._work.cancel()


def _settle(batch: Entries[Item, Result], results: Sequence[Result | BaseException]) -> None:
    if len(results) != len(batch):
        results = [RuntimeError(f"{len(batch)} items went in and {len(results)} results came out")] * len(batch)
    for (_, future, _), result in zip(batch, results, strict=True):
        if not future.done():
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
