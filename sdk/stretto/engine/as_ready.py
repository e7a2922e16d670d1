"""Outcomes as they are ready, instead of all of them at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from stretto.errors import Overloaded, StrettoError

Ready: TypeAlias = Sequence[tuple[int, Any]]
"""Positions of rows, each with the row's outcome."""
UNDER_WAY = 1024
"""The rows of one request that are under way at a time."""


async def as_ready(count: int, ask: Callable[[int], Awaitable[Any]]) -> AsyncGenerator[Ready]:
    """Yield the outcomes of `count` rows, those that are ready at a time together.

    `ask` returns the answer to the row at a position, or raises its error. Closing this cancels what is under way.

    >>> async def main():
    ...     async def wait(at):
    ...         return await asyncio.sleep([0.05, 0, 0][at], 10 * at)
    ...     return [part async for part in as_ready(3, wait)]
    >>> asyncio.run(main())
    [[(1, 10), (2, 20)], [(0, 0)]]
    """
    ready: list[tuple[int, asyncio.Future[Any]]] = []
    running: set[asyncio.Future[Any]] = set()
    wake = asyncio.Event()
    rest = iter(range(count))

    def begin() -> None:
        at = next(rest, None)
        if at is not None:
            work = asyncio.ensure_future(ask(at))
            running.add(work)
            work.add_done_callback(partial(end, at))

    def end(at: int, work: asyncio.Future[Any]) -> None:
        running.discard(work)
        if not work.cancelled():
            work.exception()  # who closes this early does not want it, and asyncio would complain
        ready.append((at, work))
        wake.set()
        begin()

    try:
        for _ in range(min(count, UNDER_WAY)):
            begin()
        left = count
        while left:
            await wake.wait()
            await asyncio.sleep(0)  # what is answered in one iteration of the event loop goes together
            part, ready = ready, []
            wake.clear()
            left -= len(part)
            yield [(at, _outcome(work)) for at, work in part]
    finally:
        rest = iter(())
        for work in running:
            work.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _outcome(work: asyncio.Future[Any]) -> Any:
    if work.cancelled():
        return Overloaded("the server is shutting down; try again")
    error = work.exception()
    if error is None:
        return work.result()
    if isinstance(error, StrettoError):
        return error
    raise error
