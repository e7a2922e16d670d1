"""What every vote does: it counts what has arrived, and decides as soon as the rest can't change it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stretto.nodes import UNDECIDED
from stretto_composers._members.arrived import Arrived, OnError
from stretto_composers._members.count import Count
from stretto_composers._members.ties import Tie, settled
from stretto_composers._members.weights import Weights


class Election(ABC):
    """Decides a vote from the answers of a fan-out's members, all at once or as they arrive.

    With the `names` of members it is the `until` of a `Join`; without, the function of a vectorised step. The order of
    arrival does not matter: sums are taken in the order written, and a label is certain early only if it would win in
    the end.
    """

    composer = "vote"

    def __init__(
        self,
        weights: Weights,
        tie: Tie,
        names: tuple[str, ...] = (),
        *,
        on_error: OnError = "raise",
        early_stop: bool = True,
    ) -> None:
        self.weights, self.tie, self.names = weights, tie, names
        self.on_error: OnError = on_error
        self.early_stop = early_stop
        self._weigh = weights.by(names) if names else {}

    @abstractmethod
    def count(self, arrived: Arrived, weigh: Mapping[str, float]) -> Count | None:
        """Return the votes of one row, None if there are none; an answer that can't be counted becomes a failure."""

    @abstractmethod
    def count_many(self, columns: Mapping[str, Any], weigh: Mapping[str, float]) -> Count | None:
        """Return the votes of many rows; None where each must be counted by itself."""

    def favourites(self, arrived: Arrived, labels: Sequence[Any]) -> Mapping[str, Any]:
        """Return which of these labels, which tie, each member is for."""
        return arrived.answers

    def one(self, outcomes: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Return the winner of one row, or `UNDECIDED` while the members still out could change it."""
        out = sum(self._weigh[name] for name in waiting)
        if waiting and (not self.early_stop or sum(self._weigh[name] for name in outcomes) < out):
            return UNDECIDED
        arrived = Arrived.of(outcomes, self.names, self.on_error, self.composer)
        weigh = self._weigh or self.weights.by(list(outcomes))
        count = self.count(arrived, weigh)
        if count is not None:
            if not waiting and not arrived.failed:
                return self.winner(count, arrived)
            out += sum(weigh[name] for name in arrived.failed)
            if count.certain(out, every=sum(weigh.values()), early=bool(waiting)):
                return count.labels[count.best]
        if waiting:
            return UNDECIDED
        raise arrived.error(self.names)

    def winner(self, count: Count, arrived: Arrived) -> Any:
        """Return the label with most votes of one row, all of which are in."""
        tied = count.tied
        return tied[0] if len(tied) == 1 or count.ordered else self.tie.pick(tied, self.favourites(arrived, tied))

    def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...] = ()) -> tuple[Any, Any] | None:
        """Return the winners of many rows, and which of them are decided; None where each must be seen by itself."""
        columns = {name: columns[name] for name in self.names or columns if name in columns}
        if not columns or len(columns) + len(waiting) < len(self.names):
            return None  # a member has failed
        weigh = self._weigh or self.weights.by(list(columns))
        out = sum(weigh[name] for name in waiting)
        if waiting and (not self.early_stop or sum(weigh[name] for name in columns) < out):
            size = _size(columns)
            return np.zeros(size), np.zeros(size, dtype=bool)
        count = self.count_many(columns, weigh)
        if count is None:
            return None
        if waiting:
            return count.labels[count.best], count.certain(out, every=sum(weigh.values()))
        return count.labels[count.best], np.ones(len(count.best), dtype=bool) if settled(self.tie) else ~count.tied

    def __call__(self, columns: Any) -> Any:
        """Return the winners of a fan-out's columns; None where each row must be seen by itself."""
        decision = self.many(columns) if isinstance(columns, dict) else None
        return decision[0] if decision is not None and decision[1].all() else None


def _size(column: Any) -> int:
    return _size(next(iter(column.values()))) if isinstance(column, dict) else len(column)
