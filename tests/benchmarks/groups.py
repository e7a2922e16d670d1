"""Which part of the benchmark measures which rows."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.compared import Compared
from tests.benchmarks.processes import running
from tests.benchmarks.report import Report
from tests.benchmarks.rows import asgi_alone, compiling, footprint, in_process, many_rows
from tests.benchmarks.settings import Settings

FAST = "RAY_SERVE_THROUGHPUT_OPTIMIZED"


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are measured together, since they need the same things to be up."""

    name: str
    rows: str
    measure: Callable[[Settings], Awaitable[list[Compared]]]


async def _on_serve(settings: Settings) -> list[Compared]:
    from tests.benchmarks.rows import on_serve

    return await on_serve.measure(settings)


async def _optimized(settings: Settings) -> list[Compared]:
    """Run this benchmark in a process of its own, since Ray Serve reads its variables when it is imported."""
    with tempfile.TemporaryDirectory(prefix="stretto-benchmark-") as folder:
        path = Path(folder) / "optimized.json"
        options = {"--rounds": settings.rounds, "--seconds": settings.seconds, "--json": path}
        command = [sys.executable, "-m", "tests.benchmarks", "--only", "c"]
        command += [str(each) for pair in options.items() for each in pair]
        settings.say(f"c: once more with {FAST}=1")
        async with running(command, env={FAST: "1"}, patience=60) as (process, log):
            if await process.wait():
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {log.read_text()[-3000:]}")
        return Report.read(path).compared


async def _optimized_here(settings: Settings) -> list[Compared]:
    from tests.benchmarks.rows import on_serve

    return await on_serve.throughput_optimized(settings)


# What needs no Ray comes first: once it runs it takes some of the machine.
GROUPS = (
    Group("in process", "ab", in_process.measure),
    Group("many rows", "i", many_rows.measure),
    Group("compiling", "j", compiling.measure),
    Group("footprint", "k", footprint.measure),
    Group("the ASGI application", "gh", asgi_alone.measure),
    Group("on Serve", "cdefgh", _on_serve),
    Group("on Serve, optimized for throughput", "c", _optimized),
)


async def measure_all(settings: Settings, report: Report) -> None:
    """Measure every group of which a row is wanted; what fails is noted, and the others go on."""
    groups = GROUPS
    if os.environ.get(FAST) == "1":
        groups = (Group(GROUPS[-1].name, "c", _optimized_here),)
    for group in groups:
        wanted = settings.only & frozenset(group.rows)
        if not wanted:
            continue
        try:
            report.compared += await group.measure(replace(settings, only=wanted))
        except Exception as error:
            report.failed[group.name] = f"{type(error).__name__}: {error}"
