"""What a stranger can do with connections: send without end, slowly or nothing, and take no answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stretto import Client, step
from stretto.server import connections
from stretto.testing.http_server import serving

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n1\r\n"


def request(body: bytes) -> bytes:
    return HEAD + b"content-length: %d\r\n\r\n" % len(body) + body


class Work:
    """Doubles a number; waits for ever with one below zero."""

    def __init__(self) -> None:
        self.waiting = 0
        self.cancelled = 0

    async def __call__(self, x: Any) -> Any:
        if isinstance(x, int) and x < 0:
            self.waiting += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled += 1
        return "x" * 2**26 if x == "long" else x + x


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[Work, str, int]]:
    work = Work()
    async with serving(step(work, name="work")) as url:
        yield work, url, int(url.rpartition(":")[2])


async def told(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Return all that a server says to what is sent, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        with contextlib.suppress(ConnectionError):
            return await reader.read()
        return b""
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    "parts",
    [
        (b"POST /" + b"x" * 1000, *[b"x" * 1000] * 1000),
        (HEAD, *[b"x: y\r\n" * 100] * 1000),
        (HEAD + b"x: ", *[b"y" * 1000] * 1000),
        (CHUNKED + b"0\r\n", *[b"x: y\r\n" * 100] * 1000),
        (CHUNKED + b"1;", *[b"x" * 1000] * 1000),
    ],
    ids=["line", "headers", "header", "trailers", "extension"],
)
async def test_what_is_no_body_is_bounded(parts: tuple[bytes, ...]) -> None:
    async with served() as (_, url, port):
        said = await told(port, *parts)
        assert said[:12] in (b"HTTP/1.1 431", b"")  # nothing, where the rest of it was on its way and reset the answer
        async with Client(url) as client:
            assert await client.predict(2) == 4


async def test_headers_that_are_long_and_not_too_long_are_read() -> None:
    async with served() as (_, _, port):
        said = await told(port, HEAD + b"x: " + b"y" * 60_000 + b"\r\nconnection: close\r\ncontent-length: 1\r\n\r\n2")
        assert said.endswith(b"\r\n\r\n4")


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"\r\n",) * 100,
        (HEAD,),
        (HEAD, *[b"x: y\r\n"] * 1000),
        (HEAD + b"content-length: 9000\r\n\r\n", *[b"1"] * 1000),
        (CHUNKED, *[b"1\r\n1\r\n"] * 1000),
        (request(b"2"), HEAD + b"content-length: 9000\r\n\r\n"),
        (request(b"{")[:-1],),
    ],
    ids=["nothing", "lines", "headers", "slow headers", "slow body", "slow chunks", "second request", "no body"],
)
async def test_a_connection_is_closed_whose_client_is_too_slow(
    parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.2)
    monkeypatch.setattr(connections, "SLOWEST", 10**9)
    async with served() as (_, _, port):
        said = await told(port, *parts, pause=0.02)
        assert b"408" in said or not parts or said == b""


async def test_a_client_that_is_slow_and_steady_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.1)
    monkeypatch.setattr(connections, "SLOWEST", 1)
    async with served() as (_, _, port):
        parts = (HEAD, b"connection: close\r\ncontent-length: 20\r\n\r\n", *[b" "] * 19, b"2")
        assert (await told(port, *parts, pause=0.05)).endswith(b"\r\n\r\n4")


async def test_an_answer_takes_as_long_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the time that the client takes is bounded here."""
    monkeypatch.setattr(connections, "PATIENCE", 0.05)
    async with served() as (work, url, _), Client(url) as client:
        slow = asyncio.ensure_future(client.predict(-1))
        while not work.waiting:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert not slow.done()
        slow.cancel()


async def test_a_client_that_takes_no_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.2)
    lost = asyncio.Event()

    def note(self: Any, error: Exception | None) -> None:
        forget(self, error)
        lost.set()

    forget = connections.BoundedProtocol.connection_lost
    monkeypatch.setattr(connections.BoundedProtocol, "connection_lost", note)
    async with served() as (_, _, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(request(b'"long"'))
            await lost.wait()


async def test_a_client_that_has_closed_its_side_gets_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as (work, _, port):

        async def asked(body: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(body))
            writer.write_eof()
            try:
                return await reader.read()
            finally:
                await closed(writer)

        assert (await asked(b"2")).endswith(b"\r\n\r\n4")
        monkeypatch.setattr(connections, "HALF_CLOSED", 0.05)
        assert await asked(b"-1") == b""
        while work.cancelled < work.waiting:
            await asyncio.sleep(0.01)


async def test_idle_connections_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 5)
    async with served() as (_, url, port):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        async with Client(url) as client:
            assert await client.predict(2) == 4
        for reader, _ in idle[:10]:
            assert await reader.read() == b""
        for _, writer in idle:
            await closed(writer)


async def test_where_all_are_answering_a_new_connection_is_refused_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    async with served() as (work, _, port):
        busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in busy:
            writer.write(request(b"-1"))
        while work.waiting < 2:
            await asyncio.sleep(0.01)
        assert (await told(port)).startswith(b"HTTP/1.1 503")
        assert "a connection is refused" in caplog.text
        for _, writer in busy:
            await closed(writer)


def test_connections_are_fewer_than_the_descriptors() -> None:
    assert 1 <= connections.most_connections() <= connections.MAX_CONNECTIONS
