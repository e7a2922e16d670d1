"""Throughput and latency as callers grow, for the plot."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.benchmarks import in_process, servers
from tests.benchmarks.compared import OURS
from tests.benchmarks.load import Program, by_wrk
from tests.benchmarks.rounds import Spread, alternate
from tests.benchmarks.settings import Settings

CALLERS = (1, 4, 16, 64, 256)
IN_PROCESS, UVICORN, BY_HANDLE, ON_SERVE = "in process", "HTTP, uvicorn", "Serve by handle", "HTTP, Serve"


@dataclass(frozen=True, slots=True)
class Point:
    """What so many callers measured of a program, on one of the ways."""

    way: str
    program: str
    callers: int
    per_second: Spread
    p50_ms: Spread
    p99_ms: Spread


async def sweep(settings: Settings) -> AsyncGenerator[Point]:
    """Return the points of every way: what needs no Ray first, since that takes some of the machine once it runs."""
    async with AsyncExitStack() as stack:
        programs = await stack.enter_async_context(in_process.programs())
        contenders = [each for each in programs if each.name != in_process.BOUND]
        async for each in _points(settings, IN_PROCESS, contenders):
            yield each
        alone = await stack.enter_async_context(servers.stretto_alone())
        fastapi = await stack.enter_async_context(servers.fastapi())
        contenders = [by_wrk(OURS, alone), by_wrk("FastAPI inline", fastapi + "inline")]
        async for each in _points(settings, UVICORN, contenders):
            yield each
    async for each in _on_serve(settings):
        yield each


async def _on_serve(settings: Settings) -> AsyncGenerator[Point]:
    from tests.benchmarks.on_serve import PLAIN, on_serve

    settings.say("starting Ray, and deploying three applications")
    async with on_serve() as up:
        over_http = [each for each in up.by_wrk() if each.name != PLAIN]
        for way, programs in ((BY_HANDLE, up.by_handle("fused")), (ON_SERVE, over_http)):
            async for each in _points(settings, way, programs):
                yield each


async def _points(settings: Settings, way: str, programs: Sequence[Program]) -> AsyncGenerator[Point]:
    for callers in CALLERS:
        settings.say(f"plot: {way}, callers: {callers}")
        # With many callers a slow program answers each of them only every few seconds.
        seconds = settings.seconds * max(1, callers / 64)
        figures = await alternate([each.asked_by(callers, seconds) for each in programs], settings.rounds)
        for name, rounds in figures.items():
            spreads = [Spread.of([each[key] for each in rounds]) for key in ("per_second", "p50_ms", "p99_ms")]
            yield Point(way, name, callers, *spreads)
