"""Members' answers as tables of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np


def table_of(name: str, column: Any) -> np.ndarray:
    """Return a member's answers as an array of shape (n_rows, n_numbers)."""
    if isinstance(column, dict):
        members = cast("dict[str, Any]", column)
        return np.hstack([table_of(f"{name}: {key}", each) for key, each in members.items()])
    if isinstance(column, list) and column and isinstance(column[0], Mapping):
        rows = cast("list[Mapping[str, Any]]", column)
        if any(row.keys() != rows[0].keys() for row in rows):
            raise ValueError(f"{name!r} gives different keys")
        return table_of(name, {key: [row[key] for row in rows] for key in rows[0]})
    numbers = np.asarray(column)
    if numbers.dtype.kind not in "fiub" or not 1 <= numbers.ndim <= 2:
        raise TypeError(f"stack() takes numbers, and {name!r} answers {column[0]!r}")
    return numbers.reshape(len(numbers), -1).astype(float, copy=False)


def as_table(column: Any) -> np.ndarray:
    """Return rows that no model reads as an array of shape (n_rows, n_features).

    Raises:
        TypeError: they are no sequences of numbers.
    """
    numbers = np.asarray(column) if not isinstance(column, dict) else np.empty(0)
    if numbers.dtype.kind not in "fiub" or numbers.ndim != 2:
        raise TypeError("stack(passthrough=True) takes rows that are sequences of numbers where no member is a model")
    return numbers.astype(float, copy=False)
