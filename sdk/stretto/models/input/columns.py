"""How the values of one column of a model's input are read, where nobody recorded its type.

What the fitted estimator shows of a column says how it is read; the estimator alone decides what it makes of missing,
infinite and unseen values. What is known of these serves to say why it has refused a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from reprlib import repr as short
from typing import Any

import numpy as np

from stretto.batch import arrays
from stretto.batch.isolate import UnlikeError
from stretto.errors import InputError
from stretto.models.input.column_types import ColumnType
from stretto.models.input.numeric import LARGEST, only_numbers
from stretto.models.input.row import RowFormat, listed
from stretto.models.input.sorts import is_missing, sort_of

_EXACT = 2**53
"""The integers up to which a float has every one."""
_LARGEST = 2**63


@dataclass(frozen=True)
class ColumnInput:
    """Reads the values of the column at position `at`. This one is for columns that the model does not look at.

    `many` returns the values of a column as an array, or None or an exception where it can't; `one` returns a value,
    or raises `InputError`. What `many` takes are the values as a sequence, or an array as it came.
    """

    row: RowFormat
    at: int
    type: ColumnType

    def many(self, values: Any) -> Any:
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

    def refusal(self, value: Any, reason: str) -> InputError | None:
        """Return what is wrong with a value of a row that the model refused, None where nothing is known against it."""
        if not self.used:
            return None
        value = value.item() if isinstance(value, np.generic) else value
        known = self.type.known
        if is_missing(value):
            if known is not None and not any(map(is_missing, known)):
                return self.row.error(self.at, "is missing (NaN or null), and the model takes no missing values", "")
            return self.row.rejected(self.at, reason)
        if sort_of(type(value)) == "number" and not abs(value) <= LARGEST:
            return self.row.too_large(self.at, reason)
        return self._unseen(value, known) if known is not None and value not in known else None

    def _unseen(self, value: Any, values: Sequence[Any]) -> InputError:
        known = [each for each in values if not is_missing(each)]
        text = f"is {short(value)}, which the model has never seen; it knows {listed(known)}"
        return self.row.error(self.at, text, f"one of {listed(known)}")


class NumberColumn(ColumnInput):
    """A column of numbers."""

    def many(self, values: Any) -> Any:
        """Return the numbers: an array of them as it came, others as float64, NaN for None."""
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
            return values
        numbers = only_numbers(_as_list(values))
        if numbers is None:
            return None
        large = [type(each) is int and _EXACT < abs(each) < _LARGEST for each in numbers]
        if any(large):
            # As integers: floats this large are not all there, and two would be equal that are not.
            if not all(large):
                raise UnlikeError(large)
            return np.array(numbers)
        return np.array([self.row.number(each, self.at) for each in numbers], dtype=np.float64)

    def one(self, value: Any) -> Any:
        """Return the number."""
        large = type(value) is int and _EXACT < abs(value) < _LARGEST
        return value if large else self.row.number(value, self.at)


class ObjectColumn(ColumnInput):
    """A column of single values of any type, such as categories."""

    def many(self, values: Any) -> Any:
        """Return the values as objects, missing ones as the model was fitted with them."""
        array = np.empty(len(values), dtype=object)
        array[:] = [self.one(value) for value in _as_list(values)]
        return array

    def one(self, value: Any) -> Any:
        """Return the value."""
        if is_missing(value):
            return self.type.missing
        if isinstance(value, dict | list | tuple | set | np.ndarray):
            raise self.row.error(self.at, f"is {short(value)}, which is no single value", "a string or a number")
        return value

    @property
    def sample(self) -> Any:
        """A value of the right type."""
        return self.type.known[0] if self.type.known else ""


class TextColumn(ObjectColumn):
    """A column of texts."""

    def one(self, value: Any) -> Any:
        """Return the text."""
        if not isinstance(value, str):
            raise self.row.error(self.at, f"is {short(value)}, which is no text", "a text")
        return value


class AnyColumn(ObjectColumn):
    """A column whose type is unknown: an array as it came, and values as an array of what they are."""

    def many(self, values: Any) -> Any:
        """Return the values as integers, floats, flags, dates or objects, whichever they are.

        Raises:
            UnlikeError: they are of several of these. A row must be the same alone and among others.
        """
        return values if arrays.is_array(values) else natural(list(values))

    def one(self, value: Any) -> Any:
        """Return the value."""
        return value

    @property
    def sample(self) -> Any:
        """A value, of the type that most columns have."""
        return self.type.known[0] if self.type.known else 0.0


def natural(values: list[Any]) -> np.ndarray | arrays.ExtensionArray:
    """Return the values of a column as an array of the type that a data frame made of them has.

    Raises:
        UnlikeError: they are of several types.
    """
    sorts = [_natural_sort(each) for each in values]
    found = set(sorts)
    if len(found) > 1:
        raise UnlikeError(sorts)
    match next(iter(found), "float"):
        case "int" | "flag":
            return np.array(values)
        case "float" | "missing":
            return np.array([math.nan if is_missing(each) else each for each in values], dtype=np.float64)
        case "date" | "duration":
            series = import_module("pandas").Series(values)
            return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array
        case _:
            array = np.empty(len(values), dtype=object)
            array[:] = values
            return array


def _natural_sort(value: Any) -> str:
    sort = sort_of(type(value))
    if sort == "number":
        kind = "float" if isinstance(value, float | np.floating) else "int" if isinstance(value, int) else "other"
        return "int" if isinstance(value, np.integer) else kind
    return sort


def column_input(row: RowFormat, at: int, column_type: ColumnType) -> ColumnInput:
    """Return what reads the column at this position."""
    readers = {"unused": ColumnInput, "number": NumberColumn, "any": AnyColumn, "object": ObjectColumn}
    return readers.get(column_type.holds, TextColumn)(row, at, column_type)


def _as_list(values: Any) -> list[Any]:
    return arrays.rows(values) if arrays.is_array(values) else list(values)
