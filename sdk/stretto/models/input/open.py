"""Rows of a model of which nobody knows what it takes: they are passed on as they came."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np

from stretto.batch import arrays
from stretto.batch.isolate import UnlikeError
from stretto.errors import InputError
from stretto.models.input.columns import natural
from stretto.models.input.reader import ModelInput, one_by_one
from stretto.models.input.row import RowFormat


@dataclass(frozen=True, slots=True)
class OpenInput:
    """Passes rows on as they came: columns of a frame and dicts as a data frame, arrays as arrays, others as a list.

    The columns of dicts have the types that a data frame made of them has.
    """

    row: RowFormat

    @property
    def features(self) -> None:
        """None: they are unknown."""
        return

    @property
    def extra(self) -> frozenset[str] | None:
        """None: no names are known, so any may be there."""
        return None

    @property
    def key(self) -> Hashable:
        """Equal for readers that read alike: all of them."""
        return ("open",)

    def accepting(self, extra: frozenset[str] | None) -> Self:
        """Return the reader: there are no names that it would refuse."""
        return replace(self)

    def read(self, batch: Any) -> ModelInput:
        """Return the rows of a batch in the form that they have.

        Raises:
            UnlikeError: they have several forms.
        """
        if isinstance(batch, ModelInput):
            return batch
        if arrays.is_array(batch):
            return ModelInput(batch, arrays.size(batch))
        if isinstance(batch, dict):
            columns = cast("dict[Any, Any]", batch)
            frame = {
                name: each if arrays.is_array(each) else natural(one_by_one(each)) for name, each in columns.items()
            }
            return ModelInput(frame, arrays.size(next(iter(frame.values()))) if frame else 0)
        return self._listed(cast("list[Any]", batch))

    def _listed(self, rows: list[Any]) -> ModelInput:
        forms = list(map(_form, rows))
        if len(set(forms)) > 1:
            raise UnlikeError(forms)
        match forms[0] if forms else None:
            case ("named", *names):
                return ModelInput({name: natural([row[name] for row in rows]) for name in names}, len(rows))
            case ("table", *_):
                table = np.array(rows) if all(map(arrays.is_array, rows)) else _table(rows)
                return ModelInput(table, len(rows))
            case _:
                return ModelInput(rows, len(rows))

    def sample(self) -> ModelInput | None:
        """Return None: nobody knows what a row looks like."""
        return None

    def rejection(self, row: ModelInput, reason: str) -> InputError | None:
        """Return None: nothing is known against any value."""
        return None


def _form(row: Any) -> tuple[Any, ...]:
    if isinstance(row, Mapping):
        return ("named", *cast("Mapping[Any, Any]", row))
    if isinstance(row, list | tuple | np.ndarray):
        return ("table", len(cast("list[Any]", row)), isinstance(row, np.ndarray) and row.dtype)
    return ("value",)


def _table(rows: list[Any]) -> np.ndarray:
    """Return rows as an array: of numbers, with NaN for None, or of objects."""
    columns = [natural(list(values)) for values in zip(*rows, strict=True)]
    if all(isinstance(each, np.ndarray) and each.dtype.kind in "iufb" for each in columns):
        return np.column_stack(cast("list[np.ndarray]", columns))
    table = np.empty((len(rows), len(columns)), dtype=object)
    for at, row in enumerate(rows):
        table[at, :] = row
    return table
