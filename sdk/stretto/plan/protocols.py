"""What authors of composers implement: `until`s and policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias


class Undecided:
    """What an `until` returns while a row is open: the one instance is `UNDECIDED`."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "UNDECIDED"

    def __repr__(self) -> str:
        return "UNDECIDED"


UNDECIDED: Final = Undecided()


DecideRow: TypeAlias = Callable[[Mapping[str, Any], tuple[str, ...]], Any]
"""Decides one row, as `Until.one` does."""

DecideMany: TypeAlias = Callable[[Mapping[str, Any], tuple[str, ...]], "tuple[Any, Any] | None"]
"""Decides many rows together: returns the answers and which rows are decided, or None where it can't.

The first argument maps the members that have succeeded, in the order of arrival, to their answers to some rows, in the
form a vectorised step takes: a list or an array with a row each, or a dict of these. In all these rows the same members
have failed: a member that is neither there nor in the second argument, those still out, has failed, or was cut off.

The answers are a list, an array or a dict of columns, with a row each; the second value is a boolean array. Rows left
undecided while nothing is out are decided by `one`, as are all rows where `many` raises or returns None, and rows in
which no member has succeeded. For each row it decides, the answer must be what `one` would return.
"""


class Until(Protocol):
    """Decides the rows of a `Join` from what has arrived; a plain function is one without `many`.

    An until that also has a method ``many(columns, waiting)``, a `DecideMany`, decides whole batches with it. What is
    counted or proven belongs in one place that both use: `one` is `many` of one row, where that is no slower.
    """

    def one(self, arrived: Mapping[str, Any], waiting: tuple[str, ...], /) -> Any:
        """Return a row's answer, or `UNDECIDED`; what it raises is the row's failure.

        `arrived` maps a member's name to its value or its error, in the order of arrival; `waiting` are the members
        still out. A member in neither was cut off, since the node's `seconds` are over.
        """
        ...


class Body(Protocol):
    """The body of an `Around`, as its policy sees it: rows, and the means to run them."""

    @property
    def rows(self) -> Sequence[Any]:
        """The rows' values; a tuple of values for each row, where the node has several inputs."""
        ...

    @property
    def budget(self) -> float | None:
        """The seconds left for the request, or None where there is no deadline."""
        ...

    async def run(self, rows: Sequence[int] | None = None, /) -> Sequence[Any]:
        """Return the outcomes, values or errors, of the rows at these positions, or of all."""
        ...


class Policy(Protocol):
    """Decides when, how often and whether the body of an `Around` runs; never what it means.

    It returns an outcome, a value or a `StrettoError`, for each of the body's rows, and waits no longer than the body's
    budget. Its state between calls belongs to this process: it pickles without. Its `repr`, if it has one of its own,
    is printed in the plan; its attribute `attempts`, if it has one, is a pair: the fewest and the most times that it
    runs the body for a row, 1 and 1 by default.
    """

    async def __call__(self, body: Body, /) -> Sequence[Any]:
        """Return an outcome for each row of the body."""
        ...
