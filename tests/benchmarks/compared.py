"""Figures of two contenders, compared round by round, and what they must reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.rounds import Figures, Spread

OURS = "Stretto"


@dataclass(frozen=True, slots=True)
class Relation:
    """Which figure is compared, and how: `of` takes Stretto's and the baseline's of one round."""

    figure: str
    unit: str
    of: Callable[[float, float], float]
    result_unit: str = "x"


RATE = Relation("per_second", "/s", lambda ours, theirs: ours / theirs)
LATENCY = Relation("p50_ms", "ms", lambda ours, theirs: theirs / ours)
EXTRA = Relation("p50_ms", "ms", lambda ours, theirs: 1e3 * (ours - theirs), "µs more")
SPEED = Relation("seconds", "s", lambda ours, theirs: theirs / ours)
COST = Relation("seconds", "s", lambda ours, theirs: ours / theirs)


@dataclass(frozen=True, slots=True)
class Goal:
    """What the median must be at least, or at most."""

    bound: float
    at_least: bool = True

    def reached(self, median: float) -> bool:
        """Return whether it is reached."""
        return median >= self.bound if self.at_least else median <= self.bound


def at_least(bound: float) -> Goal:
    """Return the goal that a median is so much or more."""
    return Goal(bound)


def at_most(bound: float) -> Goal:
    """Return the goal that a median is so much or less."""
    return Goal(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Compared:
    """A line of the result: what both gave, and how Stretto's relates to the baseline's, round by round.

    Where there is no baseline the figure itself is what the goal is about.
    """

    row: str
    what: str
    callers: int | None
    unit: str
    ours: Spread
    baseline: str
    theirs: Spread | None
    result: Spread
    result_unit: str
    goal: Goal | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached, or None where there is none."""
        return None if self.goal is None else self.goal.reached(self.result.median)


@dataclass(frozen=True, slots=True)
class Line:
    """Where a comparison stands: the row of the table of goals, what is measured, and by how many callers."""

    row: str
    what: str
    callers: int | None = None

    def compare(
        self,
        figures: Mapping[str, Sequence[Figures]],
        relation: Relation,
        baseline: str,
        goal: Goal | None = None,
        *,
        ours: str = OURS,
    ) -> Compared:
        """Compare two contenders' figures of each round."""
        mine = [each[relation.figure] for each in figures[ours]]
        theirs = [each[relation.figure] for each in figures[baseline]]
        result = [relation.of(a, b) for a, b in zip(mine, theirs, strict=True)]
        return Compared(
            self.row,
            self.what,
            self.callers,
            relation.unit,
            Spread.of(mine),
            baseline,
            Spread.of(theirs),
            Spread.of(result),
            relation.result_unit,
            goal,
        )

    def alone(self, rounds: Sequence[float], unit: str, goal: Goal | None = None) -> Compared:
        """Return a figure that no baseline has."""
        spread = Spread.of(rounds)
        return Compared(self.row, self.what, self.callers, unit, spread, "", None, spread, unit, goal)
