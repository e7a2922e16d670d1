"""One dict of nested ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Node
from stretto_composers._members.dicts import OfDict
from stretto_composers._members.members import call


@composer
def flatten(x: Node, separator: str = ".") -> Node:
    """Return one dict of nested ones, at any depth, under names joined by `separator`.

    It takes fan-outs in fan-outs, probabilities by label, or any nested dicts; of fan-outs it passes whole columns on,
    so it costs nothing in a batch. An empty dict stays as a member. Lists are left as they are.
    A row in which two members would have one name fails.

    Raises:
        PipelineError: `separator` is no string.

    >>> import asyncio
    >>> from stretto import Client, parallel
    >>> async def main():
    ...     async with Client(parallel(of=parallel(min, max), count=len) >> flatten()) as client:
    ...         return await client.predict([3, 1, 2])
    >>> asyncio.run(main())
    {'of.min': 1, 'of.max': 3, 'count': 3}
    """
    if not isinstance(cast("object", separator), str):
        raise PipelineError(f"flatten() takes the separator between names, such as '.', not {separator!r}")
    fn = Flat(separator)
    return call(x, fn, "flatten", pure=True, key=fn)


@dataclass(frozen=True)
class Flat(OfDict):
    """Returns one dict of nested ones."""

    separator: str

    def __call__(self, column: Any) -> Any:
        """Return the columns of nested fan-outs in one dict; None where some rows hold dicts of their own."""
        columns = super().__call__(column)
        return None if columns is None or any(map(_holds_dicts, columns.values())) else columns

    def one(self, row: Any) -> Any:
        """Return the members, at any depth, under their joined names."""
        if not isinstance(row, Mapping):
            raise TypeError(f"flatten() takes a dict, such as a fan-out's answers, not {type(row).__name__}")
        members = list(self._leaves(cast("Mapping[Any, Any]", row)))
        flat = dict(members)
        if len(flat) < len(members):
            names = [name for name, _ in members]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two members would have the name {twice!r}: choose another separator, or rename() one")
        return flat

    def _leaves(self, row: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
        """Yield each value that is no dict, or an empty one, with its joined name, in the order written."""
        left = list(row.items())[::-1]
        while left:
            name, value = left.pop()
            if isinstance(value, Mapping) and value:
                inner = cast("Mapping[Any, Any]", value)
                left += [(f"{name}{self.separator}{key}", each) for key, each in list(inner.items())[::-1]]
            else:
                yield name, value


def _holds_dicts(column: Any) -> bool:
    if isinstance(column, np.ndarray) and column.dtype != object:
        return False
    return any(isinstance(row, Mapping) for row in cast("list[Any]", column))
