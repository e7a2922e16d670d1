"""A call of many rows does not stop a caller with one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stretto import Client, Pipeline, step
from stretto.testing import serving


def doubled(rows: list[int]) -> list[int]:
    time.sleep(0.0005 * len(rows))
    return [2 * row for row in rows]


@asynccontextmanager
async def reached(way: str) -> AsyncGenerator[Client[Any, Any]]:
    pipeline = Pipeline(step(doubled, vectorized=True))
    if way == "in process":
        async with Client(pipeline) as client:
            yield client
    else:
        async with serving(pipeline) as url, Client(url) as client:
            yield client


@pytest.mark.parametrize("way", ["in process", "HTTP"])
async def test_single_rows_are_answered_beside_calls_of_many(way: str) -> None:
    async with reached(way) as client:
        await client.predict_many(range(100))
        many = [asyncio.create_task(client.predict_many(range(4000))) for _ in range(3)]
        await asyncio.sleep(0.05)
        for row in range(20):
            assert await client.predict(row) == 2 * row
        assert not any(each.done() for each in many)
        assert await asyncio.gather(*many) == [[2 * row for row in range(4000)]] * 3
