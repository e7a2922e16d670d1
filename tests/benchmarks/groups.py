"""Which part of the benchmark measures which rows."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.compared import Compared
from tests.benchmarks.processes import running
from tests.benchmarks.report import Report
from tests.benchmarks.rows import (
    asgi_alone,
    compiled,
    compiling,
    footprint,
    in_process,
    many_rows,
    mixed,
    on_serve,
    predicted,
)
from tests.benchmarks.settings import THROUGHPUT_OPTIMIZED, Settings
from tests.benchmarks.sweep import sweep


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are measured together, since they need the same things to be up."""

    name: str
    rows: str
    measure: Callable[[Settings], AsyncGenerator[Compared]]


async def _optimized(settings: Settings) -> AsyncGenerator[Compared]:
    """Run this benchmark in a process of its own, since Ray Serve reads its variables when it is imported."""
    with tempfile.TemporaryDirectory(prefix="stretto-benchmark-") as folder:
        path = Path(folder) / "optimized.json"
        options = {"--rounds": settings.rounds, "--seconds": settings.seconds, "--json": path}
        command = [sys.executable, "-m", "tests.benchmarks", "--only", "c"]
        command += [str(each) for pair in options.items() for each in pair]
        settings.say(f"c: once more with {THROUGHPUT_OPTIMIZED}=1")
        async with running(command, env={THROUGHPUT_OPTIMIZED: "1"}, patience=60) as (process, log):
            if await process.wait():
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {log.read_text()[-3000:]}")
        for each in Report.read(path).compared:
            yield each


def _groups() -> tuple[Group, ...]:
    """Return the groups in the order of measuring: what needs no Ray first, since that takes some of the machine."""
    if os.environ.get(THROUGHPUT_OPTIMIZED) == "1":
        return (Group("on Serve, optimized for throughput", "c", on_serve.throughput_optimized),)
    return (
        Group("in process", "ab", in_process.measure),
        Group("many rows", "i", many_rows.measure),
        Group("compiling", "j", compiling.measure),
        Group("footprint", "k", footprint.measure),
        Group("compiled models", "l", compiled.measure),
        Group("mixed rows", "m", mixed.measure),
        Group("the ASGI application", "gh", asgi_alone.measure),
        Group("on Serve", "cdefgh", on_serve.measure),
        Group("on Serve, optimized for throughput", "c", _optimized),
        Group("on Serve, predicted", "n", predicted.measure),
    )


async def measure_rows(settings: Settings, report: Report) -> None:
    """Measure every group of which a row is wanted; what fails is noted, and the others go on."""
    for group in _groups():
        wanted = settings.only & frozenset(group.rows)
        if not wanted:
            continue
        try:
            async for each in group.measure(replace(settings, only=wanted)):
                report.compared.append(each)
        except Exception as error:
            report.failed[group.name] = f"{type(error).__name__}: {error}"


async def measure_sweep(settings: Settings, report: Report) -> None:
    """Measure against callers; what fails is noted, and what was measured before stays."""
    try:
        async for point in sweep(settings):
            report.sweep.append(point)
    except Exception as error:
        report.failed["against callers"] = f"{type(error).__name__}: {error}"
