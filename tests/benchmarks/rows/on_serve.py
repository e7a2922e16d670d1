"""Rows c to h on Ray Serve: by handle, over HTTP through the client, and by wrk."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.compared import LATENCY, RATE, Compared, Goal, Line, Relation, at_least
from tests.benchmarks.load import Program
from tests.benchmarks.on_serve import BY_HAND, PLAIN, OnServe, on_serve
from tests.benchmarks.rounds import alternate
from tests.benchmarks.settings import Settings

THROUGHPUT_OPTIMIZED = "RAY_SERVE_THROUGHPUT_OPTIMIZED"


async def measure(settings: Settings) -> list[Compared]:
    """Give rows c, d and e by handle, and f, g and h over HTTP, beside the same ensemble by hand."""
    found: list[Compared] = []
    settings.say("starting Ray, and deploying three applications")
    async with on_serve() as up:
        found += await _by_handle(up, settings)
        if "f" in settings.only:
            async with up.by_client() as programs:
                found += await _lines(settings, Line("f", "HTTP, Client", 64), programs, RATE, at_least(60))
        if "g" in settings.only:
            found += await _lines(settings, Line("g", "HTTP on Serve, wrk", 64), up.by_wrk(), RATE, at_least(30))
        if "h" in settings.only:
            found += await _lines(settings, Line("h", "HTTP on Serve, wrk", 1), up.by_wrk(), LATENCY, at_least(8))
    return found


async def throughput_optimized(settings: Settings) -> list[Compared]:
    """Give row c where Ray was started with RAY_SERVE_THROUGHPUT_OPTIMIZED=1, for both contenders."""
    settings.say(f"starting Ray with {THROUGHPUT_OPTIMIZED}=1, and deploying three applications")
    async with on_serve() as up:
        line = Line("c", f"by handle, fused, {THROUGHPUT_OPTIMIZED}=1", 64)
        return await _lines(settings, line, up.by_handle("fused"), RATE, at_least(40))


async def _by_handle(up: OnServe, settings: Settings) -> list[Compared]:
    fused, split = up.by_handle("fused"), up.by_handle("split")
    found: list[Compared] = []
    if "c" in settings.only:
        found += await _lines(settings, Line("c", "by handle, fused", 64), fused, RATE, at_least(80))
    if "d" in settings.only:
        found += await _lines(settings, Line("d", "by handle, split", 64), split, RATE, at_least(15))
        found += await _lines(settings, Line("d", "by handle, split", 1), split, LATENCY, at_least(1))
    if "e" in settings.only:
        found += await _lines(settings, Line("e", "by handle, fused", 1), fused, LATENCY, at_least(3))
    return found


async def _lines(
    settings: Settings, line: Line, programs: Sequence[Program], relation: Relation, goal: Goal
) -> list[Compared]:
    """Measure the programs in turn; beside Stretto's fast way, give its way through Serve's proxy a line of its own."""
    assert line.callers is not None
    settings.say(f"{line.row}: {line.what}, {line.callers} callers")
    figures = await alternate([each.asked_by(line.callers, settings.seconds) for each in programs], settings.rounds)
    found = [line.compare(figures, relation, BY_HAND, goal)]
    if PLAIN in figures:
        plain = Line(line.row, f"{line.what}, Serve's proxy", line.callers)
        found.append(plain.compare(figures, relation, BY_HAND, ours=PLAIN))
    return found
