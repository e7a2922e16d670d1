"""The rows of a model that takes no features: texts, dicts, labels, single numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

import numpy as np

from stretto.errors import BadRows, InputError
from stretto.models.input.kinds import Form
from stretto.models.input.numeric import Given, one_by_one

_EXPECTED: dict[Form, str] = {"text": "a text", "dict": "a dict", "number": "a number", "any": "a value"}


@dataclass(frozen=True, slots=True)
class Values:
    """What the rows of the model named `model` look like where each is one value of the given form."""

    model: str
    form: Form
    extra: frozenset[str] | None = frozenset()

    @property
    def features(self) -> None:
        """None: there are none."""
        return

    @property
    def key(self) -> Hashable:
        """Equal for those that read rows alike."""
        return ("values", self.form)

    def given(self, column: Any) -> Given:
        """Return the rows of a column for the model, as a list or an array.

        Raises:
            BadRows: some rows are not what the model takes; it names every one of them.
        """
        rows = [row[0] if self._alone(row) else row for row in one_by_one(column)]
        errors: dict[int, Exception] = {i: self._error(row) for i, row in enumerate(rows) if not self._fits(row)}
        if errors:
            raise BadRows(errors)
        return Given(np.array(rows, dtype=np.float64) if self.form == "number" else rows, len(rows))

    def admit(self, given: Given) -> None:
        """Refuse nothing: all that is wrong was seen as the rows were read."""

    def sample(self) -> Given | None:
        """Return a row that may be nonsense but has the right form."""
        rows: dict[Form, Given] = {"text": Given([""], 1), "dict": Given([{}], 1), "number": Given(np.zeros(1), 1)}
        return rows.get(self.form)

    def suspects(self, given: Given) -> list[int]:
        """Return no rows: nothing is missing in a value."""
        return []

    def refused(self, given: Given, why: str) -> InputError:
        """Return the error of a row that the model refused."""
        raise AssertionError("no row is suspect")

    def _alone(self, row: Any) -> bool:
        # An array of shape (n_rows, 1), as an estimator of one number takes it too.
        return self.form == "number" and isinstance(row, list | tuple | np.ndarray) and len(row) == 1

    def _fits(self, row: Any) -> bool:
        match self.form:
            case "text":
                return isinstance(row, str)
            case "dict":
                return isinstance(row, Mapping)
            case "number":
                return isinstance(row, int | float | np.number) and bool(np.isfinite(row))
            case "any":
                return row is not None

    def _error(self, row: Any) -> InputError:
        expected = _EXPECTED[self.form]
        return InputError(f"model {self.model!r}: {short(row)} is not a row; a row is {expected}", "", expected)
