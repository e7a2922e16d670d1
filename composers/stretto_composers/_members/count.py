"""Counting votes: who leads, and whether that is certain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SLACK = 1e-9
"""The fraction of all votes that a lead must be ahead by to be certain, where sums of weights are rounded."""


@dataclass(frozen=True, slots=True)
class Count:
    """The votes for each label, of one row or of many.

    For one row `labels` and `votes` are lists; for many they are arrays of shape (n_labels,) and (n_labels, n_rows).
    Where labels are `ordered`, of those with equal votes the first wins. `unseen` is the votes of labels that are not
    among these: 0 where there may be one. Sums of votes are rounded by at most the fraction `rounding` of all votes,
    one vote is at most `largest`, and `votes` are the votes divided by `scale`.

    >>> count = Count(["low", "high"], [2, 1])
    >>> count.labels[count.best], count.certain(1, every=4), count.certain(2, every=5)
    ('low', True, False)
    """

    labels: Any
    votes: Any
    ordered: bool = True
    unseen: float = -np.inf
    rounding: float = 0.0
    largest: float = 1.0
    scale: float = 1.0

    @property
    def best(self) -> Any:
        """The place of the label with most votes, the first of equal ones; for many rows an array of places."""
        return self.votes.argmax(axis=0) if isinstance(self.votes, np.ndarray) else self.votes.index(max(self.votes))

    @property
    def most(self) -> Any:
        """The votes of that label."""
        return self.votes.max(axis=0) if isinstance(self.votes, np.ndarray) else max(self.votes)

    @property
    def tied(self) -> Any:
        """Which labels have as many, in order; for many rows an array that tells whether there are several."""
        if isinstance(self.votes, np.ndarray):
            return (self.votes == self.most).sum(axis=0) > 1
        return [label for label, votes in zip(self.labels, self.votes, strict=True) if votes == self.most]

    def certain(self, outstanding: float, *, every: float, early: bool = True) -> Any:
        """Return whether the lead wins whatever the outstanding ones of `every` vote are for; of many rows an array.

        While members are out it must be ahead by twice what rounding does: so it still is once they are in.
        """
        votes, unseen = self.votes, self.unseen
        if self.ordered and not self.rounding:
            # Whole votes differ by one or not at all: a fraction of one for the place in the order settles ties.
            votes = [each + 0.4 - 0.4 * at / len(self.labels) for at, each in enumerate(votes)]
            unseen += 0.5
        larger, smaller = (np.maximum, np.minimum) if isinstance(self.votes, np.ndarray) else (max, min)
        # Label by label: NumPy is slow over short rows.
        most, second = votes[0], unseen
        for each in votes[1:]:
            second = larger(second, smaller(most, each))
            most = larger(most, each)
        slack = self.rounding * (1 + early) * every
        return most > second + (outstanding * self.largest + slack) / self.scale
