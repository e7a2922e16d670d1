"""A node's value over a batch: rows with an outcome each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain
from typing import Any, Final, TypeAlias, cast

import numpy as np

from stretto.batch import arrays
from stretto.batch.arrays import Array
from stretto.batch.frames import Frame, are_plain
from stretto.errors import StrettoError
from stretto.plan.steps import InputReader

_NONE: Final[Mapping[int, StrettoError]] = {}


class Batch:
    """Rows, each with a value or an error.

    `values` holds the rows in one of three forms: a list; an array with a row along its first axis; or, after a
    fan-out, a dict of columns, which become dicts of values only where a row function or the answer needs them. Where
    rows of several forms come together it is a tuple of parts, each of one form: a vectorised function sees a row in
    the same form alone and among others. `errors` maps the failed rows to their errors; what `values` holds for those
    means nothing. `request` says that the values are the caller's own, so that a bad one is the caller's mistake.
    """

    __slots__ = ("_read", "errors", "request", "size", "values")

    def __init__(
        self,
        values: list[Any] | Array | dict[str, Batch] | tuple[Part, ...],
        size: int,
        errors: Mapping[int, StrettoError] | None = None,
        *,
        request: bool = False,
    ) -> None:
        self.values = values
        self.size = size
        self.errors: Mapping[int, StrettoError] = _NONE if errors is None else errors
        self.request = request
        self._read: dict[Hashable, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Batch, request=self.request), (self.values, self.size, self.errors)

    @classmethod
    def of(cls, rows: Sequence[Any] | np.ndarray, *, request: bool = False) -> Batch:
        """Return the batch of a list, an array or a frame of rows; tables of one row in a list keep their types."""
        if isinstance(rows, Frame):
            members = {name: Batch(each, rows.size, request=request) for name, each in rows.columns.items()}
            return cls(members, rows.size, request=request)
        if arrays.is_array(rows):
            return cls(cast("Array", rows), arrays.size(rows), request=request)
        listed = rows if isinstance(rows, list) else list(rows)
        return cls(listed, len(listed), request=request) if are_plain(listed) else _of_tables(listed, request)

    @classmethod
    def failed(cls, errors: Iterable[StrettoError]) -> Batch:
        """Return a batch in which every row failed."""
        errs = dict(enumerate(errors))
        return cls([None] * len(errs), len(errs), errs)

    @classmethod
    def pack(cls, names: tuple[str, ...], columns: Sequence[Batch], size: int) -> Batch:
        """Return the batch of dicts; a row in which a member failed fails as the first of them, in order, did."""
        errors: dict[int, StrettoError] = {}
        for column in reversed(columns):
            errors |= column.errors
        return cls(dict(zip(names, columns, strict=True)), size, errors)

    @classmethod
    def of_outcomes(cls, outcomes: Sequence[Any]) -> Batch:
        """Return the batch whose rows are these values or errors."""
        errors = {i: each for i, each in enumerate(outcomes) if isinstance(each, StrettoError)}
        return cls(outcomes if isinstance(outcomes, list) else list(outcomes), len(outcomes), errors)

    @classmethod
    def concat(cls, columns: Sequence[Batch]) -> Batch:
        """Return the rows of several batches as one."""
        starts = [0, *accumulate(column.size for column in columns)]
        return scatter(
            starts[-1], [(range(at, at + each.size), each) for at, each in zip(starts, columns, strict=False)], {}
        )

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows())

    def slice(self, start: int, stop: int) -> Batch:
        """Return the rows from `start` up to `stop`."""
        return self.take(range(start, stop))

    def take(self, rows: Sequence[int]) -> Batch:
        """Return the rows at these positions, in this order, with their errors."""
        values: Any = self.values
        if rows == range(self.size):
            return self
        errors = {at: self.errors[i] for at, i in enumerate(rows) if i in self.errors} if self.errors else {}
        if isinstance(values, tuple):
            return self._take_of_parts(rows, errors)
        if isinstance(values, dict):
            values = {key: column.take(rows) for key, column in cast("dict[str, Batch]", values).items()}
        elif isinstance(rows, range) and rows.step == 1:
            values = values[rows.start : rows.stop]
        else:
            values = [values[i] for i in rows] if isinstance(values, list) else arrays.take(values, rows)
        return Batch(values, len(rows), errors, request=self.request)

    def _take_of_parts(self, rows: Sequence[int], errors: Mapping[int, StrettoError]) -> Batch:
        taken: list[Part] = []
        for positions, column in cast("tuple[Part, ...]", self.values):
            place = {row: at for at, row in enumerate(positions)}
            new = [at for at, row in enumerate(rows) if row in place and at not in errors]
            taken += [(new, column.take([place[rows[at]] for at in new]))] if new else []
        return scatter(len(rows), taken, errors)

    @property
    def is_even(self) -> bool:
        """Whether all rows have one form."""
        values = self.values
        return type(values) is list or type(values) is np.ndarray or _form(self) is not None

    def parts(self) -> Sequence[Part]:
        """Return the rows by their form: positions, and the batch of those rows, which has one form."""
        values = self.values
        if isinstance(values, tuple):
            return values
        if isinstance(values, dict) and _form(self) is None:
            forms: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
            members = [column.parts() for column in values.values()]
            home = [{row: i for i, (rows, _) in enumerate(parts) for row in rows} for parts in members]
            for row in self.ok_rows():
                forms[tuple(each.get(row, 0) for each in home)].append(row)
            return [(rows, self.take(rows)) for rows in forms.values()]
        return [(range(self.size), self)]

    def from_request(self, row: int) -> bool:
        """Return whether the row's value is the caller's own."""
        if isinstance(self.values, tuple):
            return any(column.request for rows, column in self.values if row in rows)
        return self.request

    def ok_rows(self) -> Sequence[int]:
        """Return the positions of the rows that have not failed."""
        return [i for i in range(self.size) if i not in self.errors] if self.errors else range(self.size)

    def rows(self) -> list[Any]:
        """Return the rows' values as Python objects, None for those that failed."""
        values = self.values
        if isinstance(values, list):
            return values
        if isinstance(values, tuple):
            rows = [None] * self.size
            for positions, column in values:
                for at, value in zip(positions, column.rows(), strict=True):
                    rows[at] = value
            return rows
        if not isinstance(values, dict):
            return arrays.rows(values)
        return dicts(tuple(values), [column.rows() for column in values.values()], self.size)

    def data(self) -> Any:
        """Return what a vectorised function takes: a list, an array, or a dict of these, for rows of one form."""
        return self._given(arrays.plain)

    def _given(self, of_array: Callable[[Any], Any]) -> Any:
        values = self.values
        assert not isinstance(values, tuple)
        if isinstance(values, dict):
            return {key: column._given(of_array) for key, column in values.items()}
        return values if isinstance(values, list) else of_array(values)

    def read(self, reader: InputReader | None) -> Any:
        """Return `data`, or as a reader reads it: once for all readers with equal keys; errors are not kept."""
        if reader is None:
            return self.data()
        if self._read is None:
            self._read = {}
        key = reader.key
        if key not in self._read:
            # A reader gets the columns of a frame as they came.
            self._read[key] = reader.read(self.values if type(self.values) is list else self._given(_same))
        return self._read[key]

    def outcomes(self) -> list[Any]:
        """Return each row's value, or its error."""
        rows = self.rows()
        if not self.errors:
            return rows
        rows = list(rows)
        for i, error in self.errors.items():
            rows[i] = error
        return rows

    def with_errors(self, errors: Mapping[int, StrettoError]) -> Batch:
        """Return the same values with other errors."""
        return Batch(self.values, self.size, errors, request=self.request)


