"""The result: as JSON, and as a table for people.

A report's table for a page of documentation: ``python -m tests.benchmarks.report REPORT.json``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from tests.benchmarks.compared import Compared, Goal
from tests.benchmarks.rounds import Spread
from tests.benchmarks.sweep import Point


@dataclass(slots=True)
class Report:
    """All that one run of the benchmark found; `failed` says which part could not be measured, and why."""

    machine: dict[str, str]
    rounds: int
    seconds: float
    compared: list[Compared] = field(default_factory=list)
    sweep: list[Point] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        lines = [asdict(each) | {"reached": each.reached} for each in self.compared]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(asdict(self) | {"compared": lines})) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what `write` wrote."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def table(self) -> Table:
        """Return the comparisons, in the order of the goals."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("", "what", "callers", "Stretto", "baseline", "", "ratio [min..max]", "goal", ""):
            right = name in ("callers", "Stretto", "ratio [min..max]", "goal")
            table.add_column(name, justify="right" if right else "left", no_wrap=name != "what")
        for each in self._sorted():
            table.add_row(*_cells(each))
        return table

    def markdown(self) -> str:
        """Return the same table for a page, where the last columns may not be seen, with what it was measured on."""
        heads = ["", "what", "callers", "ratio, or figure", "goal", "Stretto", "baseline"]
        lines = [heads, ["---"] * len(heads)]
        for each in self._sorted():
            cells = [Text.from_markup(cell).plain for cell in _cells(each)]
            row, what, callers, ours, baseline, theirs, ratio, goal, mark = cells
            result = [ratio.replace("..", " to "), f"{goal}, {mark}" if goal else ""]
            lines.append([row, what, callers, *result, ours, f"{baseline} {theirs}".strip()])
        about = (
            f"{self.rounds} rounds in turn, {self.seconds:g} s each: medians, and the range of the ratios. Machine: "
        )
        about += ", ".join(f"{name} {value}" for name, value in self.machine.items())
        return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", about])

    def _sorted(self) -> list[Compared]:
        return sorted(self.compared, key=lambda each: each.row)


def _cells(each: Compared) -> list[str]:
    theirs = "" if each.theirs is None else _with_unit(each.theirs.median, each.unit)
    mark = {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[each.reached]
    callers = "" if each.callers is None else str(each.callers)
    ours = _with_unit(each.ours.median, each.unit)
    return [each.row, each.what, callers, ours, each.baseline, theirs, _result(each), _goal(each), mark]


def _result(each: Compared) -> str:
    spread: Spread = each.result
    return f"{_with_unit(spread.median, each.result_unit)} \\[{_number(spread.low)}..{_number(spread.high)}]"


def _goal(each: Compared) -> str:
    goal: Goal | None = each.goal
    return (
        "" if goal is None else f"{'≥' if goal.at_least else '≤'} {_number(goal.bound)} {each.result_unit.split()[0]}"
    )


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)}{'' if unit.startswith('/') else ' '}{unit}"


def _number(value: Any) -> str:
    """Return three significant digits: 12,345 and 123, 12.3, 1.23, 0.0123."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    print(Report.read(Path(sys.argv[1])).markdown())
