"""Throughput and latency of an awaitable call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Rate:
    """What `callers` concurrent callers measured: answers a second, and latencies in milliseconds."""

    callers: int
    per_second: float
    p50_ms: float
    p99_ms: float


async def measure(call: Callable[[], Awaitable[Any]], callers: int, seconds: float) -> Rate:
    """Run `call` in a loop from each of `callers` concurrent callers for `seconds`, after one call to warm up."""
    await call()
    latencies: list[float] = []
    clock = time.perf_counter
    start = clock()
    end = start + seconds

    async def caller() -> None:
        now = clock()
        while now < end:
            await call()
            then, now = now, clock()
            latencies.append(now - then)

    await asyncio.gather(*(caller() for _ in range(callers)))
    spent = clock() - start
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
    return Rate(callers, len(latencies) / spent, float(p50), float(p99))