def dicts(names: tuple[str, ...], columns: Sequence[Sequence[Any]], size: int) -> list[Any]:
    """Return the rows of named columns, each a dict."""
    match names:
        case ():
            return [{} for _ in range(size)]
        case (a,):
            return [{a: x} for x in columns[0]]
        case (a, b):
            return [{a: x, b: y} for x, y in zip(*columns, strict=True)]
        case _:
            return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _of_tables(rows: list[Any], request: bool) -> Batch:
    """Return the batch of rows among which there may be frames and sparse tables of one row."""
    tables = tuple(kind for kind in set(map(type, rows)) if issubclass(kind, Frame | arrays.SparseTable))
    if not tables:
        return Batch(rows, len(rows), request=request)
    whole = [isinstance(row, tables) and arrays.size(row) == 1 for row in rows]
    parts = [([at], Batch.of(rows[at], request=request)) for at, table in enumerate(whole) if table]
    others = [at for at, table in enumerate(whole) if not table]
    if others:
        parts.append((others, Batch([rows[at] for at in others], len(others), request=request)))
    return scatter(len(rows), parts, {})


Part: TypeAlias = tuple[Sequence[int], Batch]
"""The positions of some rows, and the batch of those."""


def scatter(size: int, parts: Sequence[Part], errors: Mapping[int, StrettoError]) -> Batch:
    """Return the batch of parts at their positions; the other rows have failed with `errors`."""
    if len(parts) == 1 and not errors and len(parts[0][0]) == size:
        return parts[0][1]
    errors = dict(errors)
    forms: defaultdict[Hashable, list[Part]] = defaultdict(list)
    for positions, column in parts:
        for i, error in column.errors.items():
            errors[positions[i]] = error
        # The values of failed rows mean nothing, so a part in which all have failed has no form.
        if len(column.errors) < column.size:
            for rows, each in column.parts():
                forms[_form(each)].append(([positions[i] for i in rows], each))
    same = [(form, [at for rows, _ in some for at in rows], [each for _, each in some]) for form, some in forms.items()]
    match same:
        case []:
            return Batch([None] * size, size, errors)
        case [(_, positions, columns)]:
            values = _spread(size, positions, [each.values for each in columns])
            return Batch(values, size, errors, request=columns[0].request)
        case _:
            values = tuple((positions, Batch.concat(columns)) for _, positions, columns in same)
            return Batch(values, size, errors)


def _form(column: Batch) -> Hashable:
    """Return a value that is equal for batches whose rows fit in one; None for a batch of several forms."""
    values = column.values
    if isinstance(values, list):
        return column.request
    if isinstance(values, dict):
        members = tuple((key, _form(each)) for key, each in values.items())
        return None if any(form is None for _, form in members) else (column.request, members)
    return None if isinstance(values, tuple) else (column.request, arrays.form(values))


def _same(array: Any) -> Any:
    return array


def _spread(size: int, positions: list[int], values: Sequence[Any]) -> Any:
    """Return `size` rows with values of one form at these positions."""
    first = values[0]
    if isinstance(first, dict):
        keys = cast("dict[str, Batch]", first)
        return {
            key: Batch(_spread(size, positions, [each[key].values for each in values]), size, request=column.request)
            for key, column in keys.items()
        }
    joined = list(chain(*values)) if isinstance(first, list) else arrays.joined(values)
    if positions == list(range(size)):
        return joined
    if not isinstance(joined, list):
        return arrays.spread(joined, size, positions)
    spread: list[Any] = [None] * size
    for at, value in zip(positions, joined, strict=True):
        spread[at] = value
    return spread
