"""The rows on which a graph must answer as its estimator does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from stretto.models.method import _parts as parts

TOLERANCES: Final = {"double": 1e-6, "float32": 1e-5}
"""How far numbers may differ, as a share of the largest one, or of 1 where that is larger."""

DRAWN: Final = 256
EDGES: Final = 600


def probes(method: Any, given: np.ndarray | None) -> np.ndarray:
    """Return the rows to verify on: those given, or drawn ones where there are none, and some at the trees' thresholds.

    Drawn rows lie where the estimator's own numbers say that data lay (means, support vectors, thresholds), or
    normally around 0 at four scales.
    """
    estimator = method.estimator
    table = _drawn(estimator) if given is None or not len(given) else np.asarray(given, dtype=np.float64)
    edges = list(_edges(estimator, table))
    return np.concatenate([table, *edges]) if edges else table


def _drawn(estimator: Any) -> np.ndarray:
    rng = np.random.default_rng(0)
    count = int(estimator.n_features_in_)
    center, spread = _place(estimator, count)
    noise = rng.standard_normal((DRAWN, count))
    scales = np.array([1.0] if np.any(spread != 1.0) else [0.1, 1.0, 10.0, 100.0])
    return center + noise * spread * scales[np.arange(DRAWN) % len(scales)][:, None]


def _place(estimator: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where data lay that the estimator was fitted on, and how far it spread, as far as its numbers tell."""
    for part in parts(estimator):
        if getattr(part, "n_features_in_", None) != count:
            continue
        for name in ("support_vectors_", "_fit_X", "cluster_centers_", "theta_", "means_"):
            rows = getattr(part, name, None)
            if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == count and len(rows) > 1:
                return rows.mean(axis=0), rows.std(axis=0) + 1e-3
        mean, scale = getattr(part, "mean_", None), getattr(part, "scale_", None)
        if isinstance(mean, np.ndarray) and isinstance(scale, np.ndarray) and mean.shape == scale.shape == (count,):
            return mean, scale
    splits = list(_splits(estimator, count))
    if splits:
        features, thresholds = np.concatenate([a for a, _ in splits]), np.concatenate([b for _, b in splits])
        low, high = np.zeros(count), np.zeros(count)
        for feature in np.unique(features):
            own = thresholds[features == feature]
            low[feature], high[feature] = own.min(), own.max()
        return (low + high) / 2, (high - low) / 2 + 0.1
    return np.zeros(count), np.ones(count)


def _splits(estimator: Any, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return the features that trees on the model's own input split, and at which thresholds."""
    if getattr(estimator, "steps", None):
        return  # what trees see behind other steps is not the input
    for part in parts(estimator):
        tree = getattr(part, "tree_", None)
        if tree is not None and part.n_features_in_ == count:
            inner = tree.feature >= 0
            yield tree.feature[inner], tree.threshold[inner]
    for stage in getattr(estimator, "_predictors", ()):
        for each in stage:
            nodes = each.nodes[each.nodes["is_leaf"] == 0]
            yield nodes["feature_idx"].astype(int), nodes["num_threshold"]


def _edges(estimator: Any, table: np.ndarray) -> Iterator[np.ndarray]:
    """Return rows of the table with one number moved to a threshold, and to its neighbours in float32."""
    splits = list(_splits(estimator, table.shape[1]))
    if not splits:
        return
    features, thresholds = np.concatenate([a for a, _ in splits]), np.concatenate([b for _, b in splits])
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(features))[: EDGES // 3]
    single = thresholds[chosen].astype(np.float32)
    neighbours = (np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf)))
    for values in (thresholds[chosen], *neighbours):
        rows = table[rng.integers(len(table), size=len(chosen))].copy()
        rows[np.arange(len(rows)), features[chosen]] = values
        yield rows


def differing(table: np.ndarray, expected: np.ndarray, answers: Any, tolerance: float) -> list[str]:
    """Return the rows on which the answers differ, a line each: the row, the graph's answer, and the estimator's."""
    answers = np.asarray(answers)
    if answers.shape != expected.shape:
        return [f"all rows: an array of shape {answers.shape}, and not {expected.shape}"]
    if expected.dtype.kind == "f":
        largest = max(1.0, float(np.abs(expected).max(initial=0.0)))
        wrong = ~(np.abs(answers - expected) <= tolerance * largest)
    else:
        wrong = answers != expected
    rows = np.flatnonzero(wrong.reshape(len(table), -1).any(axis=1)).tolist()
    return [f"{table[i].tolist()}: {_plain(answers[i])!r}, and not {_plain(expected[i])!r}" for i in rows]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
