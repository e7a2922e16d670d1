"""Other names for the members of a dict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Node, Pack
from stretto_composers._members.dicts import OfDict, check_names, require, unique
from stretto_composers._members.members import call


@composer
def rename(x: Node, names: Mapping[str, str] | None = None, /, **others: str) -> Node:
    """Return the same dict, its members under other names.

    ``rename(old="new")``, or ``rename({"old name": "new"})``. Members keep their order, and names that are not given
    stay. It passes a fan-out's columns on, so it costs nothing in a batch. A row that lacks an old name fails, and so
    does one that has a new name already.

    Raises:
        PipelineError: there is nothing to rename, two names become one, or the fan-out before it has no such branch.

    >>> import asyncio
    >>> from stretto import Client, parallel
    >>> asyncio.run(Client(parallel(min, max) >> rename(min="low", max="high")).predict([3, 1, 2]))
    {'low': 1, 'high': 3}
    """
    if names is not None and not isinstance(cast("object", names), Mapping):
        raise PipelineError(f"rename() takes a dict from old names to new ones, not {names!r}")
    by_name = {**(names or {}), **others}
    check_names("rename", tuple(by_name), x)
    odd = [new for new in by_name.values() if not isinstance(cast("object", new), str)]
    if odd:
        raise PipelineError(f"rename() takes new names, not {odd[0]!r}")
    new = [by_name.get(name, name) for name in (x.names if isinstance(x, Pack) else by_name)]
    twice = [name for name in new if new.count(name) > 1]
    if twice:
        raise PipelineError(f"rename() would give two members the name {twice[0]!r}")
    fn = Renamed(tuple(by_name.items()))
    return call(x, fn, "rename", pure=True, key=fn)


@dataclass(frozen=True)
class Renamed(OfDict):
    """Returns a dict under other names."""

    names: tuple[tuple[str, str], ...]

    def one(self, row: Any) -> Any:
        """Return the members under their new names."""
        new = dict(self.names)
        members = require(row, tuple(new))
        return unique((new.get(name, name), each) for name, each in members.items())
