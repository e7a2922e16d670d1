"""What a row of a model holds, read value by value, and the errors of rows that differ.

This is the slow path: rows come here one by one, once the fast path for many rows could not read them.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from numbers import Real
from typing import Any, cast

import numpy as np

from stretto.batch.frames import is_plain, row_values
from stretto.errors import InputError
from stretto.models.input.sorts import sort_of

_NUMBERS = (float, int, Real, Decimal, np.bool_)  # the usual ones first: for an abstract class each look takes longer
_MOST_NAMES = 32
_MOST_TEXT = 100


@dataclass(frozen=True, slots=True)
class RowFormat:
    """What the rows of the model named `model` hold.

    Attributes:
        features: The names of the features in order, None where they are unknown.
        count: The number of features, None where it is unknown.
        extra: Names that a row may have beyond the features; None means any.
        missing: Whether the model takes missing values; None where only trying shows it. False is for models that are
            known to refuse NaN and infinities: their rows are refused without being tried.
        spare: Whether a frame may have columns beyond the features, which the model leaves alone.
        blanks: Whether a name may have blanks where a feature has underscores, as LightGBM writes them when it is
            fitted.
    """

    model: str
    features: tuple[str, ...] | None = None
    count: int | None = None
    extra: frozenset[str] | None = frozenset()
    missing: bool | None = False
    spare: bool = False
    blanks: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The names that a row may have; any, where `extra` is None."""
        return frozenset((*(self.features or ()), *(self.extra or ())))

    def allows(self, names: Iterable[Any]) -> bool:
        """Return whether a row may have all of these names."""
        return self.extra is None or self.names.issuperset(names)

    def used(self, batch: Any) -> Any:
        """Return a dict of columns, as of a frame, by the names of the features; any other batch as it is.

        Columns that the model leaves alone are left out.
        """
        if not (self.spare or self.blanks) or not isinstance(batch, dict):
            return batch
        columns = self._by_feature(cast("dict[Any, Any]", batch))
        if not self.spare:
            return columns
        return {name: column for name, column in columns.items() if name in self.names} or columns

    def _by_feature(self, named: Mapping[Any, Any]) -> Mapping[Any, Any]:
        if not self.blanks or self.features is None:
            return named
        written = {name.replace("_", " "): name for name in self.features if name not in named}
        return {written.get(str(name).replace("_", " "), name): each for name, each in named.items()}

    def values(self, row: Any) -> Sequence[Any]:
        """Return the values of a row in the order of the features, unchecked.

        Raises:
            InputError: it has other features, or is no row.
        """
        row = row if is_plain(row) else row_values(row)
        return self._by_name(self._by_feature(self.named(row))) if isinstance(row, Mapping) else self._in_order(row)

    def named(self, row: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Return a row with its names as text; of one that has too many, no more than shows it."""
        if self.features is None:
            return row  # there is none that it could have
        if self.extra is not None and len(row) > len(self.features) + len(self.extra):
            row = dict(islice(row.items(), len(self.features) + len(self.extra) + 1))
        return by_text(row)

    def _by_name(self, row: Mapping[Any, Any]) -> list[Any]:
        features = self.features
        if features is None and row and not any(isinstance(name, str) for name in row):
            return list(row.values())  # a frame's columns that are numbered: scikit-learn takes them by position too
        if features is None:
            raise self._error(
                "the row has names, but the model was fitted without; pass features=[...] to model(), or pass the "
                "values in order",
                expected=self._row,
            )
        absent = [name for name in features if name not in row]
        if not absent and len(row) == len(features):
            return [row[name] for name in features]
        names = self.names
        unknown = list(islice((str(name)[:_MOST_TEXT] for name in row if name not in names), _MOST_NAMES))
        if unknown and self.extra is not None:
            close = _closest(unknown[0], absent or features)
            hint = f" (did you mean {close!r}?)" if close else ""
            raise self._error(
                f"unknown feature {reprlib.repr(unknown[0])}{hint}; it takes {listed(features)}",
                field=unknown[0],
                expected=self._row,
            )
        if absent:
            close = _closest(absent[0], unknown)
            hint = f" (it has {close!r})" if close else ""
            raise self._error(
                f"the row lacks {listed(absent)}{hint}; it takes {listed(features)}",
                field=absent[0],
                expected="a finite number",
            )
        return [row[name] for name in features]

    def _in_order(self, row: Any) -> Sequence[Any]:
        is_table = isinstance(row, np.ndarray) and row.ndim != 1
        if is_table or not isinstance(row, Sequence | np.ndarray) or isinstance(row, str | bytes | bytearray):
            raise self._error(f"{_described(row)} is not a row; a row is {self._row}", expected=self._row)
        # A row may be of any length: of one that is too long no more is read than says what is wrong with it.
        fits = self.count is None or len(row) == self.count
        values = cast("Sequence[Any]", row if fits else row[:_MOST_NAMES])
        if isinstance(values, np.ndarray):
            values = values.tolist()  # masked values become None
        if any(issubclass(kind, list | tuple | np.ndarray | Mapping) for kind in set(map(type, values))):
            raise self._error(
                f"the row holds rows or lists; a row is {self._row}, and many rows go to predict_many()",
                expected=self._row,
            )
        if not fits:
            names = f": {listed(self.features)}" if self.features else ""
            raise self._error(
                f"the row has {_counted(len(row), 'value')}, it takes {self.count}{names}", expected=self._row
            )
        return values

    def number(self, value: Any, at: int) -> float:
        """Return the value of the feature at this position as a float: NaN for None, infinity for what is too large.

        Raises:
            InputError: it is no number.
        """
        if sort_of(type(value)) == "missing":
            return math.nan
        if isinstance(value, _NUMBERS):
            try:
                return float(value)
            except OverflowError:
                return math.inf
            except ValueError:  # a signalling NaN
                return math.nan
        hint = "; write it without quotes" if isinstance(value, str) and _is_number(value) else ""
        raise self.error(
            at, f"is {reprlib.repr(value)}, which is {with_article(type(value).__name__)} and no number{hint}"
        )

    def not_finite(self, number: float, at: int) -> InputError:
        """Return the error of a row with NaN or infinity at this position."""
        if math.isnan(number):
            return self.error(at, "is missing (NaN or null), and the model takes no missing values")
        return self.error(at, "is infinite, or too large for a 64-bit float")

    def rejected(self, at: int, reason: str) -> InputError:
        """Return the error of a row that the model rejected for the missing value at this position."""
        return self.error(at, f"is missing (NaN or null), and the model does not take it: {reason}")

    def too_large(self, at: int, reason: str) -> InputError:
        """Return the error of a row that the model rejected for the number at this position, which may be infinite."""
        return self.error(at, f"is infinite, or too large for the model: {reason}")

    def error(self, at: int, text: str, expected: str = "") -> InputError:
        """Return the error of a row whose value at this position is wrong in the way that `text` says."""
        expected = expected or ("a finite number" if self.missing is False else "a finite number or null")
        field = str(at) if self.features is None else self.features[at]
        return self._error(f"{self.feature(at)} {text}", field=field, expected=expected)

    def feature(self, at: int) -> str:
        """Return the feature at this position as errors name it."""
        return f"the value at position {at}" if self.features is None else f"feature {self.features[at]!r}"

    @property
    def _row(self) -> str:
        values = "numbers" if self.count is None else _counted(self.count, "number")
        named = "a dict of named features, or " if self.features else ""
        return f"{named}a list or 1-d array of {values}"

    def _error(self, text: str, field: str = "", expected: str = "") -> InputError:
        return InputError(f"model {self.model!r}: {text}", field, expected)


def by_text(named: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return what is named by the columns of a frame with their names as text: integers and tuples are names too."""
    if all(isinstance(name, str) for name in named):
        return named
    return {str(name): value for name, value in named.items()}


def _closest(name: str, names: Sequence[str]) -> str | None:
    return _closest_of(name[:_MOST_TEXT], tuple(each[:_MOST_TEXT] for each in names[:_MOST_NAMES]))


@lru_cache(maxsize=64)
def _closest_of(name: str, names: tuple[str, ...]) -> str | None:
    # Cached, since all rows of a request may be wrong in the same way; and cut before, since they come with it.
    close = difflib.get_close_matches(name, names, n=1)
    return close[0] if close else None


def listed(names: Sequence[Any], most: int = 12) -> str:
    """Return the first of the names, and how many more there are."""
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _described(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"{reprlib.repr(value)} ({with_article(type(value).__name__)})"


def with_article(kind: str) -> str:
    """Return the name of a type with "a" or "an" before it."""
    return f"{'an' if kind[:1] in 'aeiouAEIOU' else 'a'} {kind}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
