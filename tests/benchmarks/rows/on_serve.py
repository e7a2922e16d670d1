"""Rows c to h on Ray Serve: by handle, over HTTP through the client, and by wrk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from tests.benchmarks.compared import LATENCY, RATE, Compared, Goal, Line, Relation, at_least
from tests.benchmarks.load import Program
from tests.benchmarks.on_serve import BY_HAND, PLAIN, OnServe, on_serve
from tests.benchmarks.rounds import alternate
from tests.benchmarks.settings import THROUGHPUT_OPTIMIZED, Settings


async def measure(settings: Settings) -> AsyncGenerator[Compared]:
    """Return rows c, d and e by handle, and f, g and h over HTTP, next to the baseline."""
    settings.say("starting Ray, and deploying three applications")
    async with on_serve() as up, up.by_client() as by_client:
        for line, programs, relation, goal in _plan(up, by_client):
            if line.row in settings.only:
                for each in await _lines(settings, line, programs, relation, goal):
                    yield each


async def throughput_optimized(settings: Settings) -> AsyncGenerator[Compared]:
    """Return row c where Ray was started with RAY_SERVE_THROUGHPUT_OPTIMIZED=1, for both contenders."""
    settings.say(f"starting Ray with {THROUGHPUT_OPTIMIZED}=1, and deploying three applications")
    line = Line("c", f"by handle, fused, {THROUGHPUT_OPTIMIZED}=1", 64)
    async with on_serve() as up:
        for each in await _lines(settings, line, up.by_handle("fused"), RATE, at_least(40)):
            yield each


def _plan(up: OnServe, by_client: Sequence[Program]) -> list[tuple[Line, Sequence[Program], Relation, Goal]]:
    fused, split, by_wrk = up.by_handle("fused"), up.by_handle("split"), up.by_wrk()
    return [
        (Line("c", "by handle, fused", 64), fused, RATE, at_least(80)),
        (Line("d", "by handle, split", 64), split, RATE, at_least(15)),
        (Line("d", "by handle, split", 1), split, LATENCY, at_least(1)),
        (Line("e", "by handle, fused", 1), fused, LATENCY, at_least(3)),
        (Line("f", "HTTP on Serve, Client", 64), by_client, RATE, at_least(60)),
        (Line("g", "HTTP on Serve, wrk", 64), by_wrk, RATE, at_least(30)),
        (Line("h", "HTTP on Serve, wrk", 1), by_wrk, LATENCY, at_least(8)),
    ]


async def _lines(
    settings: Settings, line: Line, programs: Sequence[Program], relation: Relation, goal: Goal
) -> list[Compared]:
    """Measure the programs in turn, with a line each for Stretto through direct ingress and through the proxy."""
    assert line.callers is not None
    settings.say(f"{line.row}: {line.what}, callers: {line.callers}")
    figures = await alternate([each.asked_by(line.callers, settings.seconds) for each in programs], settings.rounds)
    if PLAIN not in figures:
        return [line.compare(figures, relation, BY_HAND, goal)]
    direct = replace(line, what=f"{line.what}, direct")
    proxy = replace(line, what=f"{line.what}, Serve's proxy")
    return [direct.compare(figures, relation, BY_HAND, goal), proxy.compare(figures, relation, BY_HAND, ours=PLAIN)]
