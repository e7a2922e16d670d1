"""Functions of a dict."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
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
class Members(OfDict):
    """Returns a dict of some members, or with `alone` the value of the one."""

    features: tuple[str, ...]
    alone: bool

    def one(self, row: Any) -> Any:
        members = require(row, self.features)
        return members[self.features[0]] if self.alone else {name: members[name] for name in self.features}


def members_of(x: Node, names: tuple[str, ...], *, alone: bool, internal: bool = False) -> Node:
    """Return the node of some members of a dict, or with `alone` of one member's value."""
    fn = Members(names, alone)
    return call(x, fn, "select", pure=True, key=fn, internal=internal)


def require(row: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """Return the row, which is a dict with these members."""
    if not isinstance(row, Mapping):
        kind = type(row).__name__
        raise InputError(f"a dict with {listed(names)} is needed here, and this is a {kind}", "", "a dict")
    members = cast("Mapping[str, Any]", row)
    for name in names:
        if name not in members:
            there = listed(list(map(str, members))) or "nothing"
            raise InputError(f"{name!r} is missing; there is {there}", name, "a value")
    return members


def unique(items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the dict of pairs."""
    members: dict[Any, Any] = {}
    for name, value in items:
        if name in members:
            raise ValueError(f"two members would have the name {name!r}: give one of them another with rename()")
        members[name] = value
    return members


def check_names(composer: str, names: Sequence[Any], x: Node) -> None:
    """Raise for names of members that can't be right, whatever the rows are."""
    if not names:
        raise PipelineError(f"{composer}() takes the names of members, at least one")
    for name in names:
        if not isinstance(name, str):
            raise PipelineError(f"{composer}() takes the names of members, not {name!r}")
        if names.count(name) > 1:
            raise PipelineError(f"{composer}() is given {name!r} more than once")
        if isinstance(x, Pack) and name not in x.names:
            branches = ", ".join(map(repr, x.names))
            raise PipelineError(
                f"{composer}() is given {name!r}, and the fan-out before it has the branches {branches}"
            )
