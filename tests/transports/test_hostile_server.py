"""A client in front of a server that means harm: memory and time are bounded, and nothing is sent elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from asyncio import StreamReader, StreamWriter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto.engine.context import UNLIMITED
from stretto.errors import ConnectionFailed, Overloaded, StrettoError, TooLarge
from stretto.transports import http_connection
from stretto.wire import MSGPACK, MSGPACK_PARTS, PROBLEM, encode_row, outcomes
from tests.echo import asking, echoing, read_request, response, speaking, within


async def asked(said: bytes) -> list[object]:
    """Return what one row, many rows and a trace end in, where the server says this and closes the connection."""

    async def say(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await read_request(reader)
            writer.write(said.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
            await writer.drain()

    async with speaking(say) as url, asking(url, retries=0) as transport:
        calls = (
            transport.predict(1, within(20.0)),
            transport.outcomes([1, 2], within(20.0)),
            transport.trace(1, within(20.0)),
        )
        together = [transport.predict(each, within(20.0)) for each in range(3)]
        return [*await asyncio.gather(*calls, *together, return_exceptions=True)]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_to_another_server_is_not_followed(status: str) -> None:
    """The row, the headers and the token go to the server that the caller named, and to no other."""
    seen: list[object] = []

    async def other(reader: StreamReader, writer: StreamWriter) -> None:
        seen.append(await read_request(reader))

    async def elsewhere(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(b"", status, more=f"location: {target}/iris\r\n"))

    async with speaking(other) as target, speaking(elsewhere) as url, asking(url, token="secret") as transport:
        with pytest.raises(ConnectionFailed, match=f"redirects to '{target}/iris'"):
            await transport.predict(1, within(20.0))
    assert not seen


async def test_a_redirect_without_end_is_left() -> None:
    for found in await asked(response(b"", "307 Temporary", more="location: /again\r\n")):
        assert isinstance(found, ConnectionFailed)
        assert "redirects to '/again'" in str(found)


@pytest.mark.parametrize(
    ("status", "cls"), [("200 OK", TooLarge), ("500 Oops", ConnectionFailed), ("404 No", ConnectionFailed)]
)
async def test_an_answer_without_end_is_read_up_to_a_bound(
    status: str, cls: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("MAX_ANSWER", "MAX_ERROR"):
        monkeypatch.setattr(http_connection, bound, 200_000)

    async def endless(reader: StreamReader, writer: StreamWriter) -> None:
        await read_request(reader)
        writer.write(f"HTTP/1.1 {status}\r\ncontent-type: {MSGPACK}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()

    async with speaking(endless) as url, asking(url, retries=0) as transport:
        for ask in (transport.predict(1, UNLIMITED), transport.trace(1, UNLIMITED)):
            with pytest.raises(cls, match="more than 200000 bytes"):
                await ask


async def test_a_part_of_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "MAX_PART", 1000)
    found = await asked(response(struct.pack(">II", 2**31, 2**31), media=MSGPACK_PARTS))
    assert all(isinstance(each, StrettoError) for each in found)


async def test_nothing_compressed_is_asked_for_or_taken() -> None:
    heads: list[bytes] = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        head, body = await read_request(reader)
        heads.append(head.lower())
        writer.write(response(body))

    async with speaking(answer) as url, asking(url, headers={"accept-encoding": "gzip"}) as transport:
        assert await transport.predict(1, within(20.0)) == 1
    assert heads[0].count(b"accept-encoding: identity\r\n") == heads[0].count(b"accept-encoding") == 1
    for found in await asked(response(b"", more="content-encoding: gzip\r\n")):
        assert isinstance(found, ConnectionFailed)
        assert "compressed" in str(found)


async def test_many_rows_whose_answers_are_too_large_together_are_asked_for_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_connection, "MAX_ANSWER", 2000)
    async with echoing() as (transport, _):
        rows = ["x" * 600] * 9
        assert list(await transport.outcomes(rows, within(20.0))) == rows
        assert await asyncio.gather(*(transport.predict(row, within(20.0)) for row in rows)) == rows


@pytest.mark.parametrize("retry_after", ["\u00b2", "9" * 400, "1e3", "-1", "nan", "soon"])
async def test_an_odd_time_to_come_back_is_a_second(retry_after: str) -> None:
    for found in await asked(response(b"", "429 Too Many", "text/plain", f"retry-after: {retry_after}\r\n")):
        assert isinstance(found, Overloaded)
        assert found.retry_after == 1.0


NOTHING = bytes.fromhex("c90000001f0d") + b"\x15\x00\x00\x00\x92\xa3|V0\x91\xcf\x00\x00\x00\xe8\xd4\xa5\x10\x00"


@pytest.mark.parametrize("long", [False, True])
async def test_what_holds_a_server_holds_no_client_either(long: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of 10**12 values of no bytes is refused; in a thread where the answer is long."""
    if long:
        monkeypatch.setattr(http_connection, "_AT_ONCE", 0)
    for found in await asked(response(NOTHING)):
        assert isinstance(found, ConnectionFailed)
    async with echoing() as (transport, _):
        assert await transport.predict([1, (2,)], within(20.0)) == [1, (2,)]


bodies = st.binary(max_size=60) | st.builds(encode_row, st.lists(st.none() | st.integers() | st.text(max_size=5)))
medias = st.sampled_from([MSGPACK, MSGPACK_PARTS, PROBLEM, "application/json", "text/plain"])
statuses = st.sampled_from(
    ["200 OK", "204 No Content", "401 Who", "413 Large", "422 Odd", "429 Many", "503 Busy", "599 ?"]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=bodies, media=medias, status=statuses, cut=st.integers(0, 30))
def test_any_answer_is_an_answer_or_an_error_of_ours(body: bytes, media: str, status: str, cut: int) -> None:
    said = response(body, status, media)
    for found in asyncio.run(asked(said[: len(said) - cut])):
        assert isinstance(found, StrettoError) or not isinstance(found, BaseException), found
