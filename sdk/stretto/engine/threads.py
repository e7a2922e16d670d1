"""Bounded worker threads, and coroutines that never suspend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar, cast

from stretto.batch.contain import ExitError

T = TypeVar("T")


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, such as the evaluation of a stage, without an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    work.close()
    raise RuntimeError("what runs in a stage must not wait")


class Threads:
    """At most `most` worker threads; a cancelled call keeps its thread until it returns.

    AnyIO would free an abandoned thread's place at once, and work that timed out would pile up past the bound.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        """Call `fn` in a thread."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._most, "stretto")

        def call() -> T:
            try:
                return fn(*args)
            except BaseException as error:
                # A future rejects StopIteration (`asyncio.Future.set_exception`), so its caller would wait for ever;
                # and SystemExit would end the event loop in which its task is awaited.
                if isinstance(error, Exception) and not isinstance(error, StopIteration):
                    raise
                raise ExitError(error) from None

        return await asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, call)

    def close(self) -> None:
        """Withdraw what has not begun, and let the threads end."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
