"""A virtual clock: an hour of waiting takes no time, and everything happens in the same order every time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from stretto.engine.context import CLOCK

REAL_SECONDS = 10.0
"""Real seconds in which a thread or a socket must wake an event loop that has no timer left."""


@contextmanager
def virtual_clock() -> Generator[asyncio.Runner]:
    """Enter a runner in whose event loop time jumps to the next timer when nothing else is ready.

    Sleeps, timeouts, deadlines, pauses and times to live all see this clock, which starts at 0 seconds:
    ``clock.get_loop().time()`` reads it. While a thread works for the loop, time stands still. It is for code that
    runs in this process: other processes and the other ends of sockets use real time. Use it where no event loop runs.

    Raises:
        RuntimeError: in `run`, every task waits for something that no timer and no thread will cause.

    >>> import asyncio
    >>> from stretto import Client
    >>> async def slow(x):
    ...     await asyncio.sleep(3600)
    ...     return 2 * x
    >>> async def main():
    ...     async with Client(slow) as client:
    ...         return await client.predict(21), asyncio.get_running_loop().time()
    >>> with virtual_clock() as clock:
    ...     clock.run(main())
    (42, 3600.0)
    """
    loop = _Loop()
    token = CLOCK.set(loop.time)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            # The runner's tasks copy the context as it is now.
            runner.get_loop()
            yield runner
    finally:
        CLOCK.reset(token)


class _Jumps(selectors.DefaultSelector):
    """Selects without waiting for timers: it moves the clock to the next one."""

    now = 0.0
    threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.threads:
            return super().select(None)
        if timeout is None:
            ready = super().select(REAL_SECONDS)
            if not ready:
                raise RuntimeError("every task waits for something that never comes: no timer is set, no thread works")
            return ready
        self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        work = super().run_in_executor(executor, func, *args)
        self._jumps.threads += 1
        work.add_done_callback(self._ended)
        return work

    def _ended(self, work: asyncio.Future[Any]) -> None:
        self._jumps.threads -= 1
