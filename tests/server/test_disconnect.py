"""Requests whose clients hang up are stopped, and looking after that costs others nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stretto.errors import Overloaded
from stretto.server.disconnect import WATCH_AFTER, DisconnectWatcher
from stretto.server.messages import ClientDisconnectedError


class Line:
    """A client's connection, which can be hung up."""

    def __init__(self) -> None:
        self.hung_up = asyncio.Event()
        self.watched = 0

    async def receive(self) -> dict[str, Any]:
        self.watched += 1
        await self.hung_up.wait()
        return {"type": "http.disconnect"}


async def test_work_is_stopped_when_its_client_hangs_up_and_other_work_is_not() -> None:
    watcher, gone, there = DisconnectWatcher(), Line(), Line()
    work = [
        asyncio.create_task(watcher.run(asyncio.sleep(2.5 * WATCH_AFTER, "done"), each.receive))
        for each in (gone, there)
    ]
    gone.hung_up.set()
    with pytest.raises(ClientDisconnectedError):
        await work[0]
    assert await work[1] == "done"
    assert (gone.watched, there.watched) == (1, 1)


async def test_short_work_is_not_watched_however_much_of_it_there_is() -> None:
    watcher, line = DisconnectWatcher(), Line()
    loop = asyncio.get_running_loop()
    end = loop.time() + 3 * WATCH_AFTER
    while loop.time() < end:
        assert await watcher.run(asyncio.sleep(0.01, "done"), line.receive) == "done"
    assert not line.watched


async def test_it_begins_anew_after_a_rest() -> None:
    watcher = DisconnectWatcher()
    for _ in range(2):
        line = Line()
        assert await watcher.run(asyncio.sleep(0, "done"), line.receive) == "done"
        await asyncio.sleep(2.5 * WATCH_AFTER)
        work = asyncio.create_task(watcher.run(asyncio.sleep(60), line.receive))
        line.hung_up.set()
        with pytest.raises(ClientDisconnectedError):
            await work


async def test_who_cancels_the_request_or_the_work_is_told_apart() -> None:
    watcher, line = DisconnectWatcher(), Line()
    request = asyncio.create_task(watcher.run(asyncio.sleep(60), line.receive))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    work = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(work.cancel)
    with pytest.raises(Overloaded, match="shutting down"):
        await watcher.run(work, line.receive)
