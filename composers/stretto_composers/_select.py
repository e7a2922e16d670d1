"""Some members of a dict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from stretto import composer
from stretto.nodes import Node
from stretto_composers._members.dicts import OfDict, check_names, picked, require
from stretto_composers._members.members import call


@composer
def select(x: Node, *names: str | Sequence[str]) -> Node:
    """Return the named members of a dict: the value of one name, or for several, or a list, a dict in that order.

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
    if len(names) == 1 and isinstance(names[0], str):
        check_names("select", names, x)
        return picked(x, names[0])
    wanted = tuple(names[0]) if len(names) == 1 and isinstance(names[0], list | tuple) else names
    check_names("select", wanted, x)
    fn = Members(cast("tuple[str, ...]", wanted))
    return call(x, fn, "select", pure=True, key=fn)


@dataclass(frozen=True)
class Members(OfDict):
    """Returns a dict of some members."""

    names: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The features of a request that it reads."""
        return self.names

    def one(self, row: Any) -> Any:
        """Return the members, in this order."""
        members = require(row, self.names)
        return {name: members[name] for name in self.names}
