"""How the values of one column of a model's input are read, by its type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from reprlib import repr as short
from typing import Any

import numpy as np

from stretto.errors import InputError
from stretto.models.input.column_types import ColumnType
from stretto.models.input.numeric import only_numbers
from stretto.models.input.row import RowFormat, listed

_ATOMS = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class ColumnInput:
    """Reads the values of the column at position `at`. This one is for columns that the model does not look at.

    `many` returns the values of a column as an array, or None or an exception where it can't; `one` returns a value,
    or raises `InputError`.
    """

    row: RowFormat
    at: int
    type: ColumnType

    def many(self, values: Sequence[Any]) -> Any:
        """Return the values of several rows as an array of one type."""
        return np.full(len(values), np.nan)

    def one(self, value: Any) -> Any:
        """Return the value of one row."""
        return np.nan

    @property
    def used(self) -> bool:
        """Whether the model looks at it."""
        return self.type.holds != "unused"

    @property
    def sample(self) -> Any:
        """A value of the right type."""
        return self.type.known[0] if self.type.known else 0.0

    def _unseen(self, value: Any) -> InputError:
        known = [each for each in self.type.known or () if not _is_missing(each)]
        text = f"is {short(value)}, which the model has never seen; it knows {listed(known)}"
        return self.row.error(self.at, text, f"one of {listed(known)}")

    @property
    def _knows_missing(self) -> bool:
        return self.type.known is None or any(map(_is_missing, self.type.known))


class NumberColumn(ColumnInput):
    """A column of numbers."""

    def many(self, values: Sequence[Any]) -> Any:
        """Return the numbers as float64, NaN for None."""
        numbers = only_numbers(list(values))
        if numbers is None:
            return None
        array = np.array(numbers, dtype=np.float64)
        known = self.type.known
        if np.isinf(array).any():
            return None
        if known is None or np.all(np.isin(array, np.array(known, dtype=np.float64)) | np.isnan(array)):
            return array if self._knows_missing or not np.isnan(array).any() else None
        return None

    def one(self, value: Any) -> Any:
        """Return the number."""
        number = self.row.number(value, self.at)
        if np.isinf(number):
            raise self.row.not_finite(number, self.at)
        known = self.type.known
        if known is not None and (not self._knows_missing if np.isnan(number) else number not in known):
            raise self._unseen(number)
        return number


class ObjectColumn(ColumnInput):
    """A column of single values of any type, such as categories."""

    def many(self, values: Sequence[Any]) -> Any:
        """Return the values as objects, missing ones as the model was fitted with them."""
        array = np.empty(len(values), dtype=object)
        array[:] = [self.one(value) for value in values]
        return array

    def one(self, value: Any) -> Any:
        """Return the value."""
        known = self.type.known
        if _is_missing(value):
            if not self._knows_missing:
                text = "is missing (NaN or null), and the model takes no missing values"
                raise self.row.error(self.at, text, "a value")
            return self.type.missing
        if type(value) not in _ATOMS and isinstance(value, dict | list | tuple | set | np.ndarray):
            raise self.row.error(self.at, f"is {short(value)}, which is no single value", "a string or a number")
        if known is not None and value not in known:
            raise self._unseen(value)
        return value

    @property
    def sample(self) -> Any:
        """A value of the right type."""
        return self.type.known[0] if self.type.known else ""


class CategoryColumn(ObjectColumn):
    """A column of pandas' categories."""

    def many(self, values: Sequence[Any]) -> Any:
        """Return the values as a `pandas.Categorical`."""
        categories = [each for each in self.type.known or () if not _is_missing(each)]
        array = ObjectColumn.many(self, values)
        return import_module("pandas").Categorical(array, categories=categories)


class TextColumn(ObjectColumn):
    """A column of texts."""

    def one(self, value: Any) -> Any:
        """Return the text."""
        if not isinstance(value, str):
            raise self.row.error(self.at, f"is {short(value)}, which is no text", "a text")
        return value


class AnyColumn(NumberColumn):
    """A column of numbers, or of other single values, whichever its values are."""

    def many(self, values: Sequence[Any]) -> Any:
        """Return the values as float64 if all are numbers, as objects if none is.

        Raises:
            ValueError: some are numbers. A row must be the same alone and among others: the engine splits the batch.
        """
        if only_numbers(list(values)) is not None:
            return NumberColumn.many(self, values)
        if any(only_numbers([value]) is not None for value in values if value is not None):
            raise ValueError(f"{self.row.feature(self.at)} holds numbers and other values")
        return ObjectColumn.many(self._objects, values)

    def one(self, value: Any) -> Any:
        """Return the value."""
        return NumberColumn.one(self, value) if only_numbers([value]) is not None else self._objects.one(value)

    @property
    def _objects(self) -> ObjectColumn:
        return ObjectColumn(self.row, self.at, self.type)


def column_input(row: RowFormat, at: int, column_type: ColumnType) -> ColumnInput:
    """Return what reads the column at this position."""
    if column_type.category:
        return CategoryColumn(row, at, column_type)
    readers = {"unused": ColumnInput, "number": NumberColumn, "any": AnyColumn, "object": ObjectColumn}
    return readers.get(column_type.holds, TextColumn)(row, at, column_type)


def _is_missing(value: Any) -> bool:
    return value is None or value != value
