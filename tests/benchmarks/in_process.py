"""The ensemble in this process: with Stretto, by hand, and the bound."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import numpy as np

from stretto import Client
from stretto._demo.baseline import for_asyncio
from tests.benchmarks.compared import OURS
from tests.benchmarks.load import Program, in_loop
from tests.benchmarks.programs.bound import bound
from tests.benchmarks.programs.ensemble import ensemble
from tests.benchmarks.programs.iris import FEATURES, LABELS, ROW, fit
from tests.benchmarks.rounds import Figures

BY_HAND = "gather + to_thread"
BOUND = "the bound"


@asynccontextmanager
async def programs() -> AsyncGenerator[list[Program]]:
    """Return the three programs, once they are seen to agree."""
    hand = for_asyncio(*fit(), FEATURES, LABELS)
    async with Client(ensemble()) as client:
        answers = [await client.predict(ROW), await hand(ROW), bound([ROW])[0]]
        if not all(each == answers[0] for each in answers):
            raise RuntimeError(f"the programs differ: {answers}")
        yield [
            in_loop(OURS, lambda: client.predict(ROW)),
            in_loop(BY_HAND, lambda: hand(ROW)),
            Program(BOUND, _bound),
        ]


async def _bound(callers: int, seconds: float) -> Figures:
    """Answer batches of as many rows as there are callers, one after the other, with no event loop between them."""
    rows = [ROW] * callers
    spent: list[float] = []
    now = start = time.perf_counter()
    while now < start + seconds:
        bound(rows)
        then, now = now, time.perf_counter()
        spent.append(now - then)
    p50, p99 = np.percentile(spent, [50, 99]) * 1e3
    return {"per_second": callers * len(spent) / (now - start), "p50_ms": float(p50), "p99_ms": float(p99)}
