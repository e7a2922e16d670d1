"""Adding up probabilities, all at once or as they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from stretto.nodes import UNDECIDED
from stretto_composers._heard import Heard, OnError
from stretto_composers._majority import SLACK, of_columns, undecided
from stretto_composers._ties import Tie, settled
from stretto_composers._weights import Weights

ROUNDING = 1e-6
"""How far probabilities may be outside of 0 to 1, as float32 leaves them."""


class Likeliest:
    """Adds up probabilities: of a dict of answers, or of those that have arrived while others are out.

    `columns` are the labels of a member's probabilities where it answers an array, and `classes` those of all; where
    they are not known, a member answers a dict of them. The sum is taken in the order written, as scikit-learn does.
    """

    def __init__(
        self,
        weights: Weights,
        tie: Tie,
        *,
        names: tuple[str, ...] = (),
        classes: tuple[Any, ...] | None = None,
        columns: Mapping[str, tuple[Any, ...]] | None = None,
        on_error: OnError = "raise",
        early_stop: bool = True,
    ) -> None:
        self.weights, self.tie, self.names = weights, tie, names
        self.labels = None if classes is None else tie.ranked(classes)
        self.columns = dict(columns or {})
        self.on_error: OnError = on_error
        self.early_stop = early_stop
        self._weigh = self.weigh(names) if names else None

    def weigh(self, names: Sequence[str]) -> dict[str, float]:
        """Return each member's weight."""
        return dict(zip(names, self.weights.of(names), strict=True))

    def __call__(self, arrived: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Return the winner, or `UNDECIDED` while those still out could change it."""
        heard = Heard.of(arrived, self.names, self.on_error, "vote")
        labels = self.labels or self._labels_in(heard)
        tables: dict[str, np.ndarray] = {}
        for name, said in heard.said.items():
            try:
                tables[name] = _checked(self._row(name, said, labels))
            except (TypeError, ValueError) as error:
                heard.failed[name] = error
        weigh = self._weigh or self.weigh([*arrived, *waiting])
        out = sum(weigh[name] for name in (*waiting, *heard.failed))
        if tables and any(weigh[name] for name in tables):
            means = self._means(tables, weigh)
            if not waiting and not heard.failed:
                return labels[int(self._winners(means, tables, labels)[0])]
            if (self.early_stop or not waiting) and self._certain(means, tables, weigh, out, bool(waiting))[0]:
                return labels[int(means.argmax())]
        if waiting:
            return UNDECIDED
        raise heard.error(self.names)

    def _labels_in(self, heard: Heard) -> list[Any]:
        """Return the labels of the first dict of probabilities there is."""
        first = next((said for said in heard.said.values() if isinstance(said, Mapping)), cast("dict[Any, Any]", {}))
        return self.tie.ranked(tuple(first))

    def _row(self, name: str, said: Any, labels: list[Any]) -> np.ndarray:
        """Return a member's probabilities as an array of shape (1, n_classes), in the order of the labels."""
        if isinstance(said, Mapping):
            by_label = cast("Mapping[Any, Any]", said)
            # A model's own keys are text, whatever its classes are.
            keys = labels if set(by_label) == set(labels) else list(map(str, labels))
            if len(by_label) != len(labels) or not by_label.keys() >= set(keys):
                raise ValueError(f"{name!r} gives probabilities of {list(by_label)}, and others of {labels}")
            return np.array([[by_label[key] for key in keys]])
        if name not in self.columns:
            raise TypeError(
                f"{name!r} answers {_short(said)}, and a soft vote needs a dict of label to probability: "
                "a model gives it with output='label_proba'"
            )
        return self._in_order(name, np.asarray(said).reshape(1, -1), labels)

    def _in_order(self, name: str, table: np.ndarray, labels: list[Any]) -> np.ndarray:
        own = self.columns[name]
        if table.ndim != 2 or table.shape[1] != len(own):
            raise ValueError(f"{name!r} gives probabilities of shape {table.shape[1:]}, and has {len(own)} classes")
        return table if list(own) == labels else table[:, [own.index(label) for label in labels]]

    def many(self, arrived: Mapping[str, Any], waiting: tuple[str, ...] = ()) -> tuple[Any, Any] | None:
        """Return the winners of many rows, and which of them are decided; None where a row's own look is needed."""
        said = {name: arrived[name] for name in (self.names or arrived) if name in arrived}
        if len(said) + len(waiting) < len(self.names):
            return None  # a member has failed
        weigh = self._weigh or self.weigh(list(said))
        out = sum(weigh[name] for name in waiting)
        if waiting and (not self.early_stop or sum(weigh[name] for name in said) <= out):
            return undecided(said)
        labels = self.labels or self._labels_of(said)
        try:
            tables = {name: _checked(self._table(name, column, labels)) for name, column in said.items()}
        except (TypeError, ValueError, KeyError):
            return None
        means = self._means(tables, weigh)
        if not waiting:
            return _array(labels)[self._winners(means, tables, labels)], np.ones(len(means), dtype=bool)
        return _array(labels)[means.argmax(axis=1)], self._certain(means, tables, weigh, out, True)

    def _labels_of(self, said: Mapping[str, Any]) -> list[Any]:
        first = next((column for column in said.values() if isinstance(column, dict)), cast("dict[Any, Any]", {}))
        return self.tie.ranked(tuple(first))

    def _table(self, name: str, column: Any, labels: list[Any]) -> np.ndarray:
        if isinstance(column, np.ndarray):
            return self._in_order(name, column, labels)
        columns = cast("dict[Any, Any]", column)
        keys = labels if set(columns) == set(labels) else list(map(str, labels))
        if len(columns) != len(labels) or not all(isinstance(columns[key], np.ndarray) for key in keys):
            raise TypeError(name)
        return np.column_stack([columns[key] for key in keys])

    def _means(self, tables: Mapping[str, np.ndarray], weigh: Mapping[str, float]) -> np.ndarray:
        counts = None if self.weights.even else [weigh[name] for name in tables]
        return np.average(np.asarray(list(tables.values())), axis=0, weights=counts)

    def _certain(
        self,
        means: np.ndarray,
        tables: Mapping[str, np.ndarray],
        weigh: Mapping[str, float],
        out: float,
        early: bool,
    ) -> np.ndarray:
        """Return which rows' leads win whatever those who weigh `out` between them say."""
        # What is still out adds to a rival, and takes from the lead, no more than its weight; and sums are rounded.
        most, second = _largest_two(means * sum(weigh[name] for name in tables))
        share = max(SLACK, 64 * float(np.finfo(means.dtype).eps))
        slack = share * (1 + early) * sum(weigh.values())
        return most > second + out * (1 + 2 * ROUNDING) + slack

    def _winners(self, means: np.ndarray, tables: Mapping[str, np.ndarray], labels: list[Any]) -> np.ndarray:
        """Return the winners' places; to a rule by members, each says which of the tied it finds likeliest."""
        best = means.argmax(axis=1)
        if settled(self.tie):
            return best
        most = means.max(axis=1, keepdims=True)
        for i in np.flatnonzero((means == most).sum(axis=1) > 1).tolist():
            tied = [int(at) for at in np.flatnonzero(means[i] == most[i])]
            said = {name: labels[max(tied, key=table[i].__getitem__)] for name, table in tables.items()}
            best[i] = labels.index(self.tie.pick([labels[at] for at in tied], said))
        return best


class OfColumns(Likeliest):
    """Adds up probabilities of a fan-out's columns, row by row where it must."""

    def __call__(self, arrived: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Return the winner of each row, and name the rows that have none."""
        return of_columns(arrived, super().__call__, self.many)


def _checked(table: np.ndarray) -> np.ndarray:
    """Return the probabilities if they are some: what adds more than its weight would make an early label a guess."""
    if table.dtype.kind not in "fiu":
        raise TypeError("probabilities are numbers")
    if table.size and not (table.min() >= -ROUNDING and table.max() <= 1 + ROUNDING):
        raise ValueError("probabilities are numbers from 0 to 1")
    return table


def _largest_two(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest and the second number of each row."""
    # Batch by column: numpy takes its time over short rows.
    most, second = table[:, 0], np.full(len(table), -np.inf)
    for column in table.T[1:]:
        second = np.maximum(second, np.minimum(most, column))
        most = np.maximum(most, column)
    return most, second


def _array(labels: list[Any]) -> np.ndarray:
    """Return the labels as an array that hands them back as they are."""
    return np.array([*labels, None], dtype=object)[:-1]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
