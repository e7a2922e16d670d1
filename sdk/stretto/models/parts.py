"""The parts of a fitted ensemble as vectorised functions: what reads its rows, each member, and what joins them.

What joins does what scikit-learn 1.6 to 1.9 does in the same place, with the same expressions, so that the answers are
the same: ``ensemble/_voting.py``, ``ensemble/_stacking.py``, ``pipeline.py``, ``compose/_column_transformer.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from stretto.models.estimator import Output
from stretto.models.input.numeric import Given, is_tame
from stretto.models.input.schema import Intake
from stretto.models.labels import Labels
from stretto.models.method import Method
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


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A fitted estimator over what another part made."""

    method: Method

    def __call__(self, column: Any) -> Any:
        """Return an answer a row."""
        if isinstance(column, dict):
            columns = cast("dict[str, Any]", column)
            return self.method(Given(columns, len(next(iter(columns.values())))))
        tame = isinstance(column, np.ndarray) and column.ndim == 2 and column.dtype.kind == "f" and is_tame(column)
        return self.method(Given(column, len(column), tame))


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """Some columns of a table, as a table; or with `single` one of them, as the values it holds."""

    places: tuple[int, ...]
    names: tuple[str, ...]
    single: bool = False

    def __call__(self, column: Any) -> Any:
        """Return the columns."""
        if not isinstance(column, dict):
            table = np.asarray(column)
            return table[:, self.places[0]] if self.single else table[:, list(self.places)]
        columns = cast("dict[str, Any]", column)
        return columns[self.names[0]] if self.single else {name: columns[name] for name in self.names}


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """The members' columns side by side, each times its weight."""

    weights: tuple[float | None, ...] = ()

    def __call__(self, said: dict[str, Any]) -> Any:
        """Return one table."""
        tables = [_table(each) for each in said.values()]
        if self.weights:
            tables = [
                table if weight is None else table * weight for table, weight in zip(tables, self.weights, strict=True)
            ]
        return np.hstack(tables)


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """The members' answers as features of the final estimator: of two probabilities that add up to one, the second."""

    drops: tuple[bool, ...]

    def __call__(self, said: dict[str, Any]) -> Any:
        """Return one table."""
        tables = [_table(each) for each in said.values()]
        drops = (*self.drops, *([False] * (len(tables) - len(self.drops))))
        return np.hstack([table[:, 1:] if drop else table for table, drop in zip(tables, drops, strict=True)])


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """The weighted mean of the members' numbers: of each row, or with `tables` of whole tables."""

    weights: tuple[float, ...] | None
    tables: bool = False

    def __call__(self, said: dict[str, Any]) -> Any:
        """Return the mean a row."""
        answers = np.asarray([np.asarray(each) for each in said.values()])
        if self.tables:
            return np.average(answers, axis=0, weights=self.weights)
        return np.average(answers.T, axis=1, weights=self.weights)


@dataclass(frozen=True, slots=True, eq=False)
class Most:
    """The place of the class that has most votes; of equal ones the first."""

    count: int
    weights: tuple[float, ...] | None

    def __call__(self, said: dict[str, Any]) -> Any:
        """Return the winner's place a row."""
        places = [np.asarray(each).astype(np.intp) for each in said.values()]
        rows = np.arange(len(places[0]))
        votes = np.zeros((len(rows), self.count))
        for place, weight in zip(places, self.weights or (1.0,) * len(places), strict=True):
            votes[rows, place] += weight
        return votes.argmax(axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Largest:
    """The place of the largest of a row's numbers."""

    def __call__(self, column: Any) -> Any:
        """Return the place a row."""
        return np.argmax(np.asarray(column), axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The class at each place: members of an ensemble are fitted on places."""

    classes: np.ndarray

    def __call__(self, column: Any) -> Any:
        """Return the class a row."""
        return self.classes[np.asarray(column).astype(np.intp)]


@dataclass(frozen=True, slots=True, eq=False)
class Saying:
    """The answers of an ensemble by the names its user gave the classes."""

    output: Output
    classes: tuple[Any, ...]
    labels: Labels | None

    def __call__(self, column: Any) -> Any:
        """Return the label a row, or the probabilities by label."""
        if self.output == "label_proba":
            table = np.asarray(column)
            return {str(label): table[:, at] for at, label in enumerate(self.classes)}
        return column if self.labels is None else self.labels.of(np.asarray(column))


def _table(column: Any) -> np.ndarray:
    """Return a column as a table; named columns of one length are its columns, a column of numbers is one."""
    if isinstance(column, dict):
        return np.column_stack([np.asarray(each) for each in cast("dict[str, Sequence[Any]]", column).values()])
    table = np.asarray(column)
    return table.reshape(-1, 1) if table.ndim == 1 else table
