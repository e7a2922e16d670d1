"""The rows of one model as an array, and what is wrong with those that can't be.

Good rows take a path without Python work per value. Only when it refuses a column are its rows read one by one, with
the same rules, to say what is wrong with which.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from numbers import Real
from operator import itemgetter
from types import NoneType
from typing import Any, Final, NamedTuple, cast

import numpy as np

from stretto.batch.frames import as_row, is_plain
from stretto.errors import BadRows, InputError

_NUMBERS: Final = frozenset({float, int, bool, np.bool_, np.float64, np.float32, np.int64, np.int32, np.uint8})
_SEQUENCES: Final = frozenset({list, tuple, np.ndarray})
_NONE: Final[frozenset[str]] = frozenset()


class Given(NamedTuple):
    """Rows as a model takes them: an array, or named columns. `tame` says that all are finite, in float32 too."""

    data: Any
    size: int
    tame: bool = False

    def only(self, row: int) -> Given:
        """Return one row of them."""
        one = slice(row, row + 1)
        data = {key: each[one] for key, each in self.data.items()} if isinstance(self.data, dict) else self.data[one]
        return Given(data, 1, self.tame)


@dataclass(frozen=True, slots=True)
class Schema:
    """What the rows of the model named `model` look like.

    `features` are the names of its columns in order, None where nobody knows them, and `count` is how many there are,
    None likewise. `extra` are names that a row may have beyond them; None means any. `missing` says whether NaN is
    taken; None means that only the model knows.
    """

    model: str
    features: tuple[str, ...] | None = None
    count: int | None = None
    extra: frozenset[str] | None = _NONE
    missing: bool | None = False

    @property
    def key(self) -> Hashable:
        """Equal for schemas that read rows alike."""
        return ("numbers", self.features, self.count, self.extra)

    def given(self, column: Any) -> Given:
        """Return the rows of a column for the model; the array can't be written to, since other models may have it too.

        Numbers that are not finite may be left in it, for `admit`.

        Raises:
            BadRows: some rows are not what the model takes; it names every one of them.
        """
        table = self.table(column)
        if table is column:  # it is the caller's, who may go on writing to it
            table = table.view()
        table.setflags(write=False)
        return Given(table, len(table), is_tame(table))

    def admit(self, given: Given) -> None:
        """Refuse rows that others may take that read alike: those with gaps.

        Raises:
            BadRows: there are such rows; it names every one of them.
        """
        if not given.tame:
            self.refuse(given.data)

    def sample(self) -> Given | None:
        """Return a row that may be nonsense but has the right form, or None where nobody knows that."""
        return None if self.count is None else Given(np.zeros((1, self.count)), 1, tame=True)

    def suspects(self, given: Given) -> list[int]:
        """Return the rows that the model may have refused for their missing values, which it alone knows to take."""
        if given.tame or self.missing is not None:
            return []
        return np.flatnonzero(np.isnan(given.data).any(axis=1)).tolist()

    def table(self, column: Any) -> np.ndarray:
        """Return the array of shape (n_rows, n_features) of a column: a list of rows, an array, or a dict of columns.

        Integers and truth values become float64, so that a row is the same alone and beside others. Numbers that are
        not finite may be left in it, for `refuse`.

        Raises:
            BadRows: some rows can't be; it names every one of them.
        """
        table = _numeric(column, self.count) if isinstance(column, np.ndarray) else None
        if table is None and isinstance(column, dict):
            table = self._stacked(cast("dict[Any, Any]", column))
        if table is None:
            rows = one_by_one(column)
            table = self._quickly(rows)
            table = self._carefully(rows) if table is None else table
        return table

    def _stacked(self, columns: dict[Any, Any]) -> np.ndarray | None:
        names = self.features
        if names is None or not self.knows(columns) or not columns.keys() >= set(names):
            return None
        parts = [columns[name] for name in names]
        if all(isinstance(part, np.ndarray) and part.ndim == 1 and part.dtype.kind in "fiub" for part in parts):
            return _as_float(np.column_stack(parts))
        return None

    def knows(self, names: Iterable[Any]) -> bool:
        """Return whether a row may have all of these features."""
        return self.extra is None or self._known().issuperset(names)

    def _known(self) -> frozenset[str]:
        return frozenset((*(self.features or ()), *(self.extra or ())))

    def _quickly(self, rows: list[Any]) -> np.ndarray | None:
        """Return the array of rows that are all dicts, or all sequences, of plain numbers."""
        kinds = set(map(type, rows))
        try:
            if kinds == {np.ndarray}:
                return _numeric(np.array(rows), self.count)
            width = self.count if self.count is not None else len(rows[0]) if rows else 0
            if kinds == {dict}:
                flat = self._by_name(rows)
            elif kinds <= _SEQUENCES and set(map(len, rows)) <= {width}:
                flat = list(chain.from_iterable(rows))
            else:
                return None
            found = None if flat is None else numbers(flat)
            return None if found is None else np.array(found, dtype=np.float64).reshape(len(rows), width)
        except (KeyError, TypeError, ValueError, OverflowError):  # whatever it is, reading row by row says it better
            return None

    def _by_name(self, rows: list[dict[Any, Any]]) -> list[Any] | None:
        if self.features is None:
            return None
        if self.extra is not None and not self.extra:
            if set(map(len, rows)) != {len(self.features)}:
                return None
        elif self.extra and not all(map(self._known().issuperset, rows)):
            return None
        values = map(_getter(self.features), rows)
        return list(values) if len(self.features) == 1 else list(chain.from_iterable(values))

    def _carefully(self, rows: list[Any]) -> np.ndarray:
        read: list[list[float]] = []
        errors: dict[int, Exception] = {}
        for i, row in enumerate(rows):
            try:
                read.append(self.read(row))
            except InputError as error:
                errors[i] = error.with_traceback(None)
        if errors:
            raise BadRows(errors)
        # Where nobody knows how many features there are, rows of different lengths fail here as a whole; the evaluator
        # then halves the column until each part is even, which is what every row would have got alone.
        return np.array(read, dtype=np.float64).reshape(len(rows), -1 if rows else self.count or 0)

    def read(self, row: Any) -> list[float]:
        """Return the numbers of one row in the order of the features.

        Raises:
            InputError: it is not a row of this model; the message says why.
        """
        return [self.number(value, at) for at, value in enumerate(self.values(row))]

    def values(self, row: Any) -> Sequence[Any]:
        """Return the values of one row in the order of the features, whatever they are.

        Raises:
            InputError: it does not have these features; the message says why.
        """
        row = row if is_plain(row) else as_row(row)
        return self._named(cast("Mapping[Any, Any]", row)) if isinstance(row, Mapping) else self._ordered(row)

    def _named(self, row: Mapping[Any, Any]) -> list[Any]:
        names = self.features
        if names is None:
            raise self._error(
                "the row names its features, but the model was fitted without names; "
                "pass features=[...] to model(), or give the values in order",
                expected=self.wanted(),
            )
        absent = [name for name in names if name not in row]
        known = self._known()
        others = [str(name) for name in row if name not in known]
        if others and self.extra is not None:
            hint = _hint(others[0], absent or names)
            raise self._error(
                f"unknown feature {reprlib.repr(others[0])}{hint}; it takes {listed(names)}",
                field=others[0][:100],
                expected=self.wanted(),
            )
        if absent:
            raise self._error(
                f"the row lacks {listed(absent)}{_meant(absent[0], others)}; it takes {listed(names)}",
                field=absent[0],
                expected="a finite number",
            )
        return [row[name] for name in names]

    def _ordered(self, row: Any) -> Sequence[Any]:
        if isinstance(row, np.ndarray) and row.ndim == 1:
            row = row.tolist()  # which gives None for what a masked array masks
        if isinstance(row, np.ndarray) or not isinstance(row, Sequence) or isinstance(row, str | bytes | bytearray):
            raise self._error(f"{_kind(row)} is not a row; a row is {self.wanted()}", expected=self.wanted())
        values = cast("Sequence[Any]", row)
        if any(isinstance(value, list | tuple | np.ndarray | Mapping) for value in values):
            raise self._error(
                f"the row holds rows or lists; a row is {self.wanted()}, and many rows go to predict_many()",
                expected=self.wanted(),
            )
        if self.count is not None and len(values) != self.count:
            named = f": {listed(self.features)}" if self.features else ""
            raise self._error(
                f"the row has {_counted(len(values), 'value')}, it takes {self.count}{named}", expected=self.wanted()
            )
        return values

    def number(self, value: Any, at: int) -> float:
        """Return the value of the feature at this place as a number.

        Raises:
            InputError: it is none, or the model does not take it.
        """
        if value is None:
            number = math.nan
        elif isinstance(value, Real | Decimal | np.bool_):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
        else:
            hint = "; write it without quotes" if isinstance(value, str) and _reads_as_number(value) else ""
            raise self.unfit(at, f"is {reprlib.repr(value)}, which is {_kind(value, short=True)} and no number{hint}")
        if not self._fits(number):
            raise self._not_finite(number, at)
        return number

    def _fits(self, number: float) -> bool:
        return math.isfinite(number) or (math.isnan(number) and self.missing is not False)

    def refuse(self, table: np.ndarray) -> None:
        """Refuse the rows with infinity, or with NaN where it is not taken.

        Raises:
            BadRows: there are such rows; it names every one of them.
        """
        wrong = ~np.isfinite(table) if self.missing is False else np.isinf(table)
        errors: dict[int, Exception] = {}
        for i in np.flatnonzero(wrong.any(axis=1)).tolist():
            at = int(wrong[i].argmax())
            errors[i] = self._not_finite(float(table[i, at]), at)
        if errors:
            raise BadRows(errors)

    def _not_finite(self, number: float, at: int) -> InputError:
        if math.isnan(number):
            return self.unfit(at, "is missing (NaN or null), and the model takes no missing values")
        return self.unfit(at, "is infinite, or too large for a 64-bit float")

    def refused(self, given: Given, why: str) -> InputError:
        """Return the error of one row with missing values that the model itself refused, saying `why`."""
        at = int(np.isnan(given.data[0]).argmax())
        return self.unfit(at, f"is missing (NaN or null), and the model does not take it: {why}")

    def unfit(self, at: int, what: str, expected: str = "") -> InputError:
        """Return the error of a row whose value at this place is not what the model takes."""
        expected = expected or ("a finite number" if self.missing is False else "a finite number or null")
        field = str(at) if self.features is None else self.features[at]
        return self._error(f"{self.feature(at)} {what}", field=field, expected=expected)

    def feature(self, at: int) -> str:
        """Name the feature at this place, as errors do."""
        return f"the value at position {at}" if self.features is None else f"feature {self.features[at]!r}"

    def wanted(self) -> str:
        """Return what a row is."""
        values = "numbers" if self.count is None else _counted(self.count, "number")
        named = "a dict of named features, or " if self.features else ""
        return f"{named}a list or 1-d array of {values}"

    def _error(self, what: str, field: str = "", expected: str = "") -> InputError:
        return InputError(f"model {self.model!r}: {what}", field, expected)


def is_tame(table: np.ndarray) -> bool:
    """Return whether every number is finite, and stays so where a model works in float32, as trees do."""
    flat = table.ravel()
    # One product over the numbers bounds them all, and is not a number where one of them is not: a quarter of the time.
    # OpenBLAS takes all cores for more than 10,000 numbers, whose threads then spin in the way of the model itself.
    if len(flat) <= 8192:
        tame = flat.dot(flat) < 1e76
    else:
        tame = all(part.dot(part) < 1e76 for part in (flat[at : at + 8192] for at in range(0, len(flat), 8192)))
    if tame:
        return True
    largest = 3.4e38
    return not table.size or bool(-largest <= table.min() and table.max() <= largest)


def _numeric(array: np.ndarray, count: int | None) -> np.ndarray | None:
    """Return the array as floats if it is a table of numbers with `count` columns."""
    if array.ndim != 2 or array.dtype.kind not in "fiub" or count not in (None, array.shape[1]):
        return None
    if isinstance(array, np.ma.MaskedArray):
        return np.asarray(_as_float(array).filled(np.nan))
    return _as_float(array)


def _as_float(array: Any) -> Any:
    return array if array.dtype.kind == "f" else array.astype(np.float64)


@lru_cache(maxsize=256)
def _getter(features: tuple[str, ...]) -> itemgetter[Any]:
    return itemgetter(*features)


def numbers(flat: list[Any]) -> list[Any] | None:
    """Return the values with NaN for None if all are numbers; numpy by itself would read strings as numbers."""
    kinds = set(map(type, flat))
    if NoneType in kinds:
        flat = [math.nan if value is None else value for value in flat]
        kinds.discard(NoneType)
    return flat if kinds <= _NUMBERS else None


def one_by_one(column: Any) -> list[Any]:
    """Return a column's rows one by one; those of a dict of columns are dicts."""
    if isinstance(column, dict):
        columns = cast("dict[Any, Any]", column)
        members = [one_by_one(each) for each in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*members, strict=True)]
    if isinstance(column, np.ndarray):
        return column.tolist() if column.ndim == 1 else list(column)
    return column if isinstance(column, list) else list(column)


def _hint(name: str, among: Sequence[str]) -> str:
    close = _close(name, tuple(among))
    return f" (did you mean {close!r}?)" if close else ""


def _meant(name: str, given: Sequence[str]) -> str:
    close = _close(name, tuple(given))
    return f" (it has {close!r})" if close else ""


@lru_cache(maxsize=64)
def _close(name: str, among: tuple[str, ...]) -> str | None:
    # Bounded and remembered, since names may come with a request, and all its rows may be wrong in the same way.
    found = difflib.get_close_matches(name[:100], [each[:100] for each in among[:32]], n=1)
    return found[0] if found else None


def listed(names: Sequence[Any], most: int = 12) -> str:
    """Return the first of the names, and how many more there are."""
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _kind(value: Any, *, short: bool = False) -> str:
    if value is None:
        return "None"
    if isinstance(value, np.ndarray) and not short:
        return f"an array of shape {value.shape}"
    name = type(value).__name__
    article = "an" if name[:1] in "aeiouAEIOU" else "a"
    return f"{article} {name}" if short else f"{reprlib.repr(value)} ({article} {name})"


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
