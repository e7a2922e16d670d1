"""Bounded worker threads, and coroutines that never suspend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock
from typing import Any, TypeVar, cast

from stretto.batch.contain import ExitError
from stretto.engine.batching import Coalescer
from stretto.engine.context import now
from stretto.engine.cost import Cost
from stretto.engine.fork import forget_after_fork
from stretto.plan.steps import Step

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

    AnyIO would free an abandoned thread's place at once, and work that timed out would pile up past the bound. Event
    loops of several threads share them: an executor takes work from any thread, and a lock sees to it that there is one
    executor. A forked process has threads of its own.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._queues: dict[Step, Coalescer[Any, tuple[Any, Exception | None]]] = {}
        self.forget()
        forget_after_fork(self)

    def forget(self) -> object:
        """Drop the executor, and return it."""
        pool: object = getattr(self, "_pool", None)
        self._pool: ThreadPoolExecutor | None = None
        self._starting = Lock()
        return pool

    def _started(self) -> ThreadPoolExecutor:
        with self._starting:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.most, "stretto")
            return self._pool

    async def row(self, step: Step, row: Any, deadline: float | None) -> tuple[Any, Exception | None]:
        """Return what a step's function returns for one row, or raises, in turn with those of other requests.

        Raises:
            Overloaded: it would not end in time.
        """
        queue = self._queues.get(step)
        if queue is None:
            queue = self._queues.setdefault(step, _in_threads(self, step))  # another thread may have been first
        return await queue.ask((row, copy_context()), deadline=deadline)

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        """Call `fn` in a thread."""
        pool = self._pool or self._started()

        def call() -> T:
            try:
                return fn(*args)
            except BaseException as error:
                # A future rejects StopIteration (`asyncio.Future.set_exception`), so its caller would wait for ever;
                # and SystemExit would end the event loop in which its task is awaited.
                if isinstance(error, Exception) and not isinstance(error, StopIteration):
                    raise
                raise ExitError(error) from None

        return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, call)

    async def aclose(self) -> None:
        """Withdraw what has not begun, and let the threads end."""
        for queue in list(self._queues.values()):
            await queue.aclose()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_threads(threads: Threads, step: Step) -> Coalescer[Any, tuple[Any, Exception | None]]:
    """Return the queue of rows in front of the threads that call a step's function."""
    cost = Cost()

    def call(row: Any) -> tuple[Any, Exception | None]:
        start = now()
        try:
            return step.fn(row), None
        except StopIteration:
            raise
        except Exception as error:
            return None, error
        finally:
            cost.note(1, now() - start)

    async def run(items: list[Any]) -> list[tuple[Any, Exception | None]]:
        ((row, context),) = items
        return [await threads.run(context.run, call, row)]

    return Coalescer(run, workers=threads.most, max_batch=1, name=f"step {step.name!r}", cost=cost)
