"""Rows some of whose features are no numbers: columns of one type each."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Self, cast

import numpy as np

from stretto.batch.arrays import SparseTable, dense
from stretto.batch.isolate import UnlikeError, each_row
from stretto.errors import BadRows, InputError
from stretto.models.input.columns import AnyColumn, ColumnInput
from stretto.models.input.reader import ModelInput, one_by_one, rows_of
from stretto.models.input.row import RowFormat, by_text


@dataclass(frozen=True, slots=True)
class MixedInput:
    """Reads rows whose columns have different types.

    With `frame` the model gets the columns by these names, the ones that it was fitted with, else as one array. `key`
    is equal for readers that read alike.
    """

    row: RowFormat
    columns: tuple[ColumnInput, ...]
    frame: tuple[Any, ...] | None
    key: Hashable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        types = repr([(type(column).__name__, column.type, getattr(column, "column", None)) for column in self.columns])
        row = (self.row.features, self.row.count, self.row.extra, self.row.spare, self.row.blanks)
        object.__setattr__(self, "key", ("mixed", *row, types, self.frame))

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
        """Return the columns of a batch by name, or as one array.

        Raises:
            BadRows: rows are not what the model takes; it has the error of each.
            UnlikeError: rows would change the types of one another's columns.
        """
        if isinstance(batch, ModelInput):
            return batch
        batch = self.row.used(batch)
        if isinstance(batch, SparseTable):
            if self.frame is None and batch.shape[1] == len(self.columns):
                return ModelInput(batch, batch.shape[0])  # the model alone decides what it makes of it
            batch = dense(batch)
        rows = each_row(rows_of(batch), self.one, lambda _: self.many(batch)).require()
        return rows if isinstance(rows, ModelInput) else cast("ModelInput", self._joined(self._transposed(rows)))

    def one(self, row: Any) -> list[Any]:
        """Return the values of a row in the order of the features.

        Raises:
            InputError: it is not a row of this model.
        """
        if isinstance(row, Mapping) and self.features is not None:
            named = self.row.named(cast("Mapping[Any, Any]", row))
            row = {**dict.fromkeys(set(self.features).difference(self._used)), **named}
        values = self.row.values(row)
        return [column.one(value) for column, value in zip(self.columns, values, strict=True)]

    def many(self, batch: Any) -> ModelInput | None:
        """Return the columns of a dict of them, or of rows that are all dicts or all sequences."""
        names = self.features
        if isinstance(batch, dict) and names is not None:
            columns = by_text(cast("dict[Any, Any]", batch))
            size = len(next(iter(columns.values()), ()))
            if self.row.allows(columns) and all(name in columns for name in self._used):
                return self._joined([columns[name] if name in columns else [None] * size for name in names])
        if isinstance(batch, dict) and names is None and not any(isinstance(each, str) for each in batch):
            return self._joined(list(cast("dict[Any, Any]", batch).values()))  # by position, as in scikit-learn
        table = _table_of(batch)
        if table is not None and table.shape[1] == len(self.columns):
            return self._of_table(table)
        rows = one_by_one(batch)
        if names is not None and set(map(type, rows)) == {dict}:
            if self.extra is not None and not all(map(self.row.names.issuperset, rows)):
                return None
            values = list(map(itemgetter(*names), rows))
            return self._joined([values] if len(names) == 1 else self._transposed(values))
        return self._joined(self._transposed(list(map(self.row.values, rows))))

    def _of_table(self, table: np.ndarray) -> ModelInput | None:
        """Return a table of the caller's own with the types of its columns; as it is where nothing is known of them."""
        if self.frame is None and all(type(column) is AnyColumn for column in self.columns):
            table = table.view()
            table.setflags(write=False)
            return ModelInput(table, len(table))
        return self._joined([each.tolist() if table.dtype == object else each for each in table.T])

    def _transposed(self, rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
        return list(zip(*rows, strict=True)) or [()] * len(self.columns)

    @property
    def _used(self) -> list[str]:
        return [self.row.features[column.at] for column in self.columns if column.used] if self.row.features else []

    def _joined(self, columns: Sequence[Any]) -> ModelInput | None:
        """Return the columns as the model takes them, None where a value is wrong."""
        arrays = [column.many(values) for column, values in zip(self.columns, columns, strict=True)]
        if any(array is None for array in arrays):
            return None
        size = len(arrays[0])
        if self.frame is not None:
            return ModelInput(dict(zip(self.frame, arrays, strict=True)), size)
        kinds = {array.dtype.kind if isinstance(array, np.ndarray) else "O" for array in arrays}
        if kinds <= set("iufb") or (len(kinds) == 1 and kinds <= set("USmM")):
            table = np.column_stack(arrays)
        else:
            table = np.empty((size, len(arrays)), dtype=object)
            for at, array in enumerate(arrays):
                table[:, at] = array
        table.flags.writeable = False
        return ModelInput(table, size)

    def sample(self) -> ModelInput | None:
        """Return a made-up row of the right types."""
        return self._joined([[column.sample] for column in self.columns])

    def check_known(self, rows: ModelInput) -> None:
        """Check that the estimator is not known to refuse a row: for a value that a strict encoder was not fitted on.

        Raises:
            BadRows: it has the error of each row.
        """
        errors: dict[int, Exception] = {}
        for column in () if isinstance(rows.data, SparseTable) else self.columns:
            if column.type.known is not None and column.used:
                data = rows.data[self.frame[column.at]] if self.frame is not None else rows.data[:, column.at]
                for i, value in enumerate(one_by_one(data)):
                    refused = column.refusal(value, "") if i not in errors else None
                    if refused is not None:
                        errors[i] = refused
        if errors:
            raise BadRows(errors)

    def rejection(self, row: ModelInput, reason: str) -> InputError | None:
        """Return the error of a row that the model refused, None if nothing is known against its values."""
        data = dense(row.data) if isinstance(row.data, SparseTable) else row.data
        values = [column[0] for column in data.values()] if isinstance(data, dict) else list(data[0])
        refusals = (column.refusal(value, reason) for value, column in zip(values, self.columns, strict=True))
        return next((each for each in refusals if each is not None), None)


def _table_of(batch: Any) -> np.ndarray | None:
    """Return a batch as one table where it is one, or is rows of one; None where it is neither.

    Raises:
        UnlikeError: the rows are of tables of several types.
    """
    if isinstance(batch, np.ndarray):
        return batch if batch.ndim == 2 else None
    if not isinstance(batch, list) or {np.ndarray} != set(map(type, cast("list[Any]", batch))):
        return None
    rows = cast("list[np.ndarray]", batch)
    if any(row.shape != rows[0].shape or row.ndim != 1 for row in rows):
        return None
    kinds = [row.dtype for row in rows]
    if len(set(kinds)) > 1:
        raise UnlikeError(kinds)
    return np.array(rows)
