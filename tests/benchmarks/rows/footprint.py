"""Row k: memory a queued request, an idle client's processor time, and what importing costs."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from stretto import Client, Pipeline, step
from tests.benchmarks import servers
from tests.benchmarks.compared import COST, OURS, Compared, Line, at_most
from tests.benchmarks.programs.ensemble import ensemble
from tests.benchmarks.programs.iris import ROW
from tests.benchmarks.rounds import Contender, Figures, alternate
from tests.benchmarks.settings import Settings

QUEUED = 10_000
IMPORTS = "numpy, aiohttp"
IDLE_MS = 10.0
"""The most processor time a second of idling may take, in milliseconds, for a client that does not spin."""


async def measure(settings: Settings) -> AsyncGenerator[Compared]:
    """Return row k."""
    yield await _memory(settings)
    yield await _idle(settings)
    yield await _importing(settings)


async def _memory(settings: Settings) -> Compared:
    count = settings.of(QUEUED)
    settings.say(f"k: memory of {count:,} queued requests")
    rounds = [await queued_bytes(count) for _ in range(settings.rounds)]
    return Line("k", f"memory a request, {count:,} queued").alone(rounds, "B", at_most(2048))


async def queued_bytes(count: int) -> float:
    """Return the bytes that Python holds for each of `count` requests that wait, the caller's own task among them."""
    held = threading.Event()

    def hold(column: Any) -> Any:
        held.wait(60)
        return column

    async with Client(Pipeline(step(hold, vectorized=True)) >> ensemble()) as client:
        rows = [dict(ROW) for _ in range(count)]
        ahead = asyncio.create_task(client.predict(ROW))
        await asyncio.sleep(0.05)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            waiting = [asyncio.create_task(client.predict(row)) for row in rows]
            await asyncio.sleep(0.05)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            held.set()
        await asyncio.gather(ahead, *waiting)
    return (after - before) / count


async def _idle(settings: Settings) -> Compared:
    seconds = max(0.5, min(1.0, settings.seconds))
    settings.say("k: idle clients")
    async with servers.stretto_alone() as url, Client(ensemble()) as local, Client(url) as over_http:
        await local.predict(ROW)
        await over_http.predict(ROW)
        # The round that is not counted waits for BLAS too, whose threads spin for a moment after the models' last call.
        figures = await alternate([Contender("idle", lambda: _idled(seconds))], settings.rounds)
    line = Line("k", "two idle clients, in process and HTTP, processor time a second")
    return line.alone([each["ms"] for each in figures["idle"]], "ms", at_most(IDLE_MS))


async def _idled(seconds: float) -> Figures:
    start = time.process_time()
    await asyncio.sleep(seconds)
    return {"ms": (time.process_time() - start) / seconds * 1e3}


async def _importing(settings: Settings) -> Compared:
    settings.say("k: importing")
    contenders = [Contender(OURS, _imported("stretto")), Contender(IMPORTS, _imported(IMPORTS))]
    figures = await alternate(contenders, settings.rounds)
    return Line("k", "import stretto").compare(figures, COST, IMPORTS, at_most(1.5))


def _imported(modules: str) -> Callable[[], Awaitable[Figures]]:
    """Return what measures an import in a fresh interpreter, without the time that starting it takes."""
    program = f"import time; start = time.perf_counter(); import {modules}; print(time.perf_counter() - start)"

    async def run() -> Figures:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
        try:
            out, _ = await asyncio.wait_for(process.communicate(), 60)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        return {"seconds": float(out)}

    return run
