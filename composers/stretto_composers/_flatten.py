"""One dict of nested ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Node
from stretto_composers._members.dicts import OfDict, unique
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
    >>> numbers = parallel(of=parallel(min, max), count=len)
    >>> asyncio.run(Client(numbers >> flatten()).predict([3, 1, 2]))
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
        return unique(self._leaves(cast("Mapping[Any, Any]", row)))

    def _leaves(self, row: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
        """Yield each value that is no dict, or an empty one, with its joined name, in the order written."""
        left = list(row.items())[::-1]
        while left:
            name, value = left.pop()
            if isinstance(value, Mapping) and value:
                inner = list(cast("Mapping[Any, Any]", value).items())
                left += [(f"{name}{self.separator}{key}", each) for key, each in reversed(inner)]
            else:
                yield name, value


def _holds_dicts(column: Any) -> bool:
    numbers = isinstance(column, np.ndarray) and column.dtype != object
    return not numbers and any(isinstance(row, Mapping) for row in column)
