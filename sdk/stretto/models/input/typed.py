"""Columns of a recorded type: the values of many rows as the array that the user's own frame would hold.

A value that another type of the same kind holds (a fraction in a column of integers, a number that is missing there)
is passed on in that type, as in a frame of its own: only the model may have an opinion about it. A value of another
kind (a text where a number belongs) is an error.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from importlib import import_module
from reprlib import repr as short
from typing import Any, Final, cast

import numpy as np

from stretto.batch import arrays
from stretto.batch.isolate import UnlikeError
from stretto.errors import InputError
from stretto.models.input.columns import ColumnInput
from stretto.models.input.row import with_article
from stretto.models.input.sorts import Sort, is_missing, sort_of
from stretto.models.signature import Column

_EXPECTED: Final[dict[str, str]] = {
    "flag": "true or false",
    "number": "a number",
    "text": "a text",
    "date": "a date and time, as ISO 8601 in JSON",
    "duration": "a duration",
}


@dataclass(frozen=True)
class TypedColumn(ColumnInput):
    """A column with the type that a signature has for it.

    `many` returns None where a value is of another sort; `one` then says which and why.

    Raises:
        UnlikeError: by `many`, where each value is right, but together they would change one another's type.
    """

    column: Column

    def many(self, values: Any) -> Any:
        """Return the values of several rows as an array of the column's type."""
        if arrays.is_array(values):
            if _is_of(values, self.column, self._dtype):
                return values
            values = arrays.rows(values) if not isinstance(values, np.ndarray) or values.dtype.kind in "OUS" else values
        if isinstance(values, np.ndarray):
            return self._cast(values)
        listed = list(values)
        if not self._takes(listed):
            return None
        return self._build(listed)

    def one(self, value: Any) -> Any:
        """Return the value of one row, as the column's type has it."""
        if not self._takes([value]):
            wanted = _EXPECTED.get(self._sort, "another value")
            hint = "; write it without quotes" if self._sort == "number" and isinstance(value, str) else ""
            kind = type(value).__name__
            said = f"is {short(value)}, which is {with_article(kind)}, and the model has {self.column.dtype} here{hint}"
            raise self.row.error(self.at, said, wanted)
        try:
            return arrays.rows(self._build([value]))[0]
        except (ValueError, TypeError, OverflowError) as error:
            said = f"is {short(value)}, which is no {self.column.dtype}: {error}"
            raise self.row.error(self.at, said, _EXPECTED.get(self._sort, self.column.dtype)) from error

    @property
    def sample(self) -> Any:
        """A value of the right type, or None."""
        return self.column.categories[0] if self.column.categories else self.column.low

    @cached_property
    def _dtype(self) -> Any:
        return dtype_of(self.column)

    @cached_property
    def _sort(self) -> Sort:
        """Which sort of values the column holds; "other" stands for any."""
        kind = "O" if self.column.dtype in ("object", "category") else getattr(self._dtype, "kind", "O")
        if self.column.is_text:
            return "text"
        if self.column.categories is not None:
            return "other"
        return cast(
            "Sort",
            {"b": "flag", "i": "number", "u": "number", "f": "number", "M": "date", "m": "duration"}.get(kind, "other"),
        )

    def _takes(self, values: list[Any]) -> bool:
        """Return whether all values are of the column's sort, or are written as it is in JSON."""
        sort = self._sort
        if sort == "other":
            return all(type(each) not in (dict, list, tuple, set, np.ndarray) for each in values)
        for found in {sort_of(kind) for kind in set(map(type, values))} - {sort, "missing"}:
            match sort, found:
                case ("number", "flag") | ("flag", "number") | ("date" | "duration", "text"):
                    continue
                case ("text" | "flag" | "date" | "duration", "number"):
                    # NaN stands for a missing value anywhere.
                    if all(each != each for each in values if sort_of(type(each)) == "number"):
                        continue
                    return False
                case _:
                    return False
        return sort != "flag" or all(is_missing(each) or each in (0, 1) for each in values)

    def refusal(self, value: Any, reason: str) -> InputError | None:
        """Return what is wrong with a value of a row that the model refused, None where nothing is known against it."""
        categories = self.column.categories
        if categories is not None and not is_missing(value) and value not in self._dtype.categories:
            return self._unseen(value, categories)
        return ColumnInput.refusal(self, value, reason)

    def _build(self, values: list[Any]) -> Any:
        """Return values of the right sort as the array that a frame would hold."""
        if self.column.categories is not None:
            return self._categorical(values)
        if isinstance(self._dtype, np.dtype):
            return self._of_numpy(values, self._dtype)
        return self._of_pandas(values)

    def _of_numpy(self, values: list[Any], dtype: np.dtype[Any]) -> Any:
        match dtype.kind:
            case "f":
                with np.errstate(over="ignore"):
                    return np.array([np.nan if is_missing(each) else float(each) for each in values], dtype=dtype)
            case "i" | "u":
                return _integers(values, dtype)
            case "b":
                return _flags(values)
            case "M" | "m":
                return _times(values, dtype)
            case "O":
                return self._objects(values)
            case "U" | "S":
                return np.array(values)  # as wide as the longest: the width of the type would cut texts short
            case _:
                return np.array(values, dtype=dtype)

    def _objects(self, values: list[Any]) -> np.ndarray:
        absent = None if "NoneType" in self.column.holds else np.nan
        read = _OBJECTS.get(self.column.holds)
        array = np.empty(len(values), dtype=object)
        array[:] = [absent if each is None else each if read is None else read(each) for each in values]
        return array

    def _of_pandas(self, values: list[Any]) -> Any:
        pandas = import_module("pandas")
        kind = getattr(self._dtype, "kind", "O")
        if kind == "M":
            moments = _times(values, np.dtype(f"M8[{self._dtype.unit}]"), zoned=True)
            return pandas.Series(moments).dt.tz_localize("UTC").dt.tz_convert(self._dtype.tz).array
        given = [pandas.NA if is_missing(each) else each for each in values]
        if kind in "iu" and any(each is not pandas.NA and each != int(each) for each in given):
            _apart([each is pandas.NA or each == int(each) for each in given])
            return pandas.array(given, dtype="Float64")
        if kind in "iu":
            given = [each if each is pandas.NA else int(each) for each in given]
        return pandas.array(given, dtype=self._dtype)

    def _categorical(self, values: list[Any]) -> Any:
        """Return the values as categories; what the model has not seen comes after those that it has."""
        pandas = import_module("pandas")
        known = self._dtype.categories
        given = [None if is_missing(each) else each for each in values]
        if self.column.category_dtype.startswith("datetime"):
            given = [None if each is None else pandas.Timestamp(each) for each in given]
        unseen = [each if each is not None and each not in known else None for each in given]
        _apart(unseen)  # each unseen value by itself: its code is then the same alone and among others
        more = [each for each in unseen[:1] if each is not None]
        if not more:
            return pandas.Categorical(given, dtype=self._dtype)
        return pandas.Categorical(given, categories=[*known, *more], ordered=self.column.ordered)

    def _cast(self, values: np.ndarray) -> Any:
        """Return an array of numbers, flags or times as the column's type."""
        dtype = self._dtype
        if isinstance(dtype, np.dtype) and dtype.kind in "iu" and values.dtype.kind in "iuf":
            return _integers_of(values, dtype)
        if isinstance(dtype, np.dtype) and dtype.kind == "f" and values.dtype.kind in "iufb":
            with np.errstate(over="ignore"):
                return values.astype(dtype)
        if isinstance(dtype, np.dtype) and dtype.kind == values.dtype.kind and dtype.kind in "Mm":
            return _exactly(values, dtype)
        if self._sort == "other" and self.column.categories is None and str(dtype) != "object":
            return values
        listed = values.tolist() if values.dtype.kind not in "Mm" else list(import_module("pandas").Series(values))
        return self._build(listed) if self._takes(listed) else None


