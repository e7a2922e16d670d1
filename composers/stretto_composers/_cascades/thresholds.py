"""The search for thresholds: what each choice of them gives on rows that every tier was asked about."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np

SEARCHED = 400
"""How many thresholds of the tiers between the first and the last are tried, in all; of the first one all are."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What one tier gave: how sure it was of each row (None for the last), whether it was right, and seconds a row."""

    name: str
    sure: Any
    right: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Point:
    """What a cascade with these thresholds gives: accuracy, cost a row, and the share that reaches each tier."""

    thresholds: tuple[float, ...]
    accuracy: float
    cost: float
    reached: tuple[float, ...]


Found: TypeAlias = tuple[float, float, tuple[float, ...]]
"""An accuracy, a cost a row, and the thresholds that give both."""


def curve_of(results: Sequence[Asked], costs: Sequence[float]) -> tuple[Point, ...]:
    """Return the choices of thresholds to which no other is both as cheap and as accurate, the cheapest first."""
    middle = results[1:-1]
    each = int(SEARCHED ** (1 / max(len(middle), 1)))
    grid = product(*(_thinned(_cuts(tier)[2], each) for tier in middle))
    points = [point for rest in grid for point in _swept(results, costs, rest)]
    return tuple(measured(results, costs, thresholds) for _, _, thresholds in _best(points))


def measured(results: Sequence[Asked], costs: Sequence[float], thresholds: Sequence[float]) -> Point:
    """Return what a cascade with these thresholds gives on the rows asked about."""
    out, right = np.ones(len(results[0].right), dtype=bool), results[-1].right.copy()
    reached = [1.0]
    for tier, least in zip(results, thresholds, strict=False):
        stays = out & (tier.sure >= least)
        right[stays] = tier.right[stays]
        out &= ~stays
        reached.append(float(out.mean()))
    cost = sum(share * cost for share, cost in zip(reached, costs, strict=True))
    return Point(tuple(thresholds), float(right.mean()), float(cost), tuple(reached))


def _best(points: list[Found]) -> list[Found]:
    best: list[Found] = []
    for each in sorted(points, key=lambda each: (each[1], -each[0])):
        if not best or each[0] > best[-1][0]:
            best.append(each)
    return best


def _swept(results: Sequence[Asked], costs: Sequence[float], rest: tuple[float, ...]) -> list[Found]:
    """Try every threshold of the first tier, with those of the others as given."""
    # Whether each row that goes on ends right, and its cost from there.
    right, cost = results[-1].right, np.full(len(results[-1].right), costs[-1])
    for tier, own, least in reversed(list(zip(results[1:], costs[1:], rest, strict=False))):
        right = np.where(tier.sure >= least, tier.right, right)
        cost = own + np.where(tier.sure >= least, 0.0, cost)
    # What the rows that stay give, and what the others would give further on, for every number of rows that stay.
    order, kept, thresholds = _cuts(results[0])
    stays = np.cumsum(np.r_[0, results[0].right[order]]) + right.sum() - np.cumsum(np.r_[0, right[order]])
    goes = cost.sum() - np.cumsum(np.r_[0.0, cost[order]])
    accuracy, expected = stays[kept] / len(order), costs[0] + goes[kept] / len(order)
    points = zip(accuracy.tolist(), expected.tolist(), ((each, *rest) for each in thresholds), strict=True)
    return _best(list(points))


def _cuts(tier: Asked) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Return a tier's rows, surest first; how many can stay, equal ones together; and a threshold for each number."""
    order = np.argsort(-tier.sure, kind="stable")
    sure = tier.sure[order]
    inner = np.flatnonzero(sure[:-1] > sure[1:]) + 1
    none = [0] if sure[0] < 1 else []
    thresholds = [between(float(sure[at]), float(sure[at - 1])) for at in inner]
    return order, np.array([*none, *inner.tolist(), len(sure)]), [*(1.0 for _ in none), *thresholds, 0.0]


def between(low: float, high: float) -> float:
    """Return the shortest decimal number between two others, so that rounding elsewhere decides nothing.

    >>> between(0.8612, 0.8741)
    0.87
    """
    middle = (low + high) / 2
    short = (round(middle, digits) for digits in range(1, 16))
    return next((each for each in short if low < each < high), middle if middle > low else high)


def _thinned(values: list[float], most: int) -> list[float]:
    places = np.unique(np.linspace(0, len(values) - 1, max(most, 2)).round().astype(int))
    return [values[at] for at in places.tolist()]
