"""Whether enough members agree, and what is best once time is up."""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum
from typing import Any

from stretto.errors import DeadlineExceeded, InputError
from stretto.nodes import UNDECIDED
from stretto_composers._members.arrived import Arrived
from stretto_composers._members.count import SLACK, Count
from stretto_composers._members.ties import Tie, settled
from stretto_composers._members.votes import Labels
from stretto_composers._members.weights import Weights


class NoQuorum(Exception):
    """Too few members agree."""


class Agreeing(Labels):
    """Decides for the label with `k` votes; with `by`, once all are in or the seconds are over, for that with most."""

    composer = "quorum"

    def __init__(
        self,
        weights: Weights,
        tie: Tie,
        names: tuple[str, ...] = (),
        *,
        k: float,
        report: bool = False,
        by: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(weights, tie, names, **options)
        self.k, self.report, self.by = k, report, by

    def one(self, outcomes: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Return the answer of one row, or `UNDECIDED` while there is something to wait for."""
        arrived = Arrived.of(outcomes, self.names, self.on_error, self.composer)
        everyone = self.names or tuple(outcomes)
        weigh = self._weigh or self.weights.by(everyone)
        count = self.tally(arrived, weigh)
        missing = [name for name in everyone if name not in outcomes]
        if count is not None and (self.reached(count) or (self.by is not None and not waiting)):
            winner = self.winner(count, arrived)
            return self._reported(winner, arrived, weigh) if self.report else winner
        if waiting:
            return UNDECIDED
        raise self._why(arrived, missing)

    def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...] = ()) -> tuple[Any, Any] | None:
        """Return the answers of many rows, and which are decided; None where each row must be seen by itself."""
        columns = {name: columns[name] for name in self.names or columns if name in columns}
        if self.report or not columns or len(columns) + len(waiting) < len(self.names):
            return None
        count = self.count_many(columns, self._weigh or self.weights.by(list(columns)))
        if count is None:
            return None
        decided = self.reached(count) if settled(self.tie) else self.reached(count) & ~count.tied
        return count.labels[count.best], decided

    def reached(self, count: Count) -> Any:
        """Return whether the label with most votes has enough; for many rows an array."""
        return count.most >= self.k * (1 - (SLACK if count.rounding else 0))

    def _reported(self, winner: Any, arrived: Arrived, weigh: Mapping[str, float]) -> dict[str, Any]:
        labels, everyone = arrived.answers, self.names or tuple(arrived.answers)
        agree = [name for name, label in labels.items() if label == winner]
        failed = [name for name in everyone if name in arrived.failed or name in arrived.omitted]
        return {
            "answer": winner,
            "share": fsum(weigh[name] for name in agree) / (fsum(weigh[name] for name in labels) or 1.0),
            "agree": agree,
            "differ": [name for name in labels if name not in agree],
            "failed": failed,
            "missing": [name for name in everyone if name not in labels and name not in failed],
        }

    def _why(self, arrived: Arrived, missing: list[str]) -> Exception:
        """Return the failure of a row without an answer: bad input stays bad input."""
        refused = [error for error in arrived.failed.values() if isinstance(error, InputError)]
        if refused:
            return refused[0]
        if missing:
            return DeadlineExceeded(f"quorum, without an answer of {', '.join(missing)}", self.by)
        if not arrived.answers:
            return arrived.error(self.names)
        answers = [f"{name} said {label!r}" for name, label in arrived.answers.items()]
        answers += [f"{name} failed: {error}" for name, error in {**arrived.failed, **arrived.omitted}.items()]
        return NoQuorum(f"it takes {self.k:g} that agree; {', '.join(answers)}")
