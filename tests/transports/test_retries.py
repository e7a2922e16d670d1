"""Calls are made again after failures that pass, within their deadline and a budget, and only where that is safe."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from stretto import Client, step
from stretto.engine.context import UNLIMITED, Context
from stretto.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    PipelineError,
    StepError,
    StrettoError,
)
from stretto.server.app import make_app
from stretto.testing.clock import virtual_clock
from stretto.testing.http_server import serving
from stretto.transports import retries
from stretto.transports.retries import RESERVE, STRANGER, GatewayError, Retries
from stretto.wire import JSON, MSGPACK_PARTS, encode_json, encode_outcomes, encode_part
from tests.echo import Echo, asking, read_request, response, served, speaking, within

METADATA = response(encode_json({"name": "x", "pipeline": "x", "plan": "x"}), media=JSON)
ONCE = response(encode_json({"name": "x", "pipeline": "x", "plan": "x", "idempotent": False}), media=JSON)


class Server:
    """Says one thing after another to the requests that are no GET, and the last of them for ever."""

    def __init__(self, *said: bytes, metadata: bytes = METADATA) -> None:
        self.said = list(said)
        self.metadata = metadata
        self.asked: list[bytes] = []

    async def __call__(self, reader: Any, writer: Any) -> None:
        head, body = await read_request(reader)
        if head.startswith(b"GET"):
            said = self.metadata
        else:
            self.asked.append(body)
            said = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        writer.write(said.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))


ANSWER = response(encode_outcomes([7]))
BUSY = "HTTP/1.1 503 Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 0\r\nretry-after: {}\r\n\r\n"


@pytest.mark.parametrize(
    "failing",
    [
        b"",  # closes
        ANSWER[:-1],
        response(b"bad gateway", "502 Bad Gateway", "text/html"),
        response(b"", "503 Unavailable", "text/plain"),
        response(b"upstream", "504 Gateway Timeout", "text/plain"),
        response(b"Internal Server Error", "500 Internal Server Error", "text/plain"),
        BUSY.format("0").encode(),
        BUSY.format(format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)).encode(),
    ],
)
async def test_a_failure_that_passes_is_not_the_callers_trouble(failing: bytes) -> None:
    server = Server(failing, failing, ANSWER)
    async with speaking(server) as url, asking(url) as transport:
        assert await transport.predict(1, within(20)) == 7
        assert len(server.asked) == 3
        server.said = [response(b"\x07")]
        with pytest.raises(ConnectionFailed, match="1 outcome "):  # 7 is no list of them: that is not asked again
            await transport.outcomes([1], within(20))
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        (response(b"no", "401 Unauthorized", "text/plain"), StrettoError),
        (response(b"no", "404 Not Found", "text/plain"), ConnectionFailed),
        (response(b"<html>", media="text/html"), ConnectionFailed),
    ],
)
async def test_what_would_fail_again_is_not_asked_again(failing: bytes, error: type[Exception]) -> None:
    server = Server(failing)
    async with speaking(server) as url, asking(url) as transport:
        with pytest.raises(error):
            await transport.predict(1, within(20))
        assert len(server.asked) == 1


async def test_an_error_of_a_step_is_not_asked_again() -> None:
    calls: list[int] = []

    async def fail(x: int) -> int:
        calls.append(x)
        raise ValueError("no")

    async with serving(step(fail, name="fail")) as url, Client(url) as client:
        with pytest.raises(StepError):
            await client.predict(1)
    assert calls == [1]


async def test_rows_that_have_an_answer_are_not_asked_again() -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {MSGPACK_PARTS}\r\ncontent-length: 1000\r\n\r\n".encode()
    rest = encode_part([(0, "b"), (1, "c")])
    whole = f"HTTP/1.1 200 OK\r\ncontent-type: {MSGPACK_PARTS}\r\ncontent-length: {len(rest)}\r\n\r\n".encode()
    server = Server(head + encode_part([(1, "a")]), whole + rest)
    async with speaking(server) as url, asking(url) as transport:
        assert await asyncio.gather(*(transport.predict(i, within(20)) for i in range(3))) == ["b", "a", "c"]
        assert server.asked == [b"\x93\x00\x01\x02", b"\x92\x00\x02"]


async def test_a_server_that_was_away_is_found_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with asking(f"http://127.0.0.1:{port}") as transport:
        async with served(make_app(Echo()), port):
            assert await transport.predict(1, UNLIMITED) == 1
        asked = asyncio.gather(*(transport.predict(i, within(30)) for i in range(20)))
        await asyncio.sleep(0.5)
        async with served(make_app(Echo()), port):
            assert await asked == list(range(20))


async def test_what_is_not_idempotent_is_sent_again_only_if_it_can_not_have_arrived() -> None:
    server = Server(b"", ANSWER, metadata=ONCE)
    async with speaking(server) as url, asking(url) as transport:
        with pytest.raises(ConnectionFailed, match="closed the connection"):
            await transport.predict(1, within(20))
        assert len(server.asked) == 1
        server.said = [BUSY.format("0").encode(), ANSWER]
        assert await transport.predict(1, within(20)) == 7

    async def book(x: int) -> int:
        return x

    async with serving(step(book, name="book", idempotent=False)) as url, Client(url) as client:
        assert not (await client.metadata()).idempotent
    assert (await Client(step(book, name="book")).metadata()).idempotent


async def test_none_is_none() -> None:
    server = Server(b"", ANSWER)
    async with speaking(server) as url, Client(url, retries=0) as client:
        with pytest.raises(ConnectionFailed):
            await client.predict(1)


async def test_no_call_waits_for_ever() -> None:
    async def hang(reader: Any, writer: Any) -> None:
        await reader.read()

    async with speaking(hang) as url, Client(url, timeout=0.3) as client:
        for ask in (client.predict(1), client.predict_many([1, 2]), client.trace(1)):
            with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
                await ask
    async with speaking(hang) as url, Client(url, timeout=math.inf) as client:
        with pytest.raises(DeadlineExceeded, match=r"0\.2 s"):
            await client.predict(1, timeout=0.2)


@pytest.mark.parametrize("options", [{"retries": -1}, {"retries": 1.5}, {"timeout": 0}, {"timeout": math.nan}])
def test_options_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PipelineError, match=next(iter(options))):
        Client("http://127.0.0.1:1", **options)
    with pytest.raises(PipelineError, match="can't be used"):
        Client(lambda x: x, **options)


def passing(cls: Callable[..., StrettoError] = ConnectionFailed, *args: Any) -> StrettoError:
    error = cls("gone", *args)
    error.__cause__ = GatewayError()
    return error


def test_pauses_double_with_jitter_and_end_with_the_deadline() -> None:
    async def main() -> None:
        policy = Retries(20)
        policy.answered()
        spent: list[float] = []
        for attempt in range(20):
            start = time_now()
            assert await policy.pause(attempt, passing(), UNLIMITED)
            spent.append(time_now() - start)
        assert all(pause <= min(2.0, 0.05 * 2**i) for i, pause in enumerate(spent))
        assert len(set(spent)) == 20
        assert not await policy.pause(20, passing(), UNLIMITED)
        assert not await policy.pause(0, passing(Overloaded, 5.0), Context.starting(4.0))
        start = time_now()
        assert await policy.pause(0, passing(Overloaded, 1e9), UNLIMITED)
        assert 30.0 <= time_now() - start <= 31.0

    def time_now() -> float:
        return asyncio.get_running_loop().time()

    with virtual_clock() as clock:
        clock.run(main())


async def test_a_server_in_trouble_gets_no_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.0)
    policy = Retries(3)
    policy.answered()
    start = time.monotonic()
    again = [await policy.pause(0, passing(), UNLIMITED) for _ in range(1000)]
    assert sum(again) <= RESERVE + 1 + 10 * (time.monotonic() - start) + 1
    for _ in range(50):
        policy.answered()
    assert sum([await policy.pause(0, passing(), UNLIMITED) for _ in range(100)]) >= 10


async def test_a_url_that_never_answered_is_soon_given_up() -> None:
    policy = Retries(12)
    assert [await policy.pause(i, passing(), UNLIMITED) for i in range(STRANGER + 1)] == [True, True, False]


@pytest.mark.parametrize("asked", ["²", "soon", "-5", "1e9", "9" * 400, "Thu, 32 Foo 2026 00:00:00 GMT"])
async def test_a_retry_after_of_any_kind_is_read(asked: str) -> None:
    said = BUSY.replace("503 Unavailable", "429 Too Many Requests").format(asked).encode("utf-8")
    async with speaking(Server(said)) as url, asking(url, retries=0) as transport:
        with pytest.raises(Overloaded) as caught:
            await transport.predict(1, within(5))
        assert caught.value.retry_after <= 1.0


async def test_what_is_no_http_is_asked_for_again_where_there_was_an_answer_before() -> None:
    garbage = b"\x16\x03\x01 nothing of the kind\r\n\r\n"
    server = Server(garbage)
    async with speaking(server) as url, asking(url) as transport:
        with pytest.raises(ConnectionFailed, match="does not look like a Stretto server"):
            await transport.predict(1, within(20))
        assert len(server.asked) == 1
        for said in ([ANSWER], [garbage, garbage, ANSWER]):
            server.said = said
            assert await transport.predict(1, within(20)) == 7


async def test_a_proxy_that_was_started_again_is_given_time_to_learn_its_routes() -> None:
    lost = response(b"Path '/x' not found. Ping http://h/-/routes for available routes.", "404 Not Found", "text/plain")
    server = Server(ANSWER, lost, lost, ANSWER)
    async with speaking(server) as url, asking(url) as transport:
        assert [await transport.predict(1, within(20)) for _ in range(2)] == [7, 7]
    server = Server(lost, ANSWER)
    async with speaking(server) as url, asking(url) as transport:
        with pytest.raises(NotFound):  # it never knew: the route is wrong
            await transport.predict(1, within(20))
