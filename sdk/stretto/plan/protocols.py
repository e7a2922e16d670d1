"""What authors of composers implement: `until`s and policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable


class Undecided:
    """What an `until` gives while it cannot tell: the one instance is `UNDECIDED`."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "UNDECIDED"

    def __repr__(self) -> str:
        return "UNDECIDED"


UNDECIDED: Final = Undecided()


class Until(Protocol):
    """Decides a row of a `Join` from what has arrived.

    `arrived` maps a member's name to its value or its error, in the order of arrival; `waiting` are the members
    still out. It gives the answer, or `UNDECIDED`; what it raises is the row's failure.
    """

    def __call__(self, arrived: Mapping[str, Any], waiting: tuple[str, ...], /) -> Any:
        """Return a row's answer, or `UNDECIDED`."""
        ...


@runtime_checkable
class UntilMany(Protocol):
    """An `until` that decides many rows in one go, where members gave arrays and none has failed.

    `arrived` maps a member's name to its answers, an array with a row each. It gives an array of answers, and one that
    says which of the rows are decided; or None where it must see each row for itself.
    """

    def many(self, arrived: Mapping[str, Any], waiting: tuple[str, ...], /) -> tuple[Any, Any] | None:
        """Return the answers, and which rows are decided; None where each row must be seen alone."""
        ...


@runtime_checkable
class Plurality(Protocol):
    """An `until` that gives the label with the largest sum of weights, of several the one that sorts first.

    `plurality` gives the weight of each of the members named, by which a graph that computes them all counts; or None
    where the answer is found in another way.
    """

    def plurality(self, names: tuple[str, ...], /) -> Mapping[str, float] | None:
        """Return each member's weight, or None."""
        ...


class Body(Protocol):
    """What an `Around` holds, as its policy sees it: rows, and the means to have their outcomes."""

    @property
    def rows(self) -> Sequence[Any]:
        """The rows' values."""
        ...

    @property
    def budget(self) -> float | None:
        """The seconds left for the request, or None where there is no deadline."""
        ...

    async def run(self, rows: Sequence[int] | None = None, /) -> Sequence[Any]:
        """Return the outcomes, values or errors, of the rows at these positions, or of all. It may be cancelled."""
        ...


class Policy(Protocol):
    """Decides when, how often and whether the body of an `Around` runs; never what it means.

    It gives an outcome, a value or a `StrettoError`, for each of the body's rows, and waits no longer than the body's
    budget. What it remembers between calls is this process's own: it pickles without. Its `repr`, if it has one of its
    own, stands in the printed plan; its attribute `attempts`, if it has one, is a pair: the fewest and the most times
    that it runs the body for a row, which are 1 and 1 where it says nothing.
    """

    async def __call__(self, body: Body, /) -> Sequence[Any]:
        """Return an outcome for each row of the body."""
        ...
