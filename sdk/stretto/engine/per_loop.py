"""What belongs to one event loop, for objects that outlive it."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from typing import Generic, TypeVar

from stretto.engine.fork import forget_after_fork

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value for each event loop, made by `make` where it is first asked for.

    Futures, locks and connections belong to the loop that they were made in. Several threads may run loops side by
    side, and ``asyncio.run`` starts another each time: a value is kept until its loop is closed. Any thread may ask, as
    a loop runs in one thread alone, and what the threads share is changed in single operations on dicts and names. In a
    forked process there are new values. (``anyio.lowlevel.RunVar`` does the same with a look for the asynchronous
    library, and through two dicts: too slow for every row.)

    >>> import asyncio
    >>> rows = PerLoop(list)
    >>> async def add(row):
    ...     rows.here().append(row)
    ...     return rows.here()
    >>> asyncio.run(add(1)), asyncio.run(add(2))
    ([1], [2])
    """

    __slots__ = ("__weakref__", "_latest", "_make", "_values")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.forget()
        forget_after_fork(self)

    def here(self) -> T:
        """Return the running event loop's value."""
        loop = get_running_loop()
        # A pair, read once: another thread may set the next one at any moment.
        latest = self._latest
        return latest[1] if latest is not None and latest[0] is loop else self._of(loop)

    def forget(self) -> object:
        """Drop all values, and return them."""
        values: object = getattr(self, "_values", None)
        self._values: dict[AbstractEventLoop, T] = {}
        self._latest: tuple[AbstractEventLoop, T] | None = None
        return values

    def _of(self, loop: AbstractEventLoop) -> T:
        if loop not in self._values:
            for other in list(self._values):
                if other.is_closed():
                    self._values.pop(other, None)
            self._values[loop] = self._make()
        value = self._values[loop]
        self._latest = loop, value
        return value
