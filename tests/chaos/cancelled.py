"""Thousands of requests cancelled at random moments: what they leave behind."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncGenerator

import psutil

from stretto import Client, Pipeline, step
from tests.chaos.load import Load, at_a_rate
from tests.chaos.overload import WAYS
from tests.chaos.report import Found
from tests.chaos.settings import Settings

REQUESTS = 10_000
RATE = 2_000.0


UNDER_WAY = -1
"""The row that is answered with the number of others that are under way in the process of the step."""


async def doubled(x: int, under_way: set[object] = set()) -> int:  # noqa: B006  what a process shares
    """Return the double, after a moment."""
    if x == UNDER_WAY:
        return len(under_way)
    under_way.add(me := object())
    try:
        await asyncio.sleep(random.uniform(0.0, 0.02))
    finally:
        under_way.remove(me)
    return 2 * x


async def _held(client: Client[int, int]) -> dict[str, int]:
    """Return what this process holds, and what the step's is still at."""
    return {
        "rows": await client.predict(UNDER_WAY),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "descriptors": psutil.Process().num_fds(),
    }


async def cancelled(settings: Settings) -> AsyncGenerator[Found]:
    """Cancel each request at a random moment of its life, and ask on."""
    for way in settings.ways(*WAYS):
        async with WAYS[way](Pipeline(step(doubled, name="doubled"))) as client:
            load = Load()
            load.begins("before")
            await at_a_rate(load, lambda number, client=client: _right(client, number), 200.0, settings.calm)
            before = await _held(client)
            load.begins("during")
            await _cancel(client, settings.of(REQUESTS))
            load.begins("after")
            await at_a_rate(load, lambda number, client=client: _right(client, number), 200.0, settings.after)
            left = ", ".join(f"{name} {now - before[name]:+d}" for name, now in (await _held(client)).items())
        yield Found(f"7: {settings.of(REQUESTS):,} cancelled ({left})", way, load)


async def _right(client: Client[int, int], number: int) -> bool:
    return await client.predict(number, timeout=10.0) == 2 * number


async def _cancel(client: Client[int, int], requests: int) -> None:
    for _ in range(requests // 100):
        asked = [client.submit(number) for number in range(100)]
        for each in asked:
            asyncio.get_running_loop().call_later(random.uniform(0.0, 0.02), each.cancel)
        await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(100 / RATE)
