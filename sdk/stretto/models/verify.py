"""The rows on which an engine must agree with an estimator, and the comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np

from stretto.models.estimator import parts

DRAWN: Final = 256
EDGES: Final = 600
SCALES: Final = (0.1, 1.0, 10.0, 100.0)

Splits: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Features that trees split, by position, and the thresholds."""

NO_SPLITS: Final[Splits] = (np.empty(0, dtype=int), np.empty(0))


def probes(estimator: Any, rows: np.ndarray | None = None, splits: Splits = NO_SPLITS) -> np.ndarray:
    """Return the rows to verify on: `rows`, or drawn ones where there are none, and some at the `splits`.

    All are finite: others go to the estimator itself, whatever computes these.

    Drawn rows follow the data that the estimator was fitted on, as far as its attributes show it (means, support
    vectors, thresholds); otherwise they are normal around 0 at four scales.
    """
    features, thresholds = splits
    # A tree that splits off missing values alone has an infinite threshold there.
    splits = features[np.isfinite(thresholds)], thresholds[np.isfinite(thresholds)]
    table = _finite(np.empty((0, 0)) if rows is None else np.asarray(rows, dtype=np.float64))
    table = table if len(table) else _drawn(estimator, splits)
    return _finite(np.concatenate([table, *_edges(splits, table)]))


def _finite(table: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return table[np.isfinite(table.astype(np.float32)).all(axis=1)]


def _drawn(estimator: Any, splits: Splits) -> np.ndarray:
    count = int(estimator.n_features_in_)
    center, spread = _location(estimator, count, splits)
    noise = np.random.default_rng(0).standard_normal((DRAWN, count))
    scales = np.array([1.0] if np.any(spread != 1.0) else SCALES)
    return center + noise * spread * scales[np.arange(DRAWN) % len(scales)][:, None]


def _location(estimator: Any, count: int, splits: Splits) -> tuple[np.ndarray, np.ndarray]:
    """Return the center and the spread of the data that the estimator was fitted on; 0 and 1 where it is unknown."""
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
    features, thresholds = splits
    if not len(features):
        return np.zeros(count), np.ones(count)
    low, high = np.zeros(count), np.zeros(count)
    for feature in np.unique(features):
        own = thresholds[features == feature]
        low[feature], high[feature] = own.min(), own.max()
    return (low + high) / 2, (high - low) / 2 + 0.1


def tree_splits(estimator: Any) -> Splits:
    """Return the splits of scikit-learn's trees on the estimator's own input."""
    pairs = [NO_SPLITS]
    count = getattr(estimator, "n_features_in_", None)
    # The input of trees behind other steps of a pipeline is not the estimator's.
    for part in [] if getattr(estimator, "steps", None) else parts(estimator):
        tree = getattr(part, "tree_", None)
        if tree is not None and part.n_features_in_ == count:
            inner = tree.feature >= 0
            pairs.append((tree.feature[inner], tree.threshold[inner]))
    for stage in getattr(estimator, "_predictors", ()):  # of histogram gradient boosting
        for each in stage:
            nodes = each.nodes[each.nodes["is_leaf"] == 0]
            pairs.append((nodes["feature_idx"].astype(int), nodes["num_threshold"]))
    features, thresholds = zip(*pairs, strict=True)
    return np.concatenate(features), np.concatenate(thresholds)


def _edges(splits: Splits, table: np.ndarray) -> Iterator[np.ndarray]:
    """Return rows of the table with one number moved to a threshold, and to its neighbours in float32."""
    features, thresholds = splits
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(features))[: EDGES // 3]
    single = thresholds[chosen].astype(np.float32)
    neighbours = (np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf)))
    for values in (thresholds[chosen], *neighbours) if len(chosen) else ():
        rows = table[rng.integers(len(table), size=len(chosen))].copy()
        rows[np.arange(len(rows)), features[chosen]] = values
        yield rows


def differing(table: np.ndarray, expected: np.ndarray, answers: Any, tolerance: float) -> list[str]:
    """Return the rows on which answers differ, a line for each: the row, the answer, and the estimator's."""
    answers = np.asarray(answers)
    if answers.shape != expected.shape:
        return [f"all rows: an array of shape {answers.shape}, and not {expected.shape}"]
    if expected.dtype.kind == "f":
        largest = max(1.0, float(np.abs(expected).max(initial=0.0)))
        differs = ~(np.abs(answers - expected) <= tolerance * largest)
    else:
        differs = answers != expected
    rows = np.flatnonzero(differs.reshape(len(table), -1).any(axis=1)).tolist()
    return [f"{table[i].tolist()}: {_plain(answers[i])!r}, and not {_plain(expected[i])!r}" for i in rows]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
