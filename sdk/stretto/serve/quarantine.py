"""Rows whose replica died under them: which of them kill it, and which only stood beside those."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar

from stretto.serve.calls import DIED, PAUSE, TRIES

Answer = TypeVar("Answer")
Ask: TypeAlias = Callable[[range], Awaitable[Answer]]
"""Asks a replica, once, for the answers to the rows at these positions."""

PARTS = 16
"""Into how many parts rows are taken apart, again and again, down to the single row."""


class Quarantine(Generic[Answer]):
    """Asks for rows, and once more for those whose replica died: now with nothing else beside them.

    A row that kills its replica takes the calls with it that happen to be there, so what died together is asked for
    again one call after the other, in ever smaller parts, until the rows that do it stand alone.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def answers(self, size: int, ask: Ask[Answer]) -> list[tuple[range, Answer | Exception]]:
        """Return the answers to that many rows, by parts in their order; for a row that can't be had, why."""
        rows = range(size)
        try:
            return [(rows, await ask(rows))]
        except DIED:
            async with self._alone():
                await asyncio.sleep(PAUSE)
                return await self._apart(rows, ask)

    def _alone(self) -> asyncio.Lock:
        # A lock belongs to the event loop that first waited for it, and asyncio.run starts another each time.
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    async def _apart(self, rows: range, ask: Ask[Answer]) -> list[tuple[range, Answer | Exception]]:
        failure: Exception | None = None
        for _ in range(TRIES - 1 if len(rows) == 1 else 1):
            try:
                return [(rows, await ask(rows))]
            except DIED as error:
                failure = error
                await asyncio.sleep(PAUSE)
        if failure is not None and len(rows) == 1:
            return [(rows, failure)]
        step = -(-len(rows) // PARTS)
        parts = [rows[start : start + step] for start in range(0, len(rows), step)]
        return [each for part in parts for each in await self._apart(part, ask)]
