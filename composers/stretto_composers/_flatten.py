"""One dict of nested ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from stretto import composer
from stretto.errors import BadRows, PipelineError
from stretto.nodes import Call, Node, Step
from stretto_composers._columns import all_at_fault, rows_of


@composer
def flatten(x: Node, separator: str = ".") -> Node:
    """Answer with one dict of nested ones, at any depth, under names joined by `separator`.

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
    return Call((x,), step=Step(fn=fn, name="flatten", vectorized=True, pure=True, key=fn, named=False))


@dataclass(frozen=True)
class Flat:
    """Gives one dict of nested ones."""

    separator: str

    def __call__(self, column: Any) -> Any:
        """Return a dict of columns where no row of them holds a dict, else a list of dicts."""
        if isinstance(column, dict):
            leaves = list(self.leaves(cast("dict[str, Any]", column)))
            if not any(_holds_dicts(each) for _, each in leaves):
                try:
                    return _joined(leaves)
                except ValueError as error:
                    raise all_at_fault(column, error) from None
        rows: list[Any] = []
        errors: dict[int, Exception] = {}
        for i, row in enumerate(rows_of(column)):
            try:
                rows.append(_joined(list(self.leaves(row))))
            except (TypeError, ValueError) as error:
                errors[i] = error
        if errors:
            raise BadRows(errors)
        return rows

    def leaves(self, row: Any) -> Iterator[tuple[Any, Any]]:
        """Return what is no dict, or an empty one, with its joined name, in the order written."""
        if not isinstance(row, Mapping):
            raise TypeError(f"flatten() takes a dict, such as a fan-out's answers, not {type(row).__name__}")
        left = list(cast("Mapping[Any, Any]", row).items())[::-1]
        while left:
            name, value = left.pop()
            if isinstance(value, Mapping) and value:
                inner = cast("Mapping[Any, Any]", value)
                left += [(f"{name}{self.separator}{key}", each) for key, each in list(inner.items())[::-1]]
            else:
                yield name, value


def _joined(leaves: list[tuple[Any, Any]]) -> dict[Any, Any]:
    flat = dict(leaves)
    if len(flat) < len(leaves):
        names = [name for name, _ in leaves]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two members would have the name {twice!r}: choose another separator, or rename() one")
    return flat


def _holds_dicts(column: Any) -> bool:
    if isinstance(column, np.ndarray) and column.dtype != object:
        return False
    return any(isinstance(row, Mapping) for row in cast("list[Any]", column))
