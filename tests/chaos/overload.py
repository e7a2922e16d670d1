"""Ten times what a step can take: the answers that are given in time, and how long they take."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from stretto import Client, Pipeline, deploy, step
from stretto.testing import serving
from tests.chaos.load import Ask, Load, at_a_rate
from tests.chaos.report import Found
from tests.chaos.settings import Settings

SECONDS = 0.02
"""What a row takes; two threads compute."""
CAPACITY = 2 / SECONDS
TIMEOUT = 1.0


def slow(x: int) -> int:
    """Return the double, after 20 ms."""
    time.sleep(SECONDS)
    return 2 * x


@asynccontextmanager
async def _in_process(pipeline: Pipeline[int, int]) -> AsyncGenerator[Client[Any, Any]]:
    async with Client(pipeline) as client:
        yield client


@asynccontextmanager
async def _over_http(pipeline: Pipeline[int, int]) -> AsyncGenerator[Client[Any, Any]]:
    async with serving(pipeline) as url, Client(url) as client:
        yield client


@asynccontextmanager
async def _by_handle(pipeline: Pipeline[int, int]) -> AsyncGenerator[Client[Any, Any]]:
    async with deploy(pipeline, name="overload", ray_actor_options={"num_cpus": 0.01}) as client:
        yield client


WAYS: dict[str, Callable[[Pipeline[int, int]], AbstractAsyncContextManager[Client[Any, Any]]]] = {
    "in process": _in_process,
    "HTTP": _over_http,
    "handle": _by_handle,
}


async def overloaded(settings: Settings) -> AsyncGenerator[Found]:
    """Send half of what a step can take, then ten times that, then half of it again."""
    for way in settings.ways(*WAYS):
        async with WAYS[way](Pipeline(step(slow, name="slow"))) as client:
            load = Load()
            phases = (
                ("before", 0.5, settings.calm),
                ("during", 10.0, settings.seconds),
                ("after", 0.5, settings.after),
            )
            for phase, times, seconds in phases:
                load.begins(phase)
                await at_a_rate(load, _asking(client), times * CAPACITY, seconds)
        right = sum(call.outcome == "right" for call in load.of("during"))
        share = right / (CAPACITY * settings.seconds)
        yield Found(f"5: ten times the capacity, {share:.0%} of it answered", way, load)


def _asking(client: Client[Any, Any]) -> Ask:
    async def ask(number: int) -> bool:
        return await client.predict(number, timeout=TIMEOUT) == 2 * number

    return ask