def dtype_of(column: Column) -> Any:
    """Return the type of a column as numpy has it, or as pandas has it where numpy has no such type."""
    if column.categories is not None:
        pandas = import_module("pandas")
        categories = pandas.Index(list(column.categories))
        if column.category_dtype and not column.category_dtype.startswith("interval"):
            categories = categories.astype(column.category_dtype)
        return pandas.CategoricalDtype(categories, ordered=column.ordered)
    return import_module("pandas").api.types.pandas_dtype(column.dtype)


def _is_of(array: Any, column: Column, dtype: Any) -> bool:
    if isinstance(array, np.ndarray) and array.dtype.kind in "OUS":
        return False
    return array.dtype == dtype and (column.categories is None or array.dtype.ordered == column.ordered)


def _apart(kinds: Sequence[Any]) -> None:
    """Raise `UnlikeError` where there are several kinds."""
    if len(set(kinds)) > 1:
        raise UnlikeError(kinds)


def _integers(values: list[Any], dtype: np.dtype[Any]) -> np.ndarray:
    if {int}.issuperset(map(type, values)):
        try:
            return np.array(values, dtype=dtype)
        except OverflowError:
            limits = np.iinfo(dtype)
            _apart([limits.min <= each <= limits.max for each in values])
            return np.array(values)
    absent = [is_missing(each) for each in values]
    _apart(absent)
    if absent and absent[0]:
        return np.full(len(values), np.nan)
    whole = [each == int(each) for each in values] if all(map(np.isfinite, map(float, values))) else [False]
    if not all(whole):
        _apart([bool(np.isfinite(float(each))) and each == int(each) for each in values])
        return np.array(values, dtype=np.float64)
    return _integers([int(each) for each in values], dtype)


