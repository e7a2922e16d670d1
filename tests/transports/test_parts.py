"""Rows that travel together over HTTP are answered one by one: a slow row holds up no other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from stretto import Client, step
from stretto.batch.frames import as_rows
from stretto.errors import ConnectionFailed, DeadlineExceeded, StepError
from stretto.server import streamed
from stretto.testing.http_server import serving
from stretto.transports import http_connection
from stretto.transports.http import LANES
from stretto.wire import MSGPACK, MSGPACK_PARTS, encode_part, encode_row
from tests.echo import asking, read_request, speaking, within


class Slow:
    """Answers a number with its double; one below zero when told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.waiting = 0
        self.cancelled = 0

    async def __call__(self, x: int) -> Any:
        if x < 0:
            self.waiting += 1
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if x == 13:
            raise ValueError("unlucky")
        return object() if x == 14 else 2 * x


@asynccontextmanager
async def slow() -> AsyncGenerator[tuple[Client[Any, Any], Slow, str]]:
    made = Slow()
    async with serving(step(made, name="slow")) as url, Client(url) as client:
        yield client, made, url


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_neighbours_of_a_slow_row_are_answered_while_it_waits() -> None:
    async with slow() as (client, made, _):
        rows = [1, -1, 13, 2, 14, 3]
        asked = [asyncio.ensure_future(client.predict(row)) for row in rows]
        quick = await asyncio.gather(*(asked[i] for i in (0, 2, 3, 4, 5)), return_exceptions=True)
        assert [quick[0], quick[2], quick[4]] == [2, 4, 6]
        assert isinstance(quick[3], StepError)
        assert isinstance(quick[1], StepError)
        assert quick[1].row is None
        assert not asked[1].done()
        made.go_on.set()
        assert await asked[1] == -2


async def test_hung_rows_on_every_lane_fail_nobody_else() -> None:
    async with slow() as (client, made, _):
        assert await client.predict(1) == 2
        hung = []
        for i in range(LANES + 2):
            hung.append(asyncio.ensure_future(client.predict(-1 - i)))
            await until(lambda: made.waiting == len(hung))
        assert await asyncio.gather(*(client.predict(i, timeout=10) for i in (1, 2, 3))) == [2, 4, 6]
        made.go_on.set()
        assert await asyncio.gather(*hung) == [-2 - 2 * i for i in range(LANES + 2)]


async def test_the_work_on_a_row_ends_when_its_caller_leaves_though_its_neighbours_are_answered() -> None:
    async with slow() as (client, made, _):
        asked = [asyncio.ensure_future(client.predict(row)) for row in (1, -1, 2)]
        assert await asyncio.gather(asked[0], asked[2]) == [2, 4]
        asked[1].cancel()
        await until(lambda: made.cancelled == 1)
        with pytest.raises(DeadlineExceeded):
            await asyncio.gather(*(client.predict(row, timeout=0.2) for row in (-1, -2)))
        await until(lambda: made.cancelled == 3)


async def test_lines_of_json_come_as_they_are_ready() -> None:
    async with slow() as (_, made, url), aiohttp.ClientSession() as session:
        headers = {"accept": "application/x-ndjson"}
        async with session.post(url + "/batch", json=[1, -1, 13, 2], headers=headers) as response:
            assert response.content_type == "application/x-ndjson"
            early = [json.loads(await response.content.readline()) for _ in range(3)]
            assert sorted(line["row"] for line in early) == [0, 2, 3]
            assert {line["row"]: line.get("answer") for line in early} == {0: 2, 3: 4, 2: None}
            assert next(line for line in early if line["row"] == 2)["error"]["title"] == "Step failed"
            made.go_on.set()
            assert json.loads(await response.content.readline()) == {"row": 1, "answer": -2}
            assert await response.content.readline() == b""


async def test_a_server_that_works_is_told_from_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "BEAT", 0.05)
    monkeypatch.setattr(http_connection, "SILENT", 0.5)
    async with slow() as (client, made, _):
        asked = [asyncio.ensure_future(client.predict(row)) for row in (-1, -2)]
        await asyncio.sleep(1.0)
        made.go_on.set()
        assert await asyncio.gather(*asked) == [-2, -4]

    async def begin(reader: Any, writer: Any) -> None:
        await read_request(reader)
        part = encode_part([(0, "first")])
        writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: {MSGPACK_PARTS}\r\ncontent-length: 1000\r\n\r\n".encode() + part
        )
        await reader.read()

    async with speaking(begin) as url, asking(url, retries=0) as transport:
        found = await asyncio.gather(*(transport.predict(i, within(60)) for i in range(2)), return_exceptions=True)
        assert found[0] == "first"
        assert isinstance(found[1], ConnectionFailed)
        assert "has sent nothing for 0.5 s" in str(found[1])


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (encode_part([(0, "a")]), "1"),
        (encode_part([(0, "a"), (1, "b")])[:-1], "closed the connection"),
        (encode_part([(0, "a"), (5, "b")]), "it returned others"),
        (encode_part([(0, "a")]) + encode_part([(0, "again")]), "it returned others"),
        (encode_part([(0, "a"), (0, "again")]), "it returned others"),
        (encode_part([({}, "a")]), "did not return"),
        (b"\xff" * 8, "check the URL"),  # too large: the rows are asked for apart
        (b"\x00\x00\x00\x01\x00\x00\x00\x01\xc1\xc1", "not Stretto's msgpack"),
    ],
)
async def test_parts_that_are_wrong_fail_the_rows_that_have_no_answer_yet(parts: bytes, says: str) -> None:
    async def say(reader: Any, writer: Any) -> None:
        await read_request(reader)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {MSGPACK_PARTS}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + parts)

    async with speaking(say) as url, asking(url, retries=0) as transport:
        found = await asyncio.gather(*(transport.predict(i, within(20)) for i in range(2)), return_exceptions=True)
        assert isinstance(found[1], ConnectionFailed)
        assert says in str(found[1])
        assert found[0] == "a" or isinstance(found[0], ConnectionFailed)


async def test_tables_of_any_kind_are_answered_in_lines() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    async with serving(step(lambda table: table.sum(axis=1), name="sum", vectorized=True)) as url:
        headers = {"accept": "application/x-ndjson", "content-type": MSGPACK}
        async with aiohttp.ClientSession() as session:
            for table in (rows, csr_array(rows), as_rows(pd.DataFrame(rows, columns=["a", "b"]))):
                async with session.post(url + "/batch", data=encode_row(table), headers=headers) as response:
                    lines = [json.loads(line) for line in (await response.text()).splitlines() if line]
                    assert sorted(line["row"] for line in lines) == [0, 1]
                    if table is rows:
                        assert [line["answer"] for line in lines] == [3.0, 7.0]
