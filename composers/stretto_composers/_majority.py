"""Counting votes, all at once or as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stretto.errors import BadRows
from stretto.nodes import UNDECIDED
from stretto_composers._columns import rows_of, size_of
from stretto_composers._heard import Heard, OnError
from stretto_composers._ties import InOrder, Tie, settled
from stretto_composers._weights import Weights

SLACK = 1e-9
"""The share of all votes that a lead must be ahead by to be certain, where sums of weights are rounded.

While members are out it is twice that, so that a lead that was certain is so still once they are in.
"""


class Majority:
    """Counts votes: of a dict of answers, or of those that have arrived while others are out.

    `classes` are all that members can say, where that is known. Nothing depends on the order of arrival: sums are taken
    in the order written, and a label is certain early only if it would win in the end.
    """

    def __init__(
        self,
        weights: Weights,
        tie: Tie,
        *,
        names: tuple[str, ...] = (),
        classes: tuple[Any, ...] | None = None,
        on_error: OnError = "raise",
        early_stop: bool = True,
    ) -> None:
        self.weights, self.tie, self.names, self.classes = weights, tie, names, classes
        self.on_error: OnError = on_error
        self.early_stop = early_stop
        self._weigh = self.weigh(names) if names else None

    def weigh(self, names: Sequence[str]) -> dict[str, float]:
        """Return each member's weight."""
        return dict(zip(names, self.weights.of(names), strict=True))

    def plurality(self, names: tuple[str, ...]) -> Mapping[str, float] | None:
        """Return what each member's label weighs, if of equal labels the one that sorts first wins."""
        try:
            plain = settled(self.tie) and list(self.tie.order) == sorted(self.tie.order)
        except TypeError:  # labels that can't be compared
            return None
        return self.weigh(names) if plain else None

    def __call__(self, arrived: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Return the winner, or `UNDECIDED` while those still out could change it."""
        heard = Heard.of(arrived, self.names, self.on_error, "vote")
        heard.labels()
        weigh = self._weigh or self.weigh([*arrived, *waiting])
        votes: dict[Any, float] = {}
        for name, label in heard.said.items():
            votes[label] = votes.get(label, 0.0) + weigh[name]
        most = max(votes.values(), default=0.0)
        tied = [label for label, count in votes.items() if count == most]
        if most and not waiting and not heard.failed:
            return tied[0] if len(tied) == 1 else self.tie.pick(tied, heard.said)
        if most and (self.early_stop or not waiting):
            out = sum(weigh[name] for name in (*waiting, *heard.failed))
            lead = self._lead(tied)
            if lead is not None and self._certain(lead[0], votes, out, weigh, bool(waiting)):
                return lead[0]
        if waiting:
            return UNDECIDED
        raise heard.error(self.names)

    def _lead(self, tied: list[Any]) -> tuple[Any] | None:
        """Return the label ahead; None where equal ones are, and who wins then can't be told yet."""
        if len(tied) == 1:
            return (tied[0],)
        if not settled(self.tie):
            return None
        try:
            return (self.tie.pick(tied, {}),)
        except TypeError:  # labels that can't be compared
            return None

    def _certain(self, lead: Any, votes: dict[Any, float], out: float, weigh: dict[str, float], early: bool) -> bool:
        """Return whether the lead wins whatever those with `out` votes between them say."""
        rivals = votes if self.classes is None else {**dict.fromkeys(self.classes, 0.0), **votes}
        slack = 0.0 if whole(weigh) else SLACK * (1 + early) * sum(weigh.values())
        for label, count in rivals.items():
            gap = votes[lead] - count - out - slack
            if label == lead or gap > 0:
                continue
            if gap < 0 or slack or not settled(self.tie) or not self.tie.before(lead, label):
                return False
        # A label that nobody has said yet, and nobody knows: in a tie it could come first.
        return self.classes is not None or votes[lead] - out - slack > 0

    def many(self, arrived: Mapping[str, Any], waiting: tuple[str, ...] = ()) -> tuple[Any, Any] | None:
        """Return the winners of many rows, and which of them are decided; None where a row's own look is needed."""
        said = {name: arrived[name] for name in (self.names or arrived) if name in arrived}
        if len(said) + len(waiting) < len(self.names):
            return None  # a member has failed
        weigh = self._weigh or self.weigh(list(said))
        out = sum(weigh[name] for name in waiting)
        if waiting and (not self.early_stop or sum(weigh[name] for name in said) < out):
            return undecided(said)
        found = coded(list(said.values()), self.tie, self.classes)
        if found is None:
            return None
        labels, codes = found
        rows = np.arange(codes.shape[1])
        votes = np.zeros((len(rows), len(labels)))
        for name, code in zip(said, codes, strict=True):
            votes[rows, code] += weigh[name]
        best = votes.argmax(axis=1)
        if not waiting:
            self._settle(votes, best, labels, said)
            return labels[best], np.ones(len(rows), dtype=bool)
        return labels[best], self._decided(votes, best, out, weigh)

    def _settle(self, votes: np.ndarray, best: np.ndarray, labels: np.ndarray, said: Mapping[str, np.ndarray]) -> None:
        """Let the tie's rule have its say where it is more than an order."""
        if settled(self.tie):
            return
        most = votes.max(axis=1, keepdims=True)
        known = labels.tolist()
        for i in np.flatnonzero((votes == most).sum(axis=1) > 1).tolist():
            tied = [known[at] for at in np.flatnonzero(votes[i] == most[i]).tolist()]
            row = {name: column[i : i + 1].tolist()[0] for name, column in said.items()}
            best[i] = known.index(self.tie.pick(tied, row))

    def _decided(self, votes: np.ndarray, best: np.ndarray, out: float, weigh: dict[str, float]) -> np.ndarray:
        """Return which rows' leads win whatever those with `out` votes between them say."""
        rows = np.arange(len(votes))
        exact = whole(weigh)
        unseen = 0.0 if self.classes is None else -np.inf
        if exact and settled(self.tie):
            # Whole votes differ by one or not at all: a share of one for the place in the order settles ties alike.
            votes = votes + np.linspace(0.4, 0.0, votes.shape[1])
            unseen += 0.5
        most = votes[rows, best]
        votes = votes.copy()
        votes[rows, best] = -np.inf
        second = np.maximum(votes.max(axis=1), unseen)
        return most > second + out + (0.0 if exact else 2 * SLACK * sum(weigh.values()))


class OfColumns(Majority):
    """Counts votes of a fan-out's columns, row by row where it must."""

    def __call__(self, arrived: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Return the winner of each row, and name the rows that have none."""
        return of_columns(arrived, super().__call__, self.many)


def of_columns(
    arrived: Any, one: Callable[[Any], Any], many: Callable[[Any], tuple[Any, Any] | None] | None = None
) -> Any:
    """Return the answer of each row of a fan-out's columns: in one go by `many` if it can tell, else by `one` each.

    Raises:
        BadRows: some rows have none; it names every one of them.
    """
    if arrived == {}:
        raise ValueError("no branch of the fan-out has answered")
    found = many(arrived) if many is not None and isinstance(arrived, dict) else None
    if found is not None:
        return found[0]
    answers: list[Any] = []
    errors: dict[int, Exception] = {}
    for i, row in enumerate(rows_of(arrived)):
        try:
            answers.append(one(row))
        except Exception as error:
            errors[i] = error
    if errors:
        raise BadRows(errors)
    return answers


def undecided(said: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the answer of many rows none of which is decided."""
    size = size_of(dict(said))
    return np.zeros(size), np.zeros(size, dtype=bool)


def whole(weigh: Mapping[str, float]) -> bool:
    """Return whether sums of the weights are exact."""
    return all(weight.is_integer() and weight < 2**40 for weight in weigh.values())


def coded(columns: list[Any], tie: InOrder, classes: tuple[Any, ...] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the labels, each in front of those it wins against, and for each member the places of what it said.

    Those of `classes` that nobody said are among the labels. None for labels of several kinds, which rows must see.
    """
    kinds = {each.dtype.kind if isinstance(each, np.ndarray) and each.ndim == 1 else "" for each in columns}
    if len(kinds) != 1 or kinds - set("iuUbO"):
        return None
    if kinds == {"O"}:
        said = np.concatenate(columns).tolist()
        # Sorting objects is slow: only the few that differ are sorted.
        distinct = list(set(said)) if set(map(type, said)) == {str} else []
        codes, kind = _places(said, distinct), np.dtype(object)
    else:
        found, codes = np.unique(np.stack(columns), return_inverse=True)
        distinct, kind = found.tolist(), None if kinds == {"U"} else found.dtype
    if not distinct or (classes is not None and not set(classes) >= set(distinct)):
        return None
    labels = tie.ranked(distinct if classes is None else classes)
    place = {label: i for i, label in enumerate(labels)}
    codes = np.array([place[label] for label in distinct], dtype=np.intp)[codes.reshape(len(columns), -1)]
    return np.array(labels, dtype=kind), codes


def _places(said: list[Any], distinct: list[Any]) -> np.ndarray:
    place = {label: i for i, label in enumerate(distinct)}
    return np.fromiter(map(place.__getitem__, said), dtype=np.intp, count=len(said)) if place else np.empty(0, np.intp)
