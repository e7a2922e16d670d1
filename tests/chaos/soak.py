"""Every composer at work for a while: what memory and descriptors do meanwhile."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import psutil

from stretto import Client
from stretto.errors import StrettoError
from tests.cases import CASES, Case
from tests.chaos.load import Load, record
from tests.chaos.report import Found
from tests.chaos.settings import Settings

WARM = 0.3
"""The share of the time after which the slope is taken: until then caches and allocators fill."""


async def soaked(settings: Settings) -> AsyncGenerator[Found]:
    """Ask all cases of the test matrix, which have every composer, again and again, in this process."""
    if not settings.ways("in process"):
        return
    load = Load()
    held: list[tuple[float, float, int]] = []
    process = psutil.Process()
    async with AsyncExitStack() as stack:
        clients = [(case, await stack.enter_async_context(Client(case.build()))) for case in CASES]
        load.begins("during")
        start = time.perf_counter()
        for turn in itertools.count():
            if time.perf_counter() > start + settings.seconds:
                break
            case, client = clients[turn % len(clients)]
            await record(load, _answered(case, client))
            if turn % len(clients) == 0:
                gc.collect()
                seconds = time.perf_counter() - start
                held.append((seconds, process.memory_info().rss / 2**20, process.num_fds()))
    late = [each for each in held if each[0] > WARM * settings.seconds]
    memory, descriptors = (_slope([(each[0], each[at]) for each in late]) for at in (1, 2))
    found = f"10: all composers, memory {memory:+.2f} MiB and descriptors {descriptors:+.2f} a minute"
    yield Found(found, "in process", load)


async def _answered(case: Case, client: Client[Any, Any]) -> bool:
    outcomes = await client.predict_many(case.rows, on_error="return", timeout=60.0)
    alone = await asyncio.gather(*(client.predict(row, timeout=60.0) for row in case.rows[:2]), return_exceptions=True)
    return all(isinstance(each, StrettoError) or not isinstance(each, Exception) for each in [*outcomes, *alone])


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how much a value grows in a minute."""
    if len(points) < 2:
        return float("nan")
    seconds, values = zip(*points, strict=True)
    return float(np.polyfit(seconds, values, 1)[0]) * 60
