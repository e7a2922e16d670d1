"""Rows and answers as they travel between processes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from stretto.batch.batch import Batch


def pack(rows: Sequence[Any] | np.ndarray) -> Sequence[Any] | np.ndarray:
    """Return rows that are arrays of one shape and type as one array: Ray sends each array of a list by itself."""
    if not len(rows) or isinstance(rows, np.ndarray):
        return rows
    first = rows[0]
    if not isinstance(first, np.ndarray) or not first.ndim or first.dtype.hasobject:
        return rows
    same = all(isinstance(row, np.ndarray) and row.shape == first.shape and row.dtype == first.dtype for row in rows)
    return np.stack(cast("list[np.ndarray]", rows)) if same else rows


def unpack(rows: Sequence[Any] | np.ndarray) -> list[Any]:
    """Return the rows as a list, in which arrays can be written to as in process."""
    return list(owned(rows)) if isinstance(rows, np.ndarray) else owned(list(rows))


def owned(values: Any) -> Any:
    """Return the same values in arrays that can be written to.

    Ray gives a task its arrays read-only, since they may lie in memory that others share; a function that works in
    place in process must do so on Serve too.
    """
    match values:
        case np.ndarray():
            return values if values.flags.writeable else values.copy()
        case Batch(values=tuple() as parts):
            own = tuple((rows, cast("Batch", owned(part))) for rows, part in parts)
            return Batch(own, values.size, values.errors, request=values.request)
        case Batch():
            return Batch(owned(values.values), values.size, values.errors, request=values.request)
        case dict():
            return {key: owned(each) for key, each in cast("dict[Any, Any]", values).items()}
        case list():
            return [owned(each) for each in cast("list[Any]", values)] if _holds_arrays(values) else values
        case _:
            return values


def _holds_arrays(values: list[Any]) -> bool:
    # The usual row is a dict of numbers: looking into each would cost as much as the model.
    return any(isinstance(each, np.ndarray) for each in values)
