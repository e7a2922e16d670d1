"""Requests of a stranger's: each is answered, or refused by an error that is designed, and none holds up the others."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from stretto import model
from stretto.errors import InputError
from stretto.server import asgi, bodies, limits, messages
from stretto.wire import MSGPACK, PROBLEM, decode_json, encode_msgpack
from tests.echo import Echo, over_asgi
from tests.wire.test_wire import values

NAMES = ["a", "b"]
APP = asgi(
    model(LogisticRegression().fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1]), name="model", features=NAMES),
    timeout=20,
)
Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


async def answered(ask: Ask) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://test") as client:
        return await ask(client)


class TestFuzz:
    """A short form of what ran for hours: whatever is sent, there is an answer or the caller's own error."""

    paths = st.sampled_from(
        ["/", "/batch", "/batch?step=model", "/steps/model", "/trace", "/steps/x", "/batch?step=%00"]
    )
    rows = st.one_of(
        values, st.fixed_dictionaries(dict.fromkeys(NAMES, values)), st.lists(values, min_size=2, max_size=2)
    )
    packed = st.one_of(
        st.binary(max_size=200), rows.map(encode_msgpack), st.lists(rows, max_size=4).map(encode_msgpack)
    )
    plain = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*NAMES, "c", ""]), inner),
    ).map(lambda value: json.dumps(value).encode())

    @settings(max_examples=150, deadline=None)
    @given(path=paths, body=packed, data=st.data())
    def test_any_msgpack(self, path: str, body: bytes, data: st.DataObject) -> None:
        damaged = bytearray(body)
        for _ in range(data.draw(st.integers(0, 2)) if body else 0):
            damaged[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        self.check(path, bytes(damaged), {"content-type": MSGPACK})

    @settings(max_examples=150, deadline=None)
    @given(
        path=paths, body=plain | st.binary(max_size=100), timeout=st.none() | st.text("0123456789e.-+infa_", max_size=6)
    )
    def test_any_json(self, path: str, body: bytes, timeout: str | None) -> None:
        self.check(path, body, {} if timeout is None else {"x-stretto-timeout": timeout})

    def check(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        found = asyncio.run(answered(lambda client: client.post(path, content=body, headers=headers)))
        assert found.status_code in (200, 404, 413, 422) or (
            found.status_code == 504 and "x-stretto-timeout" in headers
        )
        assert len(found.content) < 10_000 + 10 * len(body)
        if found.status_code != 200:
            assert found.headers["content-type"] == PROBLEM


def asked(app: Any, *body: bytes) -> tuple[asyncio.Task[None], list[Any], asyncio.Event]:
    """Send a request of which there is more to come until the event is set."""
    sent: list[Any] = []
    parts, go_on = list(body), asyncio.Event()
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}

    async def receive() -> Any:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": True}
        await go_on.wait()
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    return asyncio.ensure_future(app(scope, receive, send)), sent, go_on


async def test_the_bytes_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_PENDING", 250_000)
    app = asgi(len, max_bytes=200_000)
    text = b'"' + b"x" * 99_000
    for _ in range(3):
        started = [asked(app, text) for _ in range(2)]
        await asyncio.sleep(0)
        task, sent, go_on = asked(app, text)
        await task
        assert (sent[0]["status"], decode_json(sent[1]["body"])["title"]) == (503, "Overloaded")
        small, sent, go_on = asked(app, b"[1, 2")
        go_on.set()
        await small
        assert sent[0]["status"] == 422  # read, and no JSON
        for task, sent, go_on in started:
            go_on.set()
            await task
            assert sent[0]["status"] == 422


async def test_a_long_body_is_decoded_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[int] = []

    def decode(body: bytes) -> Any:
        places.append(threading.get_ident())
        return decode_json(body)

    monkeypatch.setattr(messages, "decode_json", decode)
    async with over_asgi(Echo()) as client:
        for row in (["x"], ["x" * bodies.LONG]):
            assert (await client.post("/", json=row)).json() == row
    assert places[0] == threading.get_ident() != places[1]


async def test_rows_are_counted_before_they_are_made() -> None:
    many = list(range(limits.MAX_ROWS + 1))
    for body in ({"a": many, "b": many}, {"columns": ["a"], "data": [[1]] * len(many)}, {"instances": many}, many):
        found = await answered(lambda client, body=body: client.post("/batch", json=body))
        assert found.status_code == 413


async def test_an_error_in_a_row_is_no_error_of_the_server() -> None:
    """A pipeline that passes rows through answered with the caller's own error, which its handler failed on."""
    async with over_asgi(Echo()) as client:
        for row in (InputError("no"), [InputError("no")]):
            found = await client.post("/", content=encode_msgpack(row), headers={"content-type": MSGPACK})
            assert (found.status_code, found.headers["content-type"]) == (422, PROBLEM)