def _integers_of(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        whole = values.astype(dtype)
        fits = (whole == values) & (np.abs(values) < 2.0**63 if values.dtype.kind == "f" else True)
    if bool(np.all(fits)):
        return whole
    _apart(fits.tolist())
    return values


def _flags(values: list[Any]) -> np.ndarray:
    absent = [is_missing(each) for each in values]
    _apart(absent)
    return np.array([None if gone else bool(each) for gone, each in zip(absent, values, strict=True)], dtype=None)


def _times(values: list[Any], dtype: np.dtype[Any], *, zoned: bool = False) -> np.ndarray:
    """Return dates or spans as an array; those with a zone in UTC."""
    read = _moment if dtype.kind == "M" else _span
    times = [np.array("NaT", dtype) if is_missing(each) else np.asarray(read(each, zoned=zoned)) for each in values]
    _apart([_fits(each, dtype).item() for each in times])
    return _exactly(np.array(times, dtype=None if times else dtype), dtype)


def _exactly(times: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return times in the unit of a type; as they are where that does not hold them."""
    fits = _fits(times, dtype).tolist()
    _apart(fits)
    return times.astype(dtype) if all(fits) else times


def _fits(times: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    # There and back: a unit that is too coarse loses digits, and one that is too fine overflows in silence.
    return (times.astype(dtype).astype(times.dtype) == times) | np.isnat(times)


def _moment(value: Any, *, zoned: bool) -> Any:
    pandas = import_module("pandas")
    # `fromisoformat` is strict, where pandas reads "12" as a day; pandas keeps the nanoseconds.
    if isinstance(value, str) and not _is_iso(value):
        raise ValueError("a date is written as ISO 8601, such as 2024-06-01T12:00:00")
    moment = pandas.Timestamp(value)
    if (moment.tz is not None) is not zoned:
        raise ValueError("it has no time zone, such as +00:00" if zoned else "it has a time zone")
    return moment.to_datetime64()


def _is_iso(text: str) -> bool:
    seconds, dot, rest = text.partition(".")
    try:
        dt.datetime.fromisoformat(seconds + (dot + rest[:6] + rest.lstrip("0123456789") if dot else ""))
    except ValueError:
        return False
    return True


def _span(value: Any, *, zoned: bool) -> Any:
    return import_module("pandas").Timedelta(value).to_timedelta64()


def _decimal(value: Any) -> Any:
    return value if isinstance(value, Decimal) or is_missing(value) else Decimal(str(value))


def _date(value: Any) -> Any:
    return dt.date.fromisoformat(value) if isinstance(value, str) else value


_OBJECTS: Final[dict[tuple[str, ...], Callable[[Any], Any]]] = {
    ("Decimal",): _decimal,
    ("Decimal", "NoneType"): _decimal,
    ("date",): _date,
    ("NoneType", "date"): _date,
}
