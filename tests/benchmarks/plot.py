"""The points of a sweep as a picture.

From a report, without measuring again: ``python -m tests.benchmarks.plot REPORT.json PICTURE.svg``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.compared import OURS
from tests.benchmarks.sweep import BY_HANDLE, CALLERS, IN_PROCESS, ON_SERVE, UVICORN, Point

COLOURS = {IN_PROCESS: "#0072b2", UVICORN: "#008f6b", BY_HANDLE: "#d55e00", ON_SERVE: "#a8508b"}
"""A colour a way, which the colour-blind tell apart too; Stretto's lines are solid and the others' dashed."""


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw throughput, and latency, against callers, and write the picture.

    Raises:
        ImportError: matplotlib is not installed: ``pip install -e '.[bench]'``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), layout="constrained", facecolor="white")
    throughput, latency = figure.subplots(1, 2)
    for rank, series in enumerate(_series(points)):
        _line(throughput, latency, series, 1 + 0.025 * rank)
    _finish(throughput, "answers a second")
    _finish(latency, "latency in ms: p50, and up to p99")
    handles, labels = throughput.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def _series(points: Sequence[Point]) -> list[list[Point]]:
    keys = dict.fromkeys((point.way, point.program) for point in points)
    return [[point for point in points if (point.way, point.program) == key] for key in keys]


def _style(point: Point) -> dict[str, Any]:
    colour = COLOURS[point.way]
    if point.program == OURS:
        return {"color": colour, "linewidth": 2.2, "marker": "o", "markersize": 5}
    dashes = {"linestyle": (0, (5, 2)), "linewidth": 1.4}
    return {"color": colour, "marker": "s", "markersize": 4, "markerfacecolor": "white", **dashes}


def _line(throughput: Any, latency: Any, series: list[Point], aside: float) -> None:
    """Draw one program; `aside` moves the lines from p50 to p99 so that those of several do not cover each other."""
    style = _style(series[0])
    label = f"{series[0].way}: {series[0].program}"
    callers = [point.callers for point in series]
    throughput.plot(callers, [point.per_second.median for point in series], label=label, **style)
    p50 = [point.p50_ms.median for point in series]
    p99 = [point.p99_ms.median for point in series]
    moved = [each * aside for each in callers]
    latency.plot(moved, p50, **style)
    latency.vlines(moved, p50, p99, colors=style["color"], linewidth=0.9)
    latency.plot(moved, p99, linestyle="none", marker="_", markersize=5, color=style["color"])


def _finish(axes: Any, title: str) -> None:
    axes.set_xscale("log", base=4)
    axes.set_yscale("log")
    axes.set_xticks(CALLERS, [str(each) for each in CALLERS])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("callers, each asking again as soon as it is answered")
    axes.set_title(title, fontsize=11)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    from tests.benchmarks.report import Report

    draw(Report.read(Path(sys.argv[1])).sweep, Path(sys.argv[2]))
