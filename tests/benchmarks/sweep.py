"""Throughput and latency as callers grow, for the plot."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tests.benchmarks import in_process, servers
from tests.benchmarks.compared import OURS
from tests.benchmarks.load import Program, by_wrk
from tests.benchmarks.rounds import Spread, alternate
from tests.benchmarks.settings import Settings

CALLERS = (1, 4, 16, 64, 256)
IN_PROCESS, BY_HANDLE, OVER_HTTP = "in process", "by handle", "over HTTP"


@dataclass(frozen=True, slots=True)
class Point:
    """What so many callers saw of a program, asked in one of three ways."""

    way: str
    program: str
    callers: int
    per_second: Spread
    p50_ms: Spread
    p99_ms: Spread


async def sweep(settings: Settings) -> list[Point]:
    """Give the points of every way: in process and over HTTP without Serve first, then with it on this machine."""
    found: list[Point] = []
    async with in_process.programs() as programs:
        wanted = [each for each in programs if each.name != in_process.BOUND]
        found += await _points(settings, IN_PROCESS, wanted)
    async with AsyncExitStack() as stack:
        alone = await stack.enter_async_context(servers.stretto_alone())
        fastapi = await stack.enter_async_context(servers.fastapi())
        wanted = [by_wrk(f"{OURS}, uvicorn", alone), by_wrk("FastAPI inline", fastapi + "inline")]
        found += await _points(settings, OVER_HTTP, wanted)
    return found + await _on_serve(settings)


async def _on_serve(settings: Settings) -> list[Point]:
    from tests.benchmarks.on_serve import PLAIN, on_serve

    async with on_serve() as up:
        over_http = [each for each in up.by_wrk() if each.name != PLAIN]
        return [
            *await _points(settings, BY_HANDLE, up.by_handle("fused")),
            *await _points(settings, OVER_HTTP, [Program(_on(each), each.load) for each in over_http]),
        ]


def _on(program: Program) -> str:
    return f"{program.name}, Serve" if program.name == OURS else program.name


async def _points(settings: Settings, way: str, programs: Sequence[Program]) -> list[Point]:
    found: list[Point] = []
    for callers in CALLERS:
        settings.say(f"plot: {way}, {callers} callers")
        # With many callers a slow program answers each of them only every few seconds.
        seconds = settings.seconds * max(1, callers / 64)
        figures = await alternate([each.asked_by(callers, seconds) for each in programs], settings.rounds)
        for name, rounds in figures.items():
            spreads = [Spread.of([each[key] for each in rounds]) for key in ("per_second", "p50_ms", "p99_ms")]
            found.append(Point(way, name, callers, *spreads))
    return found
