"""A node's value over a batch: rows with an outcome each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from stretto.errors import StrettoError

type_of_rows = (list, np.ndarray)


class Column:
    """Rows, each with a value or an error.

    `values` holds the rows in one of three forms: a list; an array with a row along its first axis; or, after a
    fan-out, a dict of columns, which become dicts of values only where a row function or the answer needs them.
    `errors` maps the failed rows to their errors; what `values` holds for those means nothing. `request` says that the
    values are the caller's own, so that a bad one is the caller's mistake.
    """

    __slots__ = ("errors", "request", "size", "values")

    def __init__(
        self,
        values: list[Any] | np.ndarray | dict[str, Column],
        size: int,
        errors: Mapping[int, StrettoError] | None = None,
        *,
        request: bool = False,
    ) -> None:
        self.values = values
        self.size = size
        self.errors: Mapping[int, StrettoError] = errors if errors is not None else {}
        self.request = request

    @classmethod
    def of(cls, rows: Sequence[Any] | np.ndarray, *, request: bool = False) -> Column:
        """Give the column of a list or array of rows."""
        return cls(rows if isinstance(rows, type_of_rows) else list(rows), len(rows), request=request)

    @classmethod
    def failed(cls, errors: Iterable[StrettoError]) -> Column:
        """Give a column in which every row failed."""
        errs = dict(enumerate(errors))
        return cls([None] * len(errs), len(errs), errs)

    @classmethod
    def pack(cls, names: tuple[str, ...], columns: Sequence[Column], size: int) -> Column:
        """Give the dict of columns; a row in which a member failed fails as the first of them, in order, did."""
        errors: dict[int, StrettoError] = {}
        for column in reversed(columns):
            errors |= column.errors
        return cls(dict(zip(names, columns, strict=True)), size, errors)

    @classmethod
    def of_outcomes(cls, outcomes: Sequence[Any]) -> Column:
        """Give the column whose rows are values or errors."""
        errors = {i: each for i, each in enumerate(outcomes) if isinstance(each, StrettoError)}
        return cls(outcomes if isinstance(outcomes, list) else list(outcomes), len(outcomes), errors)

    @classmethod
    def concat(cls, columns: Sequence[Column]) -> Column:
        """Give the rows of several columns as one."""
        if len(columns) == 1:
            return columns[0]
        size, errors = 0, dict[int, StrettoError]()
        for column in columns:
            if column.errors:
                errors |= {size + i: error for i, error in column.errors.items()}
            size += column.size
        request = all(column.request for column in columns)
        firsts = [column.values for column in columns]
        keys = firsts[0].keys() if isinstance(firsts[0], dict) else None
        values: Any
        if keys is not None and all(isinstance(each, dict) and each.keys() == keys for each in firsts):
            values = {key: cls.concat([cast("dict[str, Column]", each)[key] for each in firsts]) for key in keys}
        elif all(isinstance(each, np.ndarray) for each in firsts) and _alike(cast("list[np.ndarray]", firsts)):
            values = np.concatenate(cast("list[np.ndarray]", firsts))
        else:
            values = [row for column in columns for row in column.rows()]
        return cls(values, size, errors, request=request)

    def part(self, start: int, stop: int) -> Column:
        """Give the rows from `start` up to `stop`."""
        values = self.values
        some = {k: c.part(start, stop) for k, c in values.items()} if isinstance(values, dict) else values[start:stop]
        errors = {i - start: error for i, error in self.errors.items() if start <= i < stop} if self.errors else {}
        return Column(some, stop - start, errors, request=self.request)

    def take(self, rows: Sequence[int]) -> Column:
        """Give the rows at these positions, in this order, with their errors."""
        values: Any = self.values
        if isinstance(values, dict):
            values = {key: column.take(rows) for key, column in cast("dict[str, Column]", values).items()}
        elif isinstance(values, np.ndarray):
            values = values[np.asarray(rows, dtype=np.intp)]
        else:
            values = [values[i] for i in rows]
        errors = {at: self.errors[i] for at, i in enumerate(rows) if i in self.errors} if self.errors else {}
        return Column(values, len(rows), errors, request=self.request)

    def fine(self) -> Sequence[int]:
        """Give the positions of the rows that have not failed."""
        return [i for i in range(self.size) if i not in self.errors] if self.errors else range(self.size)

    def rows(self) -> list[Any]:
        """Give the rows' values as Python objects, None for those that failed."""
        values = self.values
        if isinstance(values, list):
            return values
        if isinstance(values, np.ndarray):
            return values.tolist() if values.ndim == 1 else list(values)
        if not values:
            return [{} for _ in range(self.size)]
        names = list(values)
        members = [column.rows() for column in values.values()]
        match names:
            case [a]:
                return [{a: x} for x in members[0]]
            case [a, b]:
                return [{a: x, b: y} for x, y in zip(*members, strict=True)]
            case _:
                return [dict(zip(names, row, strict=True)) for row in zip(*members, strict=True)]

    def data(self) -> Any:
        """Give what a vectorised function takes: a list, an array, or a dict of these."""
        values = self.values
        return {key: column.data() for key, column in values.items()} if isinstance(values, dict) else values

    def outcomes(self) -> list[Any]:
        """Give each row's value, or its error."""
        rows = self.rows()
        if not self.errors:
            return rows
        rows = list(rows)
        for i, error in self.errors.items():
            rows[i] = error
        return rows

    def with_errors(self, errors: Mapping[int, StrettoError]) -> Column:
        """Give the same values with other errors."""
        return Column(self.values, self.size, errors, request=self.request)


def scatter(size: int, parts: Sequence[tuple[Sequence[int], Column]], errors: Mapping[int, StrettoError]) -> Column:
    """Put columns together whose rows belong at the given positions; the other rows have failed with `errors`."""
    if len(parts) == 1 and not errors and len(parts[0][0]) == size:
        return parts[0][1]
    values: list[Any] = [None] * size
    errors = dict(errors)
    for positions, column in parts:
        for at, value in zip(positions, column.rows(), strict=True):
            values[at] = value
        for i, error in column.errors.items():
            errors[positions[i]] = error
    return Column(values, size, errors)


def _alike(arrays: list[np.ndarray]) -> bool:
    return all(each.dtype == arrays[0].dtype and each.shape[1:] == arrays[0].shape[1:] for each in arrays)
