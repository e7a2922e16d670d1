"""Thresholds for a cascade, from data it has not seen."""

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

import numpy as np

from stretto import Client, Pipeline
from stretto.errors import PipelineError, StepError
from stretto.nodes import as_pipeline
from stretto_composers._cascade import cascade
from stretto_composers._cascades.thresholds import Asked, Point, curve_of
from stretto_composers._cascades.tiers import Tier, tiers_of
from stretto_composers._policies.settings import fraction, number

Cost = Literal["rows", "seconds"]
SHOWN = 12
"""How many points a table has."""


async def calibrate(
    pipeline: Pipeline[Any, Any],
    X: Sequence[Any] | np.ndarray,  # noqa: N803  scikit-learn's name for rows
    y: Sequence[Any] | np.ndarray,
    *,
    target: float | None = None,
    cost: Cost | Sequence[float] = "rows",
) -> "Calibration":
    """Choose thresholds for a cascade that reach the accuracy `target` on rows `X` with labels `y` at least cost.

    Every tier is asked about all of `X` once, in this process. Without `target` it is the last tier's own accuracy.
    `cost` is ``"rows"`` (tiers asked a row), ``"seconds"`` (as measured, a row), or a list of what each tier costs.
    Of two tiers the best threshold is found; of more, those between are searched on a grid. Take data that no tier was
    trained on: accuracy on what the models know says nothing.

    Raises:
        PipelineError: `pipeline` is no cascade, rows and labels don't fit, or no thresholds reach the target.
        StrettoError: a tier failed on a row.

    >>> import asyncio
    >>> from stretto_composers import cascade, confidence
    >>> quick = lambda x: {"low": 1 - x, "high": x}
    >>> slow = lambda x: "high" if x > 0.4 else "low"
    >>> rows, labels = [0.1, 0.3, 0.45, 0.48, 0.8, 0.9], ["low", "low", "high", "high", "high", "high"]
    >>> found = asyncio.run(calibrate(cascade(quick, slow, until=confidence(0.9)), rows, labels, target=1.0))
    >>> found.pipeline
    cascade(lambda, lambda, until=confidence(0.6))
    >>> found.accuracy, round(found.cost, 2)
    (1.0, 1.33)
    """
    call = as_pipeline(pipeline).call
    if call is None or call.composer != "cascade":
        raise PipelineError(
            f"calibrate() takes a cascade, and got {pipeline!r}: calibrate it before it becomes part of more"
        )
    parts, readers = call.arguments["tiers"], tiers_of(call.arguments["tiers"], call.arguments["until"])
    truth, costs = _labels(X, y), _costs(cost, len(parts))
    wanted = None if target is None else fraction("calibrate(target)", target)
    results = [await _ask(part, reader, X, truth) for part, reader in zip(parts, readers, strict=True)]
    curve = curve_of(results, costs or [each.seconds for each in results])
    wanted = float(results[-1].right.mean()) if wanted is None else wanted
    chosen = next((point for point in curve if point.accuracy >= wanted - 1e-12), None)
    if chosen is None:
        raise PipelineError(
            f"calibrate(): no thresholds reach an accuracy of {wanted:.4g} on these {len(truth)} rows; the most is "
            f"{curve[-1].accuracy:.4g}, at a cost of {curve[-1].cost:.4g}"
        )
    tests = [replace(each.test, least=least) for each, least in zip(readers, chosen.thresholds, strict=False)]
    answer = {} if call.arguments["answer"] == "label" else {"answer": call.arguments["answer"]}
    calibrated = cascade(*parts, until=tests[0] if len(tests) == 1 else tests, **answer)
    names = tuple(each.name for each in results)
    return Calibration(calibrated, chosen, curve, names, wanted, len(truth), cost if isinstance(cost, str) else "given")


def _labels(X: Any, y: Any) -> list[Any]:  # noqa: N803
    labels = y.tolist() if hasattr(y, "tolist") else list(y)
    if not labels or len(labels) != len(X):
        raise PipelineError(
            f"calibrate(): there are {len(X)} rows in X and {len(labels)} labels in y: give one for each"
        )
    return labels


