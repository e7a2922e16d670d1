"""The points of a sweep as a picture.

From a report, without measuring again: ``python -m tests.benchmarks.plot REPORT.json PICTURE.svg``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.compared import OURS
from tests.benchmarks.sweep import BY_HANDLE, CALLERS, IN_PROCESS, OVER_HTTP, Point

COLOURS = {IN_PROCESS: "#0072b2", BY_HANDLE: "#d55e00", OVER_HTTP: "#008f6b"}
"""A colour a way, which the colour-blind tell apart too; Stretto's lines are solid and the others' dashed."""

STYLES = {True: ["-", (0, (1, 1))], False: [(0, (5, 2)), (0, (2, 2))]}


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw throughput, and latency, against callers, and write the picture.

    Raises:
        ImportError: matplotlib is not installed: ``pip install -e '.[bench]'``.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: F401
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), layout="constrained", facecolor="white")
    throughput, latency = figure.subplots(1, 2)
    for series in _series(points):
        _line(throughput, latency, series, _style(series[0], points))
    _finish(throughput, "answers a second")
    _finish(latency, "latency in ms: p50, and up to p99")
    handles, labels = throughput.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _series(points: Sequence[Point]) -> list[list[Point]]:
    keys = dict.fromkeys((point.way, point.program) for point in points)
    return [[point for point in points if (point.way, point.program) == key] for key in keys]


def _style(point: Point, points: Sequence[Point]) -> dict[str, Any]:
    ours = point.program.startswith(OURS)
    alike = dict.fromkeys(
        each.program for each in points if each.way == point.way and each.program.startswith(OURS) == ours
    )
    rank = list(alike).index(point.program)
    return {
        "color": COLOURS[point.way],
        "linestyle": STYLES[ours][rank % 2],
        "linewidth": 2.2 if ours else 1.4,
        "marker": "o" if ours else "s",
        "markersize": 5 if ours else 4,
        "markerfacecolor": COLOURS[point.way] if ours else "white",
    }


def _line(throughput: Any, latency: Any, series: list[Point], style: dict[str, Any]) -> None:
    callers = [point.callers for point in series]
    label = f"{series[0].way}: {series[0].program}"
    throughput.plot(callers, [point.per_second.median for point in series], label=label, **style)
    p50 = [point.p50_ms.median for point in series]
    p99 = [point.p99_ms.median for point in series]
    latency.plot(callers, p50, **style)
    tails = [max(0.0, high - low) for low, high in zip(p50, p99, strict=True)]
    latency.errorbar(
        callers, p50, [[0] * len(tails), tails], fmt="none", ecolor=style["color"], elinewidth=0.8, capsize=2
    )


def _finish(axes: Any, title: str) -> None:
    axes.set_xscale("log", base=4)
    axes.set_yscale("log")
    axes.set_xticks(CALLERS, [str(each) for each in CALLERS])
    axes.set_xlabel("callers, each asking again as soon as it is answered")
    axes.set_title(title, fontsize=11)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    from tests.benchmarks.report import Report

    draw(Report.read(Path(sys.argv[1])).sweep, Path(sys.argv[2]))
