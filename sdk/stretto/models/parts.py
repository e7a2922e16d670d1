"""The rows of a request as a model reads them, in a step of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stretto.models.input.numeric import Given
from stretto.models.input.schema import Intake
from stretto.plan.steps import Step


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Reads the rows of a request, once for all the parts: gives an array, or named columns."""

    schema: Intake

    @property
    def features(self) -> tuple[str, ...] | None:
        """The names of the features in order, where they are known."""
        return self.schema.features

    def __call__(self, column: Any) -> Any:
        """Return the rows as the estimator takes them.

        Raises:
            BadRows: some rows are not what it takes; it names every one of them.
        """
        given = column if isinstance(column, Given) else self.schema.given(column)
        self.schema.admit(given)
        return given.data

    def __repr__(self) -> str:
        return "rows"


def rows_step(schema: Intake) -> Step:
    """Return the step that reads the rows of a request."""
    key = ("rows", repr(schema))
    return Step(fn=Rows(schema), name="rows", vectorized=True, pure=True, key=key, reading=schema, named=False)
