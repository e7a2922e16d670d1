"""Functions of a dict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from stretto.errors import InputError, PipelineError
from stretto.nodes import Node, Pack
from stretto_composers._members.members import call, listed


class OfDict(ABC):
    """A function of a dict that does the same to a dict of columns, and so to many rows at no cost."""

    def __call__(self, column: Any) -> Any:
        """Return the function's value for the columns of a fan-out; None for rows that are in no columns."""
        return self.one(column) if isinstance(column, dict) else None

    @abstractmethod
    def one(self, row: Any) -> Any:
        """Return the function's value for a dict."""


@dataclass(frozen=True)
class Member(OfDict):
    """Returns the value of one member."""

    name: str

    @property
    def features(self) -> tuple[str, ...]:
        """The features of a request that it reads."""
        return (self.name,)

    def one(self, row: Any) -> Any:
        """Return the member's value."""
        return require(row, (self.name,))[self.name]


def picked(x: Node, name: str, *, internal: bool = False) -> Node:
    """Return the node of one member's value."""
    fn = Member(name)
    return call(x, fn, "select", pure=True, key=fn, internal=internal)


def require(row: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """Return the row, which is a dict with these members.

    Raises:
        InputError: it is none, or lacks one.
    """
    if not isinstance(row, Mapping):
        kind = type(row).__name__
        raise InputError(f"a dict with {listed(names)} is needed here, and this is a {kind}", "", "a dict")
    absent = [name for name in names if name not in row]
    if absent:
        there = listed([str(name) for name in cast("Mapping[Any, Any]", row)]) or "nothing"
        raise InputError(f"{absent[0]!r} is missing; there is {there}", absent[0], "a value")
    return cast("Mapping[str, Any]", row)


def check_names(composer: str, names: Sequence[Any], x: Node) -> None:
    """Raise for names of members that can't be right, whatever the rows are.

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
