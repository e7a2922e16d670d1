"""Stopping work that nobody waits for any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from stretto.errors import Overloaded
from stretto.server.messages import GoneError

Result = TypeVar("Result")
PATIENCE = 0.02
"""Seconds before the connection is watched. A task for each request is expensive, and most are answered sooner."""


async def while_connected(work: Awaitable[Result], receive: Receive) -> Result:
    """Give the result of `work`, which is cancelled if the client hangs up while it takes longer than `PATIENCE`.

    Raises:
        GoneError: the client hung up.
        Overloaded: the work was cancelled for another reason than this request, as when its models are shut down.
    """
    watch = _Watch(receive)
    timer = asyncio.get_running_loop().call_later(PATIENCE, watch.start)
    try:
        try:
            return await work
        finally:
            timer.cancel()
            if watch.task is not None:
                await watch.stop()
    except asyncio.CancelledError:
        if watch.gone and not watch.request.uncancel():
            raise GoneError from None
        if watch.request.cancelling():
            raise
        raise Overloaded("the server is shutting down; try again") from None


class _Watch:
    """Waits for the client to hang up, and then cancels the request's task."""

    __slots__ = ("_receive", "gone", "request", "task")

    def __init__(self, receive: Receive) -> None:
        request = asyncio.current_task()
        assert request is not None
        self._receive = receive
        self.request = request
        self.task: asyncio.Task[None] | None = None
        self.gone = False

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._wait())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def _wait(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self.gone = True
            self.request.cancel()
