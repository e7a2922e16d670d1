"""Cancelling the work of requests whose clients have disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from stretto.errors import Overloaded
from stretto.server.messages import ClientDisconnectedError

Result = TypeVar("Result")
WATCH_AFTER = 0.25
"""Seconds, and at most twice that, before a connection is watched for disconnects. Watching takes a task, and most
requests finish sooner."""


class DisconnectWatcher:
    """Cancels the work of requests whose clients disconnect.

    One timer serves all requests: those that were there at its last tick, and still are, are watched from the next.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recent: set[_Watch] = set()
        self._older: set[_Watch] = set()

    async def run(self, work: Awaitable[Result], receive: Receive) -> Result:
        """Return the result of `work`, and cancel it if the client disconnects while it takes longer.

        Raises:
            ClientDisconnectedError: the client disconnected.
            Overloaded: the work was cancelled for another reason than this request, such as a shutdown of its models.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._start(loop)
        watch = _Watch(receive, asyncio.current_task(loop))
        self._recent.add(watch)
        try:
            try:
                return await work
            finally:
                self._recent.discard(watch)
                self._older.discard(watch)
                if watch.task is not None:
                    watch.task.cancel()
                    await asyncio.gather(watch.task, return_exceptions=True)
        except asyncio.CancelledError:
            # CPython counts the requests to cancel a task (Task.cancelling). Whoever cancelled it, and handles the
            # CancelledError, takes its own back (Task.uncancel): ours is the only one if none is left then.
            if watch.disconnected and not watch.request.uncancel():
                raise ClientDisconnectedError from None
            if watch.request.cancelling():
                raise
            raise Overloaded("the server is shutting down; try again") from None

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._recent, self._older = loop, set(), set()
        loop.call_later(WATCH_AFTER, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            return
        for watch in self._older:
            watch.task = loop.create_task(watch.wait())
        self._older, self._recent = self._recent, set()
        if self._older:
            loop.call_later(WATCH_AFTER, self._tick, loop)
        else:
            self._loop = None  # the next request starts the timer again: an idle server does nothing


class _Watch:
    """Waits for the client to disconnect, and then cancels the request's task."""

    __slots__ = ("disconnected", "receive", "request", "task")

    def __init__(self, receive: Receive, request: asyncio.Task[object] | None) -> None:
        assert request is not None
        self.receive = receive
        self.request = request
        self.task: asyncio.Task[None] | None = None
        self.disconnected = False

    async def wait(self) -> None:
        if (await self.receive())["type"] == "http.disconnect":
            self.disconnected = True
            self.request.cancel()
