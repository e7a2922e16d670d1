"""The search for thresholds: what each choice of them gives on rows that every tier was asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np

SEARCHED = 400
"""How many thresholds of the tiers between the first and the last are tried, in all; of the first one all are."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What one tier gave: how sure it was of each row (None for the last), whether it was right, and seconds a row."""

    name: str
    sure: np.ndarray | None
    right: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Point:
    """What a cascade with these thresholds gives: accuracy, cost a row, and the share that reaches each tier."""

    thresholds: tuple[float, ...]
    accuracy: float
    cost: float
    reached: tuple[float, ...]


def curve_of(results: Sequence[Asked], costs: Sequence[float]) -> tuple[Point, ...]:
    """Return the choices of thresholds to which no other is both as cheap and as accurate, the cheapest first."""
    between = [_cuts(tier)[1] for tier in results[1:-1]]
    each = int(SEARCHED ** (1 / len(between))) if between else 0
    points = [
        point for rest in product(*(_thinned(cuts, each) for cuts in between)) for point in _swept(results, costs, rest)
    ]
    return tuple(measured(results, costs, thresholds) for _, _, thresholds in _best(points))


def measured(results: Sequence[Asked], costs: Sequence[float], thresholds: Sequence[float]) -> Point:
    """Return what a cascade with these thresholds gives on the rows asked about."""
    size = len(results[0].right)
    out, right = np.ones(size, dtype=bool), np.zeros(size, dtype=bool)
    reached: list[float] = []
    for tier, least in zip(results, (*thresholds, None), strict=True):
        reached.append(float(out.mean()))
        stays = out if tier.sure is None or least is None else out & (tier.sure >= least)
        right[stays] = tier.right[stays]
        out = out & ~stays
    cost = sum(share * cost for share, cost in zip(reached, costs, strict=True))
    return Point(tuple(thresholds), float(right.mean()), float(cost), tuple(reached))


Found: TypeAlias = tuple[float, float, tuple[float, ...]]
"""An accuracy, a cost a row, and the thresholds that give both."""


def _best(points: list[Found]) -> list[Found]:
    best: list[Found] = []
    for each in sorted(points, key=lambda each: (each[1], -each[0])):
        if not best or each[0] > best[-1][0]:
            best.append(each)
    return best


def _swept(results: Sequence[Asked], costs: Sequence[float], rest: tuple[float, ...]) -> list[Found]:
    """Try every threshold of the first tier, with those of the others as given."""
    first, size = results[0], len(results[0].right)
    right, cost = _later(results[1:], costs[1:], rest)
    order = _order(first)
    kept, thresholds = _cuts(first)
    # What the rows that stay give, and what the others would give further on, for every number of rows that stay.
    accuracy = (_sums(first.right[order]) + right.sum() - _sums(right[order]))[kept] / size
    expected = costs[0] + (cost.sum() - _sums(cost[order]))[kept] / size
    points = zip(accuracy.tolist(), expected.tolist(), ((each, *rest) for each in thresholds), strict=True)
    return _best(list(points))


def _later(
    results: Sequence[Asked], costs: Sequence[float], thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each row that reaches the first of these tiers ends right, and its cost from there."""
    right, cost = results[-1].right, np.full(len(results[-1].right), costs[-1])
    for tier, own, least in reversed(list(zip(results, costs, thresholds, strict=False))):
        assert tier.sure is not None
        stays = tier.sure >= least
        right = np.where(stays, tier.right, right)
        cost = own + np.where(stays, 0.0, cost)
    return right, cost


def _order(tier: Asked) -> np.ndarray:
    assert tier.sure is not None
    return np.argsort(-tier.sure, kind="stable")


def _cuts(tier: Asked) -> tuple[np.ndarray, list[float]]:
    """Return how many of a tier's rows can stay, surest first, and a threshold for each: equal ones stay together."""
    assert tier.sure is not None
    sure = tier.sure[_order(tier)]
    inner = np.flatnonzero(sure[:-1] > sure[1:]) + 1
    none = [0] if sure[0] < 1 else []
    kept = np.array([*none, *inner.tolist(), len(sure)])
    thresholds = [between(float(sure[at]), float(sure[at - 1])) for at in inner]
    return kept, [*(1.0 for _ in none), *thresholds, 0.0]


def between(low: float, high: float) -> float:
    """Return the shortest decimal number between two others, so that rounding elsewhere decides nothing.

    >>> between(0.8612, 0.8741)
    0.87
    """
    middle = (low + high) / 2
    short = (round(middle, digits) for digits in range(1, 16))
    return next((each for each in short if low < each < high), middle if middle > low else high)


def _sums(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(values)])


def _thinned(values: list[float], most: int) -> list[float]:
    places = np.unique(np.linspace(0, len(values) - 1, max(most, 2)).round().astype(int))
    return [values[at] for at in places.tolist()]
