"""Some members of a dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from stretto import composer
from stretto.errors import BadRows, InputError, PipelineError
from stretto.nodes import Call, Node, Pack, Step
from stretto_composers._columns import all_at_fault, rows_of


@composer
def select(x: Node, *names: str | Sequence[str]) -> Node:
    """Answer with the named members of a dict: of one name the value, of several, or of a list, a dict in that order.

    It takes a request's features or a fan-out's answers; of those it passes whole columns on, so it costs nothing
    in a batch. A row that lacks a name fails; the request's own row is refused as bad input.

    Raises:
        PipelineError: there is no name, one is no string or comes twice, or the fan-out before it has no such branch.

    >>> import asyncio
    >>> from stretto import Client, parallel
    >>> async def main():
    ...     said = parallel(low=min, high=max, count=len)
    ...     async with Client(said >> select("low", "high")) as two, Client(said >> select("count")) as one:
    ...         return await two.predict([3, 1, 2]), await one.predict([3, 1, 2])
    >>> asyncio.run(main())
    ({'low': 1, 'high': 3}, 3)
    """
    match names:
        case [str(name)]:
            check_names("select", [name], x)
            return picked(x, name)
        case [list() | tuple() as listed]:
            wanted = tuple(cast("Sequence[str]", listed))
        case _:
            wanted = cast("tuple[str, ...]", names)
    check_names("select", wanted, x)
    return _call(x, Members(wanted))


def picked(x: Node, name: str) -> Node:
    """Return the node of one member's value."""
    return _call(x, Member(name))


def _call(x: Node, fn: Callable[[Any], Any]) -> Node:
    return Call((x,), step=Step(fn=fn, name="select", vectorized=True, pure=True, key=fn, named=False))


def check_names(composer: str, names: Sequence[Any], x: Node) -> None:
    """Refuse names of members that can't be right, whatever the rows are.

    Raises:
        PipelineError: there is none, one is no string or comes twice, or `x` is a fan-out without such a branch.
    """
    odd = [name for name in names if not isinstance(name, str)]
    if odd or not names:
        got = f", not {odd[0]!r}" if odd else ", at least one"
        raise PipelineError(f"{composer}() takes the names of members{got}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise PipelineError(f"{composer}() is given {twice[0]!r} more than once")
    absent = [name for name in names if isinstance(x, Pack) and name not in x.names]
    if absent and isinstance(x, Pack):
        raise PipelineError(
            f"{composer}() is given {absent[0]!r}, and the fan-out before it has the branches "
            f"{', '.join(map(repr, x.names))}"
        )


@dataclass(frozen=True)
class Member:
    """Gives the value of one member."""

    name: str

    @property
    def features(self) -> tuple[str, ...]:
        """What it reads of a request."""
        return (self.name,)

    def __call__(self, column: Any) -> Any:
        """Return a column of the members' values."""
        columns = members(column, (self.name,))
        return columns[self.name] if isinstance(columns, dict) else [row[self.name] for row in columns]


@dataclass(frozen=True)
class Members:
    """Gives a dict of some members."""

    names: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """What it reads of a request."""
        return self.names

    def __call__(self, column: Any) -> Any:
        """Return a dict of columns of a fan-out, else a list of dicts."""
        columns = members(column, self.names)
        if isinstance(columns, dict):
            return {name: columns[name] for name in self.names}
        return [{name: row[name] for name in self.names} for row in columns]


def members(column: Any, names: Sequence[str]) -> dict[str, Any] | list[Mapping[str, Any]]:
    """Return a dict of columns or a list of dicts, in which every row has these names.

    Raises:
        BadRows: some rows are no dicts, or lack a name.
    """
    if isinstance(column, dict):
        columns = cast("dict[str, Any]", column)
        error = _lacking(columns, names)
        if error is not None:
            raise all_at_fault(columns, error)
        return columns
    rows = rows_of(column)
    errors = {i: error for i, row in enumerate(rows) if (error := _lacking(row, names)) is not None}
    if errors:
        raise BadRows({**errors})
    return rows


def _lacking(row: Any, names: Sequence[str]) -> InputError | None:
    if not isinstance(row, Mapping):
        kind = type(row).__name__
        return InputError(f"a dict with {_listed(names)} is needed here, and this is a {kind}", "", "a dict")
    absent = [name for name in names if name not in row]
    if not absent:
        return None
    known = _listed([str(name) for name in cast("Mapping[Any, Any]", row)]) or "nothing"
    return InputError(f"{absent[0]!r} is missing; there is {known}", absent[0], "a value")


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
