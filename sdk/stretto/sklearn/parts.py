"""The functions between the members of a fitted ensemble, and the members themselves.

They compute what scikit-learn 1.6 to 1.9 computes in the same place, with the same expressions: ``pipeline.py`` and
``compose/_column_transformer.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from stretto.models.input.numeric import is_finite
from stretto.models.input.reader import ModelInput
from stretto.models.labels import Labels
from stretto.models.method import ByPosition, Method


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A fitted estimator over a table that was read, or made by another part."""

    method: Method

    def __call__(self, column: Any) -> Any:
        """Return an answer for each row."""
        if isinstance(column, dict) and not isinstance(self.method, ByPosition):
            columns = cast("dict[str, Any]", column)
            return self.method(ModelInput(columns, len(next(iter(columns.values())))))
        column = _table(column) if isinstance(column, dict) else column
        numbers = isinstance(column, np.ndarray) and column.ndim == 2 and column.dtype.kind == "f"
        return self.method(ModelInput(column, len(column), numbers and is_finite(column)))

    def __repr__(self) -> str:
        return repr(self.method.estimator)


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """Some columns of a table, as a table; or with `single` one of them, as its values."""

    places: tuple[int, ...]
    names: tuple[str, ...]
    single: bool = False

    def __call__(self, column: Any) -> Any:
        """Return the columns."""
        if not isinstance(column, dict):
            table = np.asarray(column)
            return table[:, self.places[0]] if self.single else table[:, list(self.places)]
        columns = cast("dict[str, Any]", column)
        return columns[self.names[0]] if self.single else {name: columns[name] for name in self.names}


@dataclass(frozen=True, slots=True, eq=False)
class SideBySide:
    """The members' columns in one table, each times its weight."""

    weights: tuple[float | None, ...] = ()

    def __call__(self, columns: dict[str, Any]) -> Any:
        """Return the table."""
        tables = [_table(each) for each in columns.values()]
        weights = self.weights or (None,) * len(tables)
        return np.hstack([each if by is None else each * by for each, by in zip(tables, weights, strict=True)])


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The class at each place: members of an ensemble are fitted on places."""

    classes: np.ndarray

    def __call__(self, column: Any) -> Any:
        """Return the class for each row."""
        return self.classes[np.asarray(column).astype(np.intp)]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """The answers of an ensemble with the labels that its user gave the classes; or probabilities by label."""

    classes: tuple[Any, ...]
    labels: Labels | None
    by_label: bool

    def __call__(self, column: Any) -> Any:
        """Return the label for each row, or the probabilities by label."""
        if self.by_label:
            table = np.asarray(column)
            return {str(label): table[:, at] for at, label in enumerate(self.classes)}
        return column if self.labels is None else self.labels.of(np.asarray(column))


def _table(column: Any) -> np.ndarray:
    """Return a column as a table: named columns of one length side by side, a column of numbers as one."""
    if isinstance(column, dict):
        return np.column_stack([np.asarray(each) for each in cast("dict[str, Sequence[Any]]", column).values()])
    table = np.asarray(column)
    return table.reshape(-1, 1) if table.ndim == 1 else table
