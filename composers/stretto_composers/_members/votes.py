"""Counting the labels of members."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from stretto_composers._members.arrived import Arrived
from stretto_composers._members.count import SLACK, Count
from stretto_composers._members.election import Election
from stretto_composers._members.ties import InOrder, Tie, settled
from stretto_composers._members.weights import Weights, exact


class Labels(Election):
    """Counts labels, each member's as many times as it weighs.

    `classes` are all that members can answer, where that is known.
    """

    def __init__(
        self,
        weights: Weights,
        tie: Tie,
        names: tuple[str, ...] = (),
        *,
        classes: tuple[Any, ...] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(weights, tie, names, **options)
        self.classes = classes

    def plurality(self, names: tuple[str, ...]) -> Mapping[str, float] | None:
        """Return the weight of each member's label, if of equal labels the one that sorts first wins."""
        try:
            plain = settled(self.tie) and list(self.tie.order) == sorted(self.tie.order)
        except TypeError:  # labels that can't be compared
            return None
        return self.weights.by(names) if plain else None

    def count(self, arrived: Arrived, weigh: Mapping[str, float]) -> Count | None:
        """Return the votes of one row."""
        count = self.tally(arrived, weigh)
        return count if count is not None and count.most else None

    def tally(self, arrived: Arrived, weigh: Mapping[str, float]) -> Count | None:
        """Return the votes for the labels of one row, None where there are no labels."""
        votes: dict[Any, float] = {}
        for name, label in list(arrived.answers.items()):
            if isinstance(label, Hashable):
                votes[label] = votes.get(label, 0.0) + weigh[name]
            else:
                arrived.fail(name, TypeError(f"{name!r} answers {label!r}, and votes are counted by labels"))
        if not votes:
            return None
        votes = votes if self.classes is None else {**dict.fromkeys(self.classes, 0.0), **votes}
        try:
            labels, ordered = self.tie.ranked(list(votes)), settled(self.tie)
        except TypeError:  # labels that can't be compared
            labels, ordered = list(votes), False
        return self._of(labels, [votes[label] for label in labels], ordered, weigh)

    def count_many(self, columns: Mapping[str, Any], weigh: Mapping[str, float]) -> Count | None:
        """Return the votes of many rows; None where members answer labels of several kinds."""
        coding = coded(list(columns.values()), self.tie, self.classes)
        if coding is None:
            return None
        labels, codes = coding
        rows = np.arange(codes.shape[1])
        votes = np.zeros((len(labels), len(rows)))
        for name, code in zip(columns, codes, strict=True):
            votes[code, rows] += weigh[name]
        return self._of(labels, votes, settled(self.tie), weigh)

    def _of(self, labels: Any, votes: Any, ordered: bool, weigh: Mapping[str, float]) -> Count:
        unseen = 0.0 if self.classes is None else -np.inf
        return Count(labels, votes, ordered, unseen, rounding=0.0 if exact(weigh) else SLACK)


def coded(columns: list[Any], tie: InOrder, classes: tuple[Any, ...] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the labels, each in front of those it wins against, and for each member the places of its labels.

    All of `classes` are among the labels. None for labels of several kinds, which rows must see.
    """
    kinds = {each.dtype.kind if isinstance(each, np.ndarray) and each.ndim == 1 else "" for each in columns}
    if len(kinds) != 1 or kinds - set("iuUbO"):
        return None
    if kinds == {"O"}:
        answers = np.concatenate(columns).tolist()
        # Sorting objects is slow: only the distinct ones are sorted.
        distinct = list(set(answers)) if set(map(type, answers)) == {str} else []
        codes, kind = _places(answers, distinct), np.dtype(object)
    else:
        unique, codes = np.unique(np.stack(columns), return_inverse=True)
        distinct, kind = unique.tolist(), None if kinds == {"U"} else unique.dtype
    if not distinct or (classes is not None and not set(classes) >= set(distinct)):
        return None
    labels = tie.ranked(distinct if classes is None else classes)
    place = {label: i for i, label in enumerate(labels)}
    codes = np.array([place[label] for label in distinct], dtype=np.intp)[codes.reshape(len(columns), -1)]
    return np.array(labels, dtype=kind), codes


def _places(answers: list[Any], distinct: list[Any]) -> np.ndarray:
    place = {label: i for i, label in enumerate(distinct)}
    count = len(answers)
    return np.fromiter(map(place.__getitem__, answers), np.intp, count) if place else np.empty(0, np.intp)
