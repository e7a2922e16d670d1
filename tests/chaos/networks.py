"""Servers and networks that misbehave: accept and never answer, answer half, send garbage, trickle, refuse, restart."""

from __future__ import annotations

import asyncio
import random
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

from stretto import Client
from stretto.testing import serving
from tests.benchmarks.programs.ensemble import ensemble
from tests.chaos.load import Load, under_load
from tests.chaos.replicas import CALLERS, DEADLINE, rows_and_answers
from tests.chaos.report import Found
from tests.chaos.settings import Settings

SHARE = 0.2
"""The connections that misbehave."""
LASTING = 2.0
"""Seconds that the others last at most meanwhile, so that new ones are made."""

Back = Callable[[StreamReader, StreamWriter], Awaitable[None]]
"""Passes on what the server answers, or does not."""


async def _passed_on(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _never(reader: StreamReader, writer: StreamWriter) -> None:
    await asyncio.Event().wait()


async def _half(reader: StreamReader, writer: StreamWriter) -> None:
    data = await reader.read(65536)
    writer.write(data[: len(data) // 2])
    await writer.drain()


async def _garbage(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(random.randbytes(len(await reader.read(65536))))
    await writer.drain()


async def _trickle(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65536):
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0.01)


async def _silent_later(reader: StreamReader, writer: StreamWriter) -> None:
    for _ in range(20):
        writer.write(await reader.read(65536))
        await writer.drain()
    await _never(reader, writer)


async def _reset(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read(1)
    writer.transport.abort()


FAULTS: Mapping[str, Back] = {
    "accepts and never answers": _never,
    "answers half and closes": _half,
    "sends garbage": _garbage,
    "trickles": _trickle,
    "goes silent on open connections": _silent_later,
    "resets": _reset,
}


class _Network:
    """What stands between client and server: while `broken`, a share of the connections is treated by `back`."""

    def __init__(self, url: str, back: Back) -> None:
        self._to = urlsplit(url)
        self._back = back
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.broken = False

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Close the listener, and the connections that are open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connection(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        misbehaves = self.broken and random.random() < SHARE
        back = self._back if misbehaves else _passed_on
        lasts = random.uniform(0.0, LASTING) if self.broken and not misbehaves else None
        try:
            server, to_server = await asyncio.open_connection(self._to.hostname, self._to.port)
            async with AsyncExitStack() as stack:
                stack.callback(to_server.close)
                forth = asyncio.create_task(_passed_on(reader, to_server))
                stack.callback(forth.cancel)
                async with asyncio.timeout(lasts):
                    await back(server, writer)
        except (OSError, asyncio.CancelledError):
            pass  # as everything else here that breaks
        finally:
            self._open.discard(task)
            writer.close()


@asynccontextmanager
async def _behind(network: _Network) -> AsyncGenerator[Load]:
    rows, right = rows_and_answers()
    await network.up()
    try:
        async with (
            Client(f"http://127.0.0.1:{network.port}") as client,
            under_load(
                lambda number: client.predict(rows[number % len(rows)], timeout=DEADLINE), right, CALLERS
            ) as load,
        ):
            yield load
    finally:
        await network.down()


async def _refusing(network: _Network, seconds: float) -> None:
    for _ in range(max(1, int(seconds / 3))):
        await network.down()
        await asyncio.sleep(1.0)
        await network.up()
        await asyncio.sleep(2.0)


async def misbehaving(settings: Settings) -> AsyncGenerator[Found]:
    """Let one connection in five misbehave, and the others be short, each way in turn.

    Then refuse all for a second, every three.
    """
    async with serving(ensemble()) as url:
        for fault in settings.ways(*FAULTS, "refuses and restarts"):
            network = _Network(url, FAULTS.get(fault, _passed_on))
            async with _behind(network) as load:
                await asyncio.sleep(settings.calm)
                load.begins("during")
                network.broken = True
                # Connections that are open already behave: they are closed, so that new ones have their share.
                await (
                    _refusing(network, settings.seconds) if fault not in FAULTS else _reconnecting(network, settings)
                )
                load.begins("after")
                network.broken = False
                await asyncio.sleep(settings.after)
            yield Found("6: a server that", fault, load)


async def _reconnecting(network: _Network, settings: Settings) -> None:
    await network.down()
    with suppress(OSError):
        await network.up()
    await asyncio.sleep(settings.seconds)
