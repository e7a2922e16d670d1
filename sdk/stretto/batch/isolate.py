"""The row law: many rows at once mean what each row means alone, and a failing row fails no other.

A function over many rows is written as two plain functions. `many` takes the rows together and returns their values
together, and None, or raises, where it can't; `one` takes one row and returns its value, or raises what is wrong.

* A step is ``Step(fn=many, one=one, vectorized=True, ...)``; without `one` the rows are split until only failing ones
  are left.
* A reader or an encoder that is no step calls `each_row(rows, one, many)`.
* What has to be awaited (a replica, a request over HTTP) calls `isolate(size, ask, failed)`.

`tests/batch/test_row_law.py` finds every pair of functions in the packages and holds `many` equal to `one`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from stretto.batch.contain import contained
from stretto.errors import BadRows

Row = TypeVar("Row")
Rows = TypeVar("Rows", bound=Iterable[Any])
Answer = TypeVar("Answer")
Part: TypeAlias = tuple[Sequence[int], Answer | Exception]
"""The positions of some rows, and the answer to them or their error."""
Failures: TypeAlias = type[Exception] | tuple[type[Exception], ...]


class UnlikeError(Exception):
    """Raised by a function over many rows for rows that it takes, but not together: each of `groups` by itself.

    A column of integers is one of floats where one of its rows has a fraction, and no row may see its neighbours.
    """

    def __init__(self, kinds: Sequence[Any]) -> None:
        super().__init__("these rows are taken apart, by kind")
        groups: dict[Any, list[int]] = {}
        for at, kind in enumerate(kinds):
            groups.setdefault(kind, []).append(at)
        self.groups = list(groups.values())


class Outcomes(NamedTuple):
    """What `each_row` returns: `values` as `many` returned them, or a list of what `one` did; and `errors` by position.

    Where a row failed the list holds None.
    """

    values: Any
    errors: dict[int, Exception]

    def require(self) -> Any:
        """Return the values of all rows.

        Raises:
            BadRows: rows failed; it has the error of every one of them.
        """
        if self.errors:
            raise BadRows(self.errors)
        return self.values

    def as_list(self) -> list[Any]:
        """Return the values, a row each, with the errors in the places of the failed rows."""
        outcomes = list(self.values)
        for i, error in self.errors.items():
            outcomes[i] = error
        return outcomes


def each_row(rows: Rows, one: Callable[[Any], Any], many: Callable[[Rows], Any] | None = None) -> Outcomes:
    """Return the values of many rows, and the errors of those that failed.

    `many` is tried first. Where it raises or returns None, `one` is called for every row; rows that `many` named in a
    `BadRows` have failed already. `rows` is only iterated in that case: a `Batch` makes its rows into Python objects no
    sooner. An `UnlikeError` is raised on: the caller asks for each kind by itself.

    >>> each_row([1, 4], one=lambda x: 1 / x, many=lambda xs: [1 / x for x in xs])
    Outcomes(values=[1.0, 0.25], errors={})
    >>> each_row([1, 0, 4], one=lambda x: 1 / x, many=lambda xs: [1 / x for x in xs])
    Outcomes(values=[1.0, None, 0.25], errors={1: ZeroDivisionError('division by zero')})
    >>> each_row([1, 0], one=lambda x: 1 / x).as_list()
    [1.0, ZeroDivisionError('division by zero')]
    """
    named: dict[int, Exception] = {}
    if many is not None:
        try:
            together = many(rows)
        except BadRows as bad:
            named = bad.errors
        except UnlikeError:
            raise
        except BaseException as error:
            contained(error)  # which rows it was, and what is wrong with them, is for `one` to say
        else:
            if together is not None:
                return Outcomes(together, {})
    values: list[Any] = []
    errors: dict[int, Exception] = {}
    for row in rows:
        try:
            if named and len(values) in named:
                raise named[len(values)]
            values.append(one(row))
        except BaseException as error:
            errors[len(values)] = contained(error)
            values.append(None)
    try:
        return Outcomes(values, errors)
    finally:
        # The errors' tracebacks hold this frame: without a name for them in it, they need no garbage collector.
        del errors, named


async def isolate(
    size: int,
    ask: Callable[[Sequence[int]], Awaitable[Answer]],
    failed: Failures = Exception,
    *,
    parts: int = 2,
    first: Exception | None = None,
) -> list[Part[Answer]]:
    """Return the answers to the rows at the positions 0 to `size`, by parts: positions, and their answer or error.

    `ask` is awaited for the positions of all rows, unless that was done and raised `first`. Where it raises one of
    `failed`, they are split in `parts`, which are asked for one after the other, until single rows are left that fail:
    these have the error. Where it raises `BadRows`, the rows named have failed (by their place among the rows asked
    for), and the rest is asked for again. Where it raises `UnlikeError`, each of its groups is asked for. Any other
    exception is the caller's. Where a smaller part would do no better, as after a deadline, `ask` returns its error
    instead of raising it. Nothing suspends but `ask`.

    >>> import asyncio
    >>> async def ask(positions):
    ...     return [1 / [1, 0, 4, 2][i] for i in positions]
    >>> asyncio.run(isolate(4, ask))
    [(range(0, 1), [1.0]), (range(1, 2), ZeroDivisionError('division by zero')), (range(2, 4), [0.25, 0.5])]
    """
    answers: list[Part[Answer]] = []
    left = [range(size)] if first is None else _split(range(size), first, parts, answers)
    try:
        while left:
            rows = left.pop()
            try:
                answers.append((rows, await ask(rows)))
            except failed as error:
                left += _split(rows, error, parts, answers)
        return answers
    finally:
        del answers, first  # for the same reason as in `each_row`


def _split(rows: Sequence[int], error: Exception, parts: int, answers: list[Part[Any]]) -> list[Sequence[int]]:
    """Add the rows that have failed with `error` to the answers, and return what is left to ask for, last first."""
    if isinstance(error, BadRows):
        failed = {i: each for i, each in error.errors.items() if 0 <= i < len(rows)}
        if failed:
            answers += [([rows[i]], each) for i, each in failed.items()]
            rest = [row for i, row in enumerate(rows) if i not in failed]
            return [rest] if rest else []
    if isinstance(error, BadRows) or len(rows) <= 1:
        if rows:  # of no rows there is nobody to fail
            answers.append((rows, error))
        return []
    if isinstance(error, UnlikeError) and len(error.groups) > 1:
        return [[rows[i] for i in group] for group in reversed(error.groups)]
    step = -(-len(rows) // parts)
    return [rows[start : start + step] for start in reversed(range(0, len(rows), step))]
