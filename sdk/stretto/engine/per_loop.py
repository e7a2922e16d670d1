"""What belongs to one event loop, for objects that outlive it."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value made anew for each event loop, by `make`.

    Futures, locks and connections belong to the loop that they were made in, and ``asyncio.run`` starts another each
    time: what was left of the one before died with it. (``anyio.lowlevel.RunVar`` does the same, in a dict and with a
    look for the asynchronous library: too slow for every row.)

    >>> import asyncio
    >>> rows = PerLoop(list)
    >>> async def add(row):
    ...     rows.here().append(row)
    ...     return rows.here()
    >>> asyncio.run(add(1)), asyncio.run(add(2))
    ([1], [2])
    """

    __slots__ = ("_loop", "_make", "_value")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._loop: AbstractEventLoop | None = None

    def here(self) -> T:
        """Return the running event loop's value."""
        loop = get_running_loop()
        if loop is not self._loop:
            self._value = self._make()
            self._loop = loop
        return self._value
