"""Cancelling the work of requests whose clients have disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeAlias, TypeVar

from starlette.types import Receive

from stretto.engine.per_loop import PerLoop
from stretto.errors import Overloaded
from stretto.server.messages import ClientDisconnectedError

Result = TypeVar("Result")
Request: TypeAlias = "asyncio.Task[Any]"
"""The task in which the server runs a request."""
WATCH_AFTER = 0.25
"""Seconds, and at most twice that, before a connection is watched for disconnects. Watching takes a task, and most
requests finish sooner."""


class DisconnectWatcher:
    """Cancels the work of requests whose clients disconnect."""

    def __init__(self) -> None:
        self._requests = PerLoop(_Requests)

    async def run(self, work: Awaitable[Result], receive: Receive) -> Result:
        """Return the result of `work`, and cancel it if the client disconnects while it takes longer.

        Raises:
            ClientDisconnectedError: the client disconnected.
            Overloaded: the work was cancelled for another reason than this request, such as a shutdown of its models.
        """
        requests, request, watch = self._requests.here(), asyncio.current_task(), None
        assert request is not None
        requests.add(request, receive)
        try:
            try:
                return await work
            finally:
                watch = requests.remove(request)
                if watch is not None:
                    watch.cancel()
                    await asyncio.wait([watch])
        except asyncio.CancelledError:
            # CPython counts the requests to cancel a task (Task.cancelling); who handles the CancelledError of a
            # request of its own takes that back (Task.uncancel). Ours was the only one if none is left then.
            if watch is not None and not watch.cancelled() and watch.result() and not request.uncancel():
                raise ClientDisconnectedError from None
            if request.cancelling():
                raise
            raise Overloaded("the server is shutting down; try again") from None


class _Requests:
    """The requests of an event loop: one timer watches those that were there at its last tick, and still are."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._recent: dict[Request, Receive] = {}
        self._older: dict[Request, Receive] = {}
        self._watches: dict[Request, asyncio.Task[bool]] = {}
        self._ticking = False

    def add(self, request: Request, receive: Receive) -> None:
        self._recent[request] = receive
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(WATCH_AFTER, self._tick)

    def remove(self, request: Request) -> asyncio.Task[bool] | None:
        if self._recent.pop(request, None) is None and self._older.pop(request, None) is None:
            return self._watches.pop(request)
        return None

    def _tick(self) -> None:
        for request, receive in self._older.items():
            self._watches[request] = self._loop.create_task(_disconnected(request, receive))
        self._older, self._recent = self._recent, {}
        self._ticking = bool(self._older or self._watches)  # an idle server does nothing
        if self._ticking:
            self._loop.call_later(WATCH_AFTER, self._tick)


async def _disconnected(request: Request, receive: Receive) -> bool:
    """Cancel the request once its client disconnects, and return whether it has."""
    disconnected = (await receive())["type"] == "http.disconnect"
    if disconnected:
        request.cancel()
    return disconnected
