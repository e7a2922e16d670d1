"""Stopping work that nobody waits for any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from stretto.errors import Overloaded
from stretto.server.messages import GoneError

Result = TypeVar("Result")
PATIENCE = 0.25
"""Seconds before a connection is watched, and up to twice that: it takes a task, and most requests are answered sooner.
A server that is asked more than it can answer must not have that to do beside."""


class DisconnectWatcher:
    """Stops the work of requests whose clients hang up.

    One timer looks after all of them: those that were there at its last turn are watched from the next.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._young: set[_Watch] = set()
        self._old: set[_Watch] = set()

    async def run(self, work: Awaitable[Result], receive: Receive) -> Result:
        """Return the result of `work`, which is cancelled if the client hangs up while it takes longer than `PATIENCE`.

        Raises:
            GoneError: the client hung up.
            Overloaded: the work was cancelled for another reason than this request, as when its models are shut down.
        """
        watch = _Watch(receive)
        self._add(watch)
        try:
            try:
                return await work
            finally:
                self._young.discard(watch)
                self._old.discard(watch)
                if watch.task is not None:
                    await watch.stop(watch.task)
        except asyncio.CancelledError:
            if watch.gone and not watch.request.uncancel():
                raise GoneError from None
            if watch.request.cancelling():
                raise
            raise Overloaded("the server is shutting down; try again") from None

    def _add(self, watch: _Watch) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._young, self._old = loop, set(), set()
            loop.call_later(PATIENCE, self._turn, loop)
        self._young.add(watch)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            return
        for watch in self._old:
            watch.start()
        self._old, self._young = self._young, set()
        if self._old:
            loop.call_later(PATIENCE, self._turn, loop)
        else:
            self._loop = None  # the next request starts the timer again: a server at rest does nothing


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

    async def stop(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _wait(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self.gone = True
            self.request.cancel()
