"""The answers of a fan-out as one table of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from stretto.errors import BadRows
from stretto_composers._columns import rows_of


@dataclass(frozen=True)
class Features:
    """Gives the members' numbers side by side; of those in `seconds`, who give two that add up to one, the second."""

    seconds: tuple[str, ...] = ()

    def __call__(self, columns: Any) -> np.ndarray:
        """Return an array of shape (n_rows, n_features).

        Raises:
            BadRows: some rows' answers are no numbers; it names every one of them.
        """
        try:
            return self._table(columns)
        except (TypeError, ValueError):
            return self._row_by_row(columns)

    def _table(self, columns: Any) -> np.ndarray:
        if not isinstance(columns, dict):
            raise TypeError(
                f"stack() takes the answers of a fan-out, as in parallel(a, b) >> stack(meta), not {columns!r}"
            )
        if not columns:
            raise ValueError("no branch of the fan-out has answered")
        tables = [
            _numbers(name, column)[:, name in self.seconds :]
            for name, column in cast("dict[str, Any]", columns).items()
        ]
        return np.hstack(tables)

    def _row_by_row(self, columns: Any) -> np.ndarray:
        tables: list[np.ndarray] = []
        errors: dict[int, Exception] = {}
        for i, row in enumerate(rows_of(columns)):
            try:
                given = cast("Mapping[str, Any]", row).items() if isinstance(row, Mapping) else None
                tables.append(self._table(row if given is None else {name: [value] for name, value in given}))
            except (TypeError, ValueError) as error:
                errors[i] = error
        if errors:
            raise BadRows(errors)
        return np.vstack(tables)


def _numbers(name: str, column: Any) -> np.ndarray:
    """Return a member's answers as an array of shape (n_rows, n_numbers)."""
    if isinstance(column, dict):
        members = cast("dict[str, Any]", column)
        return np.hstack([_numbers(f"{name}: {key}", each) for key, each in members.items()])
    if isinstance(column, list) and column and isinstance(column[0], Mapping):
        rows = cast("list[Mapping[str, Any]]", column)
        if any(row.keys() != rows[0].keys() for row in rows):
            raise ValueError(f"{name!r} gives different keys")
        return _numbers(name, {key: [row[key] for row in rows] for key in rows[0]})
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
