"""What reads the rows of a batch as the input of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self, cast

from stretto.batch import arrays
from stretto.errors import InputError
from stretto.plan.steps import InputReader


class ModelInput(NamedTuple):
    """The rows of a batch as a model takes them.

    Attributes:
        data: An array or a sparse table with a row along its first axis, a list of values, or a dict of columns.
        size: The number of rows.
        finite: Whether all are known to be finite numbers, in float32 too.
    """

    data: Any
    size: int
    finite: bool = False


class ModelReader(InputReader, Protocol):
    """Reads rows for one model, and rejects those that are not what the model takes."""

    @property
    def features(self) -> tuple[str, ...] | None:
        """The names of the features in order, where they are known."""
        ...

    @property
    def extra(self) -> frozenset[str] | None:
        """The names that a row may have beyond the features; None means any."""
        ...

    def accepting(self, extra: frozenset[str] | None) -> Self:
        """Return the reader with other `extra` names."""
        ...

    def read(self, batch: Any) -> ModelInput:
        """Return the rows of a batch for the model.

        `batch` is a list of rows, an array, a dict of columns, or what a reader with an equal key returned.

        Raises:
            BadRows: rows are not what the model takes; it has the error of each.
        """
        ...

    def sample(self) -> ModelInput | None:
        """Return a made-up row of the right types, or None where these are unknown."""
        ...

    def rejection(self, row: ModelInput, reason: str) -> InputError | None:
        """Return the error of a row that the model refused, None if nothing is known against its values.

        Only trying shows what a model makes of missing, infinite and unseen values. `reason` is what the model said.
        """
        ...


def rows_of(batch: Any) -> Iterator[Any]:
    """Yield the rows of a batch one by one; those of a dict of columns are dicts. Nothing is read before the first."""
    yield from one_by_one(batch)


def one_by_one(batch: Any) -> list[Any]:
    """Return the rows of a batch as a list; those of a dict of columns are dicts."""
    if isinstance(batch, list):
        return cast("list[Any]", batch)
    if isinstance(batch, dict):
        columns = cast("dict[Any, Any]", batch)
        lists = [one_by_one(column) for column in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]
    return arrays.rows(batch) if arrays.is_array(batch) else list(batch)
