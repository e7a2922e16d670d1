"""What a calibration found: the cascade, and what it costs to be more accurate."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from stretto import Pipeline
from stretto_composers._cascades.thresholds import Point

SHOWN = 12
"""How many points a table has."""


@dataclass(frozen=True, repr=False)
class Calibration:
    """A calibrated cascade, and the curve of accuracy against cost that it stands on.

    `pipeline` is the cascade with the thresholds found, `point` what it gives on the rows of the calibration, and
    `curve` every choice of thresholds to which no other is both as cheap and as accurate, the cheapest first. `tiers`
    are the tiers' names, `target` is the accuracy asked for, `rows` how many there were, and `cost_of` says what a cost
    is: ``"rows"`` (tiers asked a row), ``"seconds"`` (a row) or ``"given"``.

    It prints as a table, also in a notebook, and `plot` draws it.
    """

    pipeline: Pipeline[Any, Any]
    point: Point
    curve: tuple[Point, ...]
    tiers: tuple[str, ...]
    target: float
    rows: int
    cost_of: str

    @property
    def accuracy(self) -> float:
        """The share of the rows that the cascade answers right."""
        return self.point.accuracy

    @property
    def cost(self) -> float:
        """What it costs a row."""
        return self.point.cost

    @property
    def thresholds(self) -> tuple[float, ...]:
        """How sure each tier but the last must be."""
        return self.point.thresholds

    @property
    def summary(self) -> str:
        """The cascade, with what it reaches."""
        return (
            f"{self.pipeline!r}\naccuracy {self.accuracy:.4g} on {self.rows} rows (target {self.target:.4g}), "
            f"cost {self._cost(self.point)}"
        )

    def plot(self, axes: Any = None) -> Any:
        """Draw accuracy against cost, with the choice made, and give matplotlib's axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            axes = import_module("matplotlib.pyplot").subplots()[1] if axes is None else axes
        except ModuleNotFoundError as error:
            raise ImportError("plot() needs matplotlib: pip install 'stretto[plot]'") from error
        costs, accuracies = [each.cost for each in self.curve], [each.accuracy for each in self.curve]
        axes.step(costs, accuracies, where="post", marker=".", label="best for the cost")
        axes.plot([self.cost], [self.accuracy], "o", markersize=9, label="chosen")
        axes.axhline(self.target, linestyle="--", linewidth=1, color="gray", label="target")
        axes.set_xlabel({"rows": "tiers asked a row", "seconds": "seconds a row"}.get(self.cost_of, "cost a row"))
        axes.set_ylabel("accuracy")
        axes.legend()
        return axes

    def __repr__(self) -> str:
        rows = [self._head(), *map(self._line, self._shown())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([self.summary, "", *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self._head())
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in self._line(point)) + "</tr>"
            for point in self._shown()
        )
        title = "".join(f"<div>{html.escape(line)}</div>" for line in self.summary.splitlines())
        return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _shown(self) -> Sequence[Point]:
        if len(self.curve) <= SHOWN:
            return self.curve
        at = {round(i * (len(self.curve) - 1) / (SHOWN - 1)) for i in range(SHOWN)} | {self.curve.index(self.point)}
        return [self.curve[i] for i in sorted(at)]

    def _head(self) -> tuple[str, ...]:
        return ("", "accuracy", "cost", *(f"reach {name}" for name in self.tiers), "thresholds")

    def _line(self, point: Point) -> tuple[str, ...]:
        reached = (f"{share:.1%}" for share in point.reached)
        thresholds = ", ".join(f"{each:g}" for each in point.thresholds)
        return ("*" if point == self.point else "", f"{point.accuracy:.4f}", self._cost(point), *reached, thresholds)

    def _cost(self, point: Point) -> str:
        return f"{point.cost * 1e6:.4g} µs" if self.cost_of == "seconds" else f"{point.cost:.4g}"
