"""Cancelling the work of requests whose clients have disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeAlias, TypeVar

from starlette.types import Receive

from stretto.errors import Overloaded
from stretto.server.messages import ClientDisconnectedError

Result = TypeVar("Result")
Request: TypeAlias = "asyncio.Task[Any]"
"""The task in which the server runs a request."""
WATCH_AFTER = 0.25
"""Seconds, and at most twice that, before a connection is watched for disconnects. Watching takes a task, and most
requests finish sooner."""


class DisconnectWatcher:
    """Cancels the work of requests whose clients disconnect.

    One timer serves all requests: those that were there at its last tick, and still are, are watched from the next.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recent: dict[Request, Receive] = {}
        self._older: dict[Request, Receive] = {}
        self._watches: dict[Request, _Watch] = {}

    async def run(self, work: Awaitable[Result], receive: Receive) -> Result:
        """Return the result of `work`, and cancel it if the client disconnects while it takes longer.

        Raises:
            ClientDisconnectedError: the client disconnected.
            Overloaded: the work was cancelled for another reason than this request, such as a shutdown of its models.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._start(loop)
        request = asyncio.current_task(loop)
        assert request is not None
        self._recent[request] = receive
        watch = None
        try:
            try:
                return await work
            finally:
                if self._recent.pop(request, None) is None and self._older.pop(request, None) is None:
                    watch = self._watches.pop(request, None)
                    if watch is not None:
                        await watch.stop()
        except asyncio.CancelledError:
            # CPython counts the requests to cancel a task (Task.cancelling); who handles the CancelledError of a
            # request of its own takes that back (Task.uncancel). Ours was the only one if none is left then.
            if watch is not None and watch.disconnected and not request.uncancel():
                raise ClientDisconnectedError from None
            if request.cancelling():
                raise
            raise Overloaded("the server is shutting down; try again") from None

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._recent, self._older, self._watches = loop, {}, {}, {}
        loop.call_later(WATCH_AFTER, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            return
        self._watches |= {request: _Watch(request, receive) for request, receive in self._older.items()}
        self._older, self._recent = self._recent, {}
        if self._older or self._watches:
            loop.call_later(WATCH_AFTER, self._tick, loop)
        else:
            self._loop = None  # the next request starts the timer again: an idle server does nothing


class _Watch:
    """Waits for the client to disconnect, and then cancels the request."""

    def __init__(self, request: Request, receive: Receive) -> None:
        self.disconnected = False
        self._request = request
        self._task = asyncio.get_running_loop().create_task(self._wait(receive))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _wait(self, receive: Receive) -> None:
        if (await receive())["type"] == "http.disconnect":
            self.disconnected = True
            self._request.cancel()
