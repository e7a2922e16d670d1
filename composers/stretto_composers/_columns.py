"""What a vectorised step is given: a list or an array with a row each, or a dict of these."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from stretto.errors import BadRows


def rows_of(column: Any) -> list[Any]:
    """Return a column's rows as Python objects; those of a dict of columns are dicts."""
    if isinstance(column, dict):
        columns = cast("dict[str, Any]", column)
        return [dict(zip(columns, row, strict=True)) for row in zip(*map(rows_of, columns.values()), strict=True)]
    if isinstance(column, np.ndarray):
        return column.tolist() if column.ndim == 1 else list(column)
    return cast("list[Any]", column)


def size_of(column: Any) -> int:
    """Return how many rows a column has."""
    if isinstance(column, dict):
        return next(map(size_of, cast("dict[str, Any]", column).values()), 0)
    return len(column)


def all_at_fault(column: Any, error: Exception) -> BadRows:
    """Return the error by which every row of a column fails in the same way, without a search for the culprits."""
    return BadRows(dict.fromkeys(range(size_of(column)), error))
