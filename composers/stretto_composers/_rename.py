"""Other names for the members of a dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from stretto import composer
from stretto.errors import BadRows, PipelineError
from stretto.nodes import Call, Node, Pack, Step
from stretto_composers._columns import all_at_fault
from stretto_composers._select import check_names, members


@composer
def rename(x: Node, names: Mapping[str, str] | None = None, /, **others: str) -> Node:
    """Answer with the same dict, its members under other names.

    ``rename(old="new")``, or ``rename({"old name": "new"})``. Members keep their order, and names that are not given
    stay. It passes a fan-out's columns on, so it costs nothing in a batch. A row that lacks an old name fails, and so
    does one that has a new name already.

    Raises:
        PipelineError: there is nothing to rename, two names become one, or the fan-out before it has no such branch.

    >>> import asyncio
    >>> from stretto import Client, parallel
    >>> async def main():
    ...     async with Client(parallel(min, max) >> rename(min="low", max="high")) as client:
    ...         return await client.predict([3, 1, 2])
    >>> asyncio.run(main())
    {'low': 1, 'high': 3}
    """
    if names is not None and not isinstance(cast("object", names), Mapping):
        raise PipelineError(f"rename() takes a dict from old names to new ones, not {names!r}")
    given = {**(names or {}), **others}
    check_names("rename", tuple(given), x)
    odd = [new for new in given.values() if not isinstance(cast("object", new), str)]
    if odd:
        raise PipelineError(f"rename() takes new names, not {odd[0]!r}")
    fn = Renamed(tuple(given.items()))
    known = x.names if isinstance(x, Pack) else tuple(given)
    twice = fn.twice(known)
    if twice is not None:
        raise PipelineError(f"rename() would give two members the name {twice!r}")
    return Call((x,), step=Step(fn=fn, name="rename", vectorized=True, pure=True, key=fn, named=False))


@dataclass(frozen=True)
class Renamed:
    """Gives a dict under other names."""

    names: tuple[tuple[str, str], ...]

    def __call__(self, column: Any) -> Any:
        """Return the columns of a fan-out under their new names, else a list of dicts."""
        given = dict(self.names)
        columns = members(column, tuple(given))
        if isinstance(columns, dict):
            twice = self.twice(tuple(columns))
            if twice is not None:
                raise all_at_fault(columns, _clash(twice))
            return {given.get(name, name): each for name, each in columns.items()}
        errors = {i: _clash(twice) for i, row in enumerate(columns) if (twice := self.twice(tuple(row))) is not None}
        if errors:
            raise BadRows({**errors})
        return [{given.get(name, name): each for name, each in row.items()} for row in columns]

    def twice(self, names: tuple[str, ...]) -> str | None:
        """Return the name that two of these members would have, if any."""
        given = dict(self.names)
        news = [given.get(name, name) for name in names]
        return next((name for name in news if news.count(name) > 1), None) if len(set(news)) < len(news) else None


def _clash(name: str) -> Exception:
    return ValueError(f"two members would have the name {name!r}")
