"""Whether enough members agree, and what is best where time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import fsum
from typing import Any

import numpy as np

from stretto.errors import DeadlineExceeded, InputError, StrettoError
from stretto.nodes import UNDECIDED
from stretto_composers._heard import Heard, OnError
from stretto_composers._majority import coded, of_columns, whole
from stretto_composers._ties import Tie
from stretto_composers._weights import Weights


class NoQuorum(Exception):
    """Too few members agree."""


@dataclass(frozen=True)
class Agreement:
    """Decides for the label with `k` votes; where a `timer` has arrived or all have, for the one with most."""

    k: float
    weights: Weights
    tie: Tie
    names: tuple[str, ...] = ()
    on_error: OnError = "raise"
    report: bool = False
    timer: str = ""
    seconds: float = 0.0

    def by(self, timer: str, seconds: float) -> Agreement:
        """Return the same, with a member that arrives when time is up."""
        return replace(self, timer=timer, seconds=seconds)

    def __call__(self, arrived: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Return the answer, or `UNDECIDED` while there is something to wait for."""
        heard = Heard.of(arrived, self.names, self.on_error, "quorum")
        heard.labels()
        everyone = self.names or tuple(arrived)
        weigh = dict(zip(everyone, self.weights.of(everyone), strict=True))
        given: dict[Any, list[float]] = {}
        for name, label in heard.said.items():
            given.setdefault(label, []).append(weigh[name])
        votes = {label: fsum(weights) for label, weights in given.items()}
        most = max(votes.values(), default=0.0)
        slack = 0.0 if whole(weigh) else 1e-9 * self.k
        missing = [name for name in waiting if name != self.timer]
        # One that failed, as any step may, says nothing of the time.
        over = self.timer in arrived and not isinstance(arrived[self.timer], StrettoError)
        best = [label for label, count in votes.items() if count == most]
        if most >= self.k - slack or (best and self.timer and (over or not missing)):
            winner = best[0] if len(best) == 1 else self.tie.pick(best, heard.said)
            return self._reported(winner, heard, weigh) if self.report else winner
        if missing and not over:
            return UNDECIDED
        raise self._why(heard, missing)

    def _reported(self, winner: Any, heard: Heard, weigh: dict[str, float]) -> dict[str, Any]:
        agree = [name for name, label in heard.said.items() if label == winner]
        everyone = self.names or tuple(heard.said)
        failed = [name for name in everyone if name in heard.failed or name in heard.omitted]
        return {
            "answer": winner,
            "share": fsum(weigh[name] for name in agree) / (fsum(weigh[name] for name in heard.said) or 1.0),
            "agree": agree,
            "differ": [name for name in heard.said if name not in agree],
            "failed": failed,
            "missing": [name for name in everyone if name not in heard.said and name not in failed],
        }

    def _why(self, heard: Heard, missing: list[str]) -> Exception:
        """Return the failure of a row without an answer: a refused request stays refused."""
        refused = [error for error in heard.failed.values() if isinstance(error, InputError)]
        if refused:
            return refused[0]
        if missing:
            return DeadlineExceeded(
                f"quorum: no member had answered by {self.seconds:g} s; out were {', '.join(missing)}"
            )
        if not heard.said:
            return heard.error(self.names)
        said = [f"{name} said {label!r}" for name, label in heard.said.items()]
        said += [f"{name} failed: {error}" for name, error in {**heard.failed, **heard.omitted}.items()]
        return NoQuorum(f"it takes {self.k:g} that agree; {', '.join(said)}")

    def many(self, arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> tuple[Any, Any] | None:
        """Return the answers of many rows, and which of them are decided; None where a row's own look is needed."""
        said = {name: arrived[name] for name in self.names if name in arrived}
        weigh = dict(zip(self.names, self.weights.of(self.names), strict=True))
        failed = len(said) + len(waiting) < len(self.names)
        found = (
            None
            if failed or self.report or self.timer or not whole(weigh)
            else coded(list(said.values()), self.tie, None)
        )
        if found is None:
            return None
        labels, codes = found
        rows = np.arange(codes.shape[1])
        votes = np.zeros((len(rows), len(labels)))
        for name, code in zip(said, codes, strict=True):
            votes[rows, code] += weigh[name]
        best = votes.argmax(axis=1)
        return labels[best], votes[rows, best] >= self.k


@dataclass(frozen=True)
class OfRows:
    """Decides for each row of a fan-out's columns."""

    until: Agreement

    def __call__(self, column: Any) -> Any:
        """Return the answer of each row, and name the rows that have none."""
        return of_columns(column, self.until)


class Timer:
    """Arrives after so many seconds, for all rows of a column at once."""

    features = ()  # it reads no feature of the request: models go on refusing those that nobody knows

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def __call__(self, column: Any) -> list[None]:
        """Return nothing for each row."""
        await asyncio.sleep(self.seconds)
        size = len(next(iter(column.values()))) if isinstance(column, dict) else len(column)
        return [None] * size