def _costs(cost: Any, tiers: int) -> list[float] | None:
    """Return the cost of each tier; None where it is to be measured."""
    if isinstance(cost, str) and cost in ("rows", "seconds"):
        return [1.0] * tiers if cost == "rows" else None
    values = [number(each) for each in cost] if isinstance(cost, list | tuple | np.ndarray) else []
    numbers = [each for each in values if each is not None and each >= 0]
    if not len(numbers) == len(values) == tiers:
        raise PipelineError(
            f"calibrate(cost={cost!r}): it is 'rows', 'seconds', or a list of {tiers} numbers, what each tier costs"
        )
    return numbers


async def _ask(part: Pipeline[Any, Any], tier: Tier, X: Any, truth: list[Any]) -> Asked:  # noqa: N803
    """Run one tier on all rows; return how sure it is of each, which labels are right, and the seconds a row."""
    async with Client(part) as client:
        start = time.perf_counter()
        answers = await client.predict_many(X)
        seconds = (time.perf_counter() - start) / len(truth)
    try:
        sure, labels = zip(*map(tier.one, answers), strict=True)
    except Exception as error:
        raise StepError.of("calibrate", error) from error
    right = np.array([one == other for one, other in zip(labels, truth, strict=True)])
    if not right.any() and not set(labels) & set(truth):
        raise PipelineError(
            f"calibrate(): y and tier {part.label!r} have no label in common: y has {truth[0]!r}, the tier says "
            f"{labels[0]!r}"
        )
    return Asked(part.label, None if tier.last else np.array(sure), right, seconds)


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
        """Draw accuracy against cost, with the choice made, and return matplotlib's axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            axes = import_module("matplotlib.pyplot").subplots()[1] if axes is None else axes
        except ModuleNotFoundError as error:
            raise ImportError("plot() needs matplotlib: pip install 'stretto[plot]'") from error
        costs, accuracies = zip(*((each.cost, each.accuracy) for each in self.curve), strict=True)
        axes.step(costs, accuracies, where="post", marker=".", label="best for the cost")
        axes.plot([self.cost], [self.accuracy], "o", markersize=9, label="chosen")
        axes.axhline(self.target, linestyle="--", linewidth=1, color="gray", label="target")
        axes.set_xlabel({"rows": "tiers asked a row", "seconds": "seconds a row"}.get(self.cost_of, "cost a row"))
        axes.set_ylabel("accuracy")
        axes.legend()
        return axes

    def __repr__(self) -> str:
        rows = self._table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join([self.summary, "", *("  ".join(map(str.rjust, row, widths)) for row in rows)])

    def _repr_html_(self) -> str:
        title = [f"<div>{html.escape(line)}</div>" for line in self.summary.splitlines()]
        head, *rows = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self._table()]
        lines = [f"<tr>{row}</tr>" for row in (head.replace("td>", "th>"), *rows)]
        return "".join([*title, "<table>", *lines, "</table>"])

    def _table(self) -> list[tuple[str, ...]]:
        last, steps = len(self.curve) - 1, min(len(self.curve), SHOWN) - 1
        at = {round(i * last / max(steps, 1)) for i in range(steps + 1)} | {self.curve.index(self.point)}
        head = ("", "accuracy", "cost", *(f"reach {name}" for name in self.tiers), "thresholds")
        return [head, *(self._line(self.curve[i]) for i in sorted(at))]

    def _line(self, point: Point) -> tuple[str, ...]:
        reached = (f"{share:.1%}" for share in point.reached)
        thresholds = ", ".join(f"{each:g}" for each in point.thresholds)
        return ("*" if point == self.point else "", f"{point.accuracy:.4f}", self._cost(point), *reached, thresholds)

    def _cost(self, point: Point) -> str:
        return f"{point.cost * 1e6:.4g} µs" if self.cost_of == "seconds" else f"{point.cost:.4g}"
