"""The rows of a model some of whose features are no numbers: named columns, each of one type."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from operator import itemgetter
from reprlib import repr as short
from typing import Any, cast

import numpy as np

from stretto.errors import BadRows, InputError
from stretto.models.input.kinds import Kind
from stretto.models.input.numeric import Given, Schema, listed, numbers, one_by_one

_ATOMS = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Mixed:
    """What the rows of a model look like whose columns have `kinds`; `schema` says which they are.

    With `frames` the model gets its columns by the names it was fitted with, else as an array.
    """

    schema: Schema
    kinds: tuple[Kind, ...]
    frames: tuple[str, ...] | None

    @property
    def features(self) -> tuple[str, ...] | None:
        """The names of the features in order, where they are known."""
        return self.schema.features

    @property
    def extra(self) -> frozenset[str] | None:
        """The features a row may have beyond its own; None means any."""
        return self.schema.extra

    @property
    def key(self) -> Hashable:
        """Equal for those that read rows alike."""
        return ("mixed", self.schema.key, repr(self.kinds), self.frames)

    def given(self, column: Any) -> Given:
        """Return the rows of a column for the model: arrays by name, or one array.

        Raises:
            BadRows: some rows are not what the model takes; it names every one of them.
        """
        columns, size = self._columns(column)
        errors: dict[int, Exception] = {}
        arrays = [self._array(at, values, errors) for at, values in enumerate(columns)]
        if errors:
            raise BadRows(dict(sorted(errors.items())))
        return self._given(arrays, size)

    def admit(self, given: Given) -> None:
        """Refuse nothing: all that is wrong was seen as the rows were read."""

    def sample(self) -> Given | None:
        """Return a row that may be nonsense but has the right form."""
        values = [
            kind.known[0] if kind.known else "" if kind.holds in ("object", "text") else 0.0 for kind in self.kinds
        ]
        return self._given([self._array(at, [value], {}) for at, value in enumerate(values)], 1)

    def suspects(self, given: Given) -> list[int]:
        """Return the rows that the model may have refused for their missing values, which it alone knows to take."""
        columns = given.data.values() if isinstance(given.data, dict) else [given.data]
        return sorted({int(i) for each in columns for i in np.argwhere(_missing(each))[:, 0]})

    def refused(self, given: Given, why: str) -> InputError:
        """Return the error of one row with missing values that the model itself refused, saying `why`."""
        row = [each[0] for each in given.data.values()] if isinstance(given.data, dict) else given.data[0]
        gaps = (at for at, value in enumerate(row) if value is None or value != value)
        used = next(at for at in gaps if self.kinds[at].holds != "unused")
        return self.schema.unfit(used, f"is missing (NaN or null), and the model does not take it: {why}")

    def _columns(self, column: Any) -> tuple[Sequence[Any], int]:
        names = self.features
        if isinstance(column, dict) and names is not None:
            given = cast("dict[Any, Any]", column)
            size = len(next(iter(given.values()), ()))
            if self.schema.knows(given) and all(name in given for name in self._needed()):
                return [_listed(given.get(name, [None] * size)) for name in names], size
        rows = one_by_one(column)
        if set(map(type, rows)) == {dict} and names is not None and all(map(self.schema.knows, rows)):
            try:
                found = list(map(itemgetter(*names), rows))
                return ([found] if len(names) == 1 else list(zip(*found, strict=True))), len(rows)
            except KeyError:
                pass
        return list(zip(*self._one_by_one(rows), strict=True)) or [()] * len(self.kinds), len(rows)

    def _needed(self) -> list[str]:
        return [name for name, kind in zip(self.features or (), self.kinds, strict=False) if kind.holds != "unused"]

    def _one_by_one(self, rows: list[Any]) -> list[Sequence[Any]]:
        optional = dict.fromkeys(set(self.features or ()).difference(self._needed()))
        read: list[Sequence[Any]] = []
        errors: dict[int, Exception] = {}
        for i, row in enumerate(rows):
            try:
                read.append(self.schema.values({**optional, **row} if isinstance(row, Mapping) else row))
            except InputError as error:
                errors[i] = error.with_traceback(None)
        if errors:
            raise BadRows(errors)
        return read

    def _array(self, at: int, values: Sequence[Any], errors: dict[int, Exception]) -> np.ndarray:
        """Return a column of one type, and note which of its rows can't be in it."""
        kind = self.kinds[at]
        if kind.holds == "unused":
            return np.full(len(values), np.nan)
        found = None if kind.holds in ("object", "text") else numbers(list(values))
        if found is not None:
            with suppress(OverflowError):  # of an integer past all floats, which the slow way names
                return self._numbers(at, np.array(found, dtype=np.float64), errors)
        if found is not None or kind.holds == "number":
            return self._numbers(at, np.array(self._each(self._number, at, values, errors)), errors)
        array = np.empty(len(values), dtype=object)
        array[:] = self._each(self._text if kind.holds == "text" else self._object, at, values, errors)
        if kind.holds == "any" and any(numbers([value]) is not None for value in values if value is not None):
            # A row must be the same alone and beside others: the evaluator halves the column until each part is even.
            raise ValueError(f"{self.schema.feature(at)} holds numbers and other values")
        return array

    def _each(self, read: Any, at: int, values: Sequence[Any], errors: dict[int, Exception]) -> list[Any]:
        found: list[Any] = []
        for i, value in enumerate(values):
            try:
                found.append(read(value, at))
            except InputError as error:
                errors.setdefault(i, error.with_traceback(None))
                found.append(np.nan)
        return found

    def _numbers(self, at: int, array: np.ndarray, errors: dict[int, Exception]) -> np.ndarray:
        known = self.kinds[at].known
        for i in np.flatnonzero(np.isinf(array)).tolist():
            errors.setdefault(i, self.schema.unfit(at, "is infinite, or too large for a 64-bit float"))
        if known is not None:
            taken = np.isin(array, np.array(known, dtype=np.float64)) | (np.isnan(array) & _has_missing(known))
            for i in np.flatnonzero(~taken).tolist():
                errors.setdefault(i, self._unseen(at, array[i].item(), known))
        return array

    def _number(self, value: Any, at: int) -> float:
        return self.schema.number(value, at)

    def _text(self, value: Any, at: int) -> str:
        if not isinstance(value, str):
            raise self.schema.unfit(at, f"is {short(value)}, which is no text", "a text")
        return value

    def _object(self, value: Any, at: int) -> Any:
        kind = self.kinds[at]
        if value is None or value != value:
            value = kind.missing
            if kind.known is not None and not _has_missing(kind.known):
                raise self.schema.unfit(
                    at, "is missing (NaN or null), and the model takes no missing values", "a value"
                )
        elif type(value) not in _ATOMS and isinstance(value, dict | list | tuple | set | np.ndarray):
            raise self.schema.unfit(at, f"is {short(value)}, which is no single value", "a string or a number")
        elif kind.known is not None and value not in kind.known:
            raise self._unseen(at, value, kind.known)
        return value

    def _unseen(self, at: int, value: Any, known: tuple[Any, ...]) -> InputError:
        seen = [each for each in known if each is not None and each == each]
        said = f"is {short(value)}, which the model has never seen; it knows {listed(seen)}"
        return self.schema.unfit(at, said, f"one of {listed(seen)}")

    def _given(self, arrays: list[np.ndarray], size: int) -> Given:
        if self.frames is not None:
            columns = zip(self.frames, arrays, self.kinds, strict=True)
            return Given({name: _category(each, kind) if kind.category else each for name, each, kind in columns}, size)
        if all(array.dtype.kind == "f" for array in arrays):
            table = np.column_stack(arrays)
        else:
            table = np.empty((size, len(arrays)), dtype=object)
            for at, array in enumerate(arrays):
                table[:, at] = array
        table.flags.writeable = False
        return Given(table, size)


def _category(array: np.ndarray, kind: Kind) -> Any:
    values = [each for each in kind.known or () if each == each]
    return import_module("pandas").Categorical(array, categories=values)


def _listed(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


def _has_missing(known: tuple[Any, ...]) -> bool:
    return any(each is None or each != each for each in known)


def _missing(array: Any) -> np.ndarray:
    values = np.asarray(array)
    return (values != values) | np.equal(values, cast("Any", None)) if values.dtype == object else np.isnan(values)


__all__ = ["Mixed"]
