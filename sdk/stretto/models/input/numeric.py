"""Rows of numbers as one array, without Python work per value."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final, Self, cast

import numpy as np

from stretto.batch.arrays import SparseTable, dense
from stretto.batch.isolate import each_row
from stretto.errors import BadRows, InputError
from stretto.models.input.reader import ModelInput, one_by_one
from stretto.models.input.row import RowFormat
from stretto.models.input.sorts import sort_of

_NUMBERS: Final = frozenset({float, int, bool, np.bool_, np.float64, np.float32, np.int64, np.int32, np.uint8})
LARGEST: Final = 3.4e38
"""About the largest number in float32, in which trees compute."""
_SEQUENCES: Final = frozenset({list, tuple, np.ndarray})


@dataclass(frozen=True, slots=True)
class NumericInput:
    """Reads rows of numbers as a float array of shape (n_rows, n_features).

    Integers and bools become float64, so that a row is the same alone and among others. `single` are the positions of
    the columns that a signature has as float32. `key` is equal for readers whose tables are equal: models differ in the
    missing values that they take.
    """

    row: RowFormat
    single: tuple[int, ...] = ()
    key: Hashable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        row = (self.row.features, self.row.count, self.row.extra, self.row.spare, self.row.blanks)
        object.__setattr__(self, "key", ("numbers", *row, self.single))

    @property
    def features(self) -> tuple[str, ...] | None:
        """The names of the features in order, where they are known."""
        return self.row.features

    @property
    def extra(self) -> frozenset[str] | None:
        """The names that a row may have beyond the features; None means any."""
        return self.row.extra

    def accepting(self, extra: frozenset[str] | None) -> Self:
        """Return the reader with other `extra` names."""
        return replace(self, row=replace(self.row, extra=extra))

    def read(self, batch: Any) -> ModelInput:
        """Return the table of a batch. It can't be written to, since other models may be called with it too.

        Raises:
            BadRows: rows are not what the model takes; it has the error of each.
        """
        if type(batch) is not ModelInput:
            batch = self._table(batch)
        if not batch.finite:
            self._check(batch.data)
        return batch

    def _table(self, batch: Any) -> ModelInput:
        if type(batch) is not list and isinstance(batch, SparseTable):
            if self.row.count not in (None, batch.shape[1]):
                # Each row has that many values, whatever they are: nothing is made of them.
                each_row([np.broadcast_to(0.0, batch.shape[1])] * batch.shape[0], self.one).require()
            return ModelInput(batch, batch.shape[0])
        table = self.table(batch)
        if self.single:
            table = self._as_single(table)
        if table is batch:  # the caller's own, who may go on writing to it
            table = table.view()
        table.setflags(write=False)
        return ModelInput(table, len(table), is_finite(table))

    def _as_single(self, table: np.ndarray) -> np.ndarray:
        """Return the table with float32 where the signature has it: all of it, or the values of some columns."""
        with np.errstate(over="ignore"):
            if len(self.single) == table.shape[1]:
                return table.astype(np.float32, copy=False)
            table = table.copy()
            table[:, self.single] = table[:, self.single].astype(np.float32)
        return table

    def table(self, batch: Any) -> np.ndarray:
        """Return the table of a batch. An array, or a dict of them, may have any numbers in it, which `read` checks.

        Raises:
            BadRows: rows are no rows of numbers; it has the error of each.
        """
        batch = self.row.used(batch)
        if isinstance(batch, np.ndarray | dict):
            columns = cast("dict[Any, Any] | np.ndarray", batch)
            table = self._of_columns(columns) if isinstance(columns, dict) else _floats(columns, self.row.count)
            if table is not None:
                return table
        rows = each_row(one_by_one(batch), self.one, self.many).require()
        if isinstance(rows, np.ndarray):
            return rows
        # Where the number of features is unknown, rows of several lengths raise here, and the engine splits the batch.
        return np.array(rows, dtype=np.float64).reshape(len(rows), -1 if rows else self.row.count or 0)

    def one(self, row: Any) -> list[float]:
        """Return the numbers of a row in the order of the features.

        Raises:
            InputError: it is not a row of this model.
        """
        numbers = [self.row.number(value, at) for at, value in enumerate(self.row.values(row))]
        if self.row.missing is False:
            for at, number in enumerate(numbers):
                if not math.isfinite(number):
                    raise self.row.not_finite(number, at)
        return numbers

    def many(self, rows: list[Any]) -> np.ndarray | None:
        """Return the table of rows that are all dicts, or all sequences, of numbers; None of other rows.

        Raises:
            BadRows: there is NaN or infinity in rows that must not have it.
        """
        table = self._together(rows)
        if table is not None and self.row.missing is False and not is_finite(table):
            self._check(table)
        return table

    def _together(self, rows: list[Any]) -> np.ndarray | None:
        count = self.row.count
        types = set(map(type, rows))
        if types == {np.ndarray}:
            return _floats(np.array(rows), count)
        width = count if count is not None else len(rows[0]) if rows else 0
        if types == {dict}:
            flat = self._by_name(rows)
        elif types <= _SEQUENCES and set(map(len, rows)) <= {width}:
            flat = list(chain.from_iterable(rows))
        else:
            return None
        numbers = None if flat is None else only_numbers(flat)
        return None if numbers is None else np.array(numbers, dtype=np.float64).reshape(len(rows), width)

    def _of_columns(self, columns: dict[Any, Any]) -> np.ndarray | None:
        features = self.row.features
        if features is None and columns and not any(isinstance(name, str) for name in columns):
            features = tuple(columns)  # by position, as scikit-learn takes columns whose names are numbers
            if self.row.count not in (None, len(features)):
                return None
        elif features is None or not self.row.allows(columns) or not columns.keys() >= set(features):
            return None
        arrays = [columns[name] for name in features]
        if all(isinstance(each, np.ndarray) and each.ndim == 1 and each.dtype.kind in "fiub" for each in arrays):
            return _as_float(np.column_stack(arrays))
        return None

    def _by_name(self, rows: list[dict[Any, Any]]) -> list[Any] | None:
        features, extra = self.row.features, self.row.extra
        if features is None:
            return None
        if extra is not None and not extra:
            if set(map(len, rows)) != {len(features)}:
                return None
        elif extra and not all(map(self.row.names.issuperset, rows)):
            return None
        values = map(_getter(features), rows)
        return list(values) if len(features) == 1 else list(chain.from_iterable(values))

    def _check(self, table: Any) -> None:
        if self.row.missing is not False:
            return  # the model alone decides
        if isinstance(table, SparseTable):
            if np.isfinite(cast("Any", table).data).all():
                return
            table = dense(table)
        wrong = ~np.isfinite(table)
        errors: dict[int, Exception] = {}
        for i in np.flatnonzero(wrong.any(axis=1)).tolist():
            at = int(wrong[i].argmax())
            errors[i] = self.row.not_finite(float(table[i, at]), at)
        if errors:
            raise BadRows(errors)

    def sample(self) -> ModelInput | None:
        """Return a row of zeros, or None where the number of features is unknown."""
        return None if self.row.count is None else ModelInput(np.zeros((1, self.row.count)), 1, finite=True)

    def rejection(self, row: ModelInput, reason: str) -> InputError | None:
        """Return the error of a row that the model refused, None if all of its numbers are finite, in float32 too."""
        numbers = np.asarray(dense(row.data) if isinstance(row.data, SparseTable) else row.data)[0]
        at = int(np.argmin(np.abs(numbers) <= LARGEST))
        if abs(numbers[at]) <= LARGEST:
            return None
        return self.row.rejected(at, reason) if np.isnan(numbers[at]) else self.row.too_large(at, reason)


def is_finite(table: np.ndarray) -> bool:
    """Return whether every number is finite, and still is in float32, in which trees compute."""
    flat = table.ravel()
    # The dot product bounds all numbers, and is NaN if one is: it takes a quarter of the time of np.isfinite. For more
    # than 10,000 numbers OpenBLAS would use all cores, and its threads spin for a while after. Of all products `vdot`
    # alone does not warn of the squares of large numbers, of float32 from 2e19 on.
    if len(flat) <= 8192:
        finite = float(np.vdot(flat, flat)) < 1e76
    else:
        parts = (flat[at : at + 8192] for at in range(0, len(flat), 8192))
        finite = all(float(np.vdot(part, part)) < 1e76 for part in parts)
    if finite:
        return True
    return not table.size or bool(table.min() >= -LARGEST and table.max() <= LARGEST)


def only_numbers(values: list[Any]) -> list[Any] | None:
    """Return the values with NaN for None if all are numbers; numpy would read strings as numbers too."""
    types = set(map(type, values))
    if types <= _NUMBERS:
        return values
    missing = {each for each in types - _NUMBERS if sort_of(each) == "missing"}
    if missing:
        values = [math.nan if type(value) in missing else value for value in values]
        types -= missing
    return values if types <= _NUMBERS else None


def _floats(array: np.ndarray, count: int | None) -> np.ndarray | None:
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
