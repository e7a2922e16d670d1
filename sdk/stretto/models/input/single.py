"""Rows of a model without features: texts, dicts, labels, single numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from reprlib import repr as short
from typing import Any, Final, Self

import numpy as np

from stretto.batch.isolate import each_row
from stretto.errors import InputError
from stretto.models.input.column_types import Form
from stretto.models.input.reader import ModelInput, one_by_one

_EXPECTED: Final[dict[Form, str]] = {"text": "a text", "dict": "a dict", "number": "a number", "any": "a value"}


@dataclass(frozen=True, slots=True)
class SingleInput:
    """Reads rows of the model named `model`, each of which is one value of the given form."""

    model: str
    form: Form
    extra: frozenset[str] | None = frozenset()

    @property
    def features(self) -> None:
        """None: there are none."""
        return

    @property
    def key(self) -> Hashable:
        """Equal for readers that read alike."""
        return ("values", self.form)

    def accepting(self, extra: frozenset[str] | None) -> Self:
        """Return the reader with other `extra` names, which a value has no use for."""
        return replace(self, extra=extra)

    def read(self, batch: Any) -> ModelInput:
        """Return the values of a batch as a list, numbers as an array of shape (n_rows,).

        Raises:
            BadRows: rows are not what the model takes; it has the error of each.
        """
        if isinstance(batch, ModelInput):
            return batch
        values: list[Any] = each_row(one_by_one(batch), self.one).require()
        return ModelInput(np.array(values, dtype=np.float64) if self.form == "number" else values, len(values))

    def one(self, row: Any) -> Any:
        """Return the value of a row.

        Raises:
            InputError: it is of another form.
        """
        # The only column of a frame or a table, which an estimator of one value a row takes too.
        if self.form in ("number", "text") and isinstance(row, list | tuple | np.ndarray | Mapping) and len(row) == 1:
            row = next(iter(row.values())) if isinstance(row, Mapping) else row[0]
        if not self._fits(row):
            expected = _EXPECTED[self.form]
            raise InputError(f"model {self.model!r}: {short(row)} is not a row; a row is {expected}", "", expected)
        return row

    def _fits(self, row: Any) -> bool:
        match self.form:
            case "text":
                return isinstance(row, str)
            case "dict":
                return isinstance(row, Mapping)
            case "number":
                return isinstance(row, int | float | np.number)
            case "any":
                return row is not None

    def sample(self) -> ModelInput | None:
        """Return a made-up value of the right form."""
        rows: dict[Form, Any] = {"text": [""], "dict": [{}], "number": np.zeros(1)}
        return ModelInput(rows[self.form], 1) if self.form in rows else None

    def rejection(self, row: ModelInput, reason: str) -> InputError | None:
        """Return None: no value is missing."""
        return None
