"""How sure an answer is: the tests by which a cascade lets a row stay."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from stretto.errors import BadRows, PipelineError
from stretto_composers._columns import rows_of
from stretto_composers._numbers import number

ROUNDING = 1e-6
"""How far probabilities may be outside of 0 to 1, as float32 leaves them."""


@runtime_checkable
class Test(Protocol):
    """Says how sure answers are, on a scale from 0 to 1, and which label each means.

    `least` is how sure an answer must be to stay.
    """

    @property
    def least(self) -> float: ...

    def read(self, column: Any, classes: Sequence[Any] | None = None) -> tuple[np.ndarray, list[Any]]:
        """Return how sure each row of a tier's answers is, and its label; `classes` name them where they are known.

        Raises:
            BadRows: some rows are not answers this test can read.
        """
        ...


def confidence(least: float) -> Confidence:
    """Return the test that the largest probability of a tier's answer is at least `least`.

    The tier answers probabilities: a dict of label to probability, as ``model(..., output="label_proba")`` gives, or an
    array of them, as ``output="proba"`` does. Whatever else arrives fails the row.

    Raises:
        PipelineError: `least` is no number from 0 to 1.

    >>> confidence(0.9)
    confidence(0.9)
    """
    return Confidence(_share("confidence", least))


def agreement(least: float) -> Agreement:
    """Return the test that of a tier's members at least the share `least` says the same label.

    The tier is a fan-out of labels, as in ``parallel(a, b, c)``. Whatever else arrives fails the row.

    Raises:
        PipelineError: `least` is no number from 0 to 1.

    >>> agreement(2 / 3).read({"a": ["x", "x"], "b": ["x", "y"], "c": ["y", "z"]})[0] >= 2 / 3
    array([ True, False])
    """
    return Agreement(_share("agreement", least))


def _share(name: str, least: Any) -> float:
    share = number(least)
    if share is None or not 0 <= share <= 1:
        raise PipelineError(f"{name}({least!r}): the threshold is a number from 0 to 1")
    return share


@dataclass(frozen=True)
class Confidence:
    """Reads probabilities: how sure an answer is, is the largest of them."""

    least: float

    def __repr__(self) -> str:
        return f"confidence({self.least!r})"

    def read(self, column: Any, classes: Sequence[Any] | None = None) -> tuple[np.ndarray, list[Any]]:
        """Return the largest probability of each row, and its label; of equal ones the first, as scikit-learn does."""
        table = _table(column)
        if table is None:
            return self._row_by_row(column, classes)
        wrong = ~((table >= -ROUNDING) & (table <= 1 + ROUNDING)).all(axis=1)
        if wrong.any():
            raise BadRows({int(i): _no_probabilities(table[i].tolist()) for i in np.flatnonzero(wrong)})
        best = table.argmax(axis=1)
        known = classes or (list(column) if isinstance(column, dict) else range(table.shape[1]))
        return table.max(axis=1), [known[at] for at in best.tolist()]

    def _row_by_row(self, column: Any, classes: Sequence[Any] | None) -> tuple[np.ndarray, list[Any]]:
        sure: list[float] = []
        labels: list[Any] = []
        errors: dict[int, Exception] = {}
        for i, row in enumerate(rows_of(column)):
            given = {key: [each] for key, each in row.items()} if isinstance(row, Mapping) else np.asarray([row])
            if _table(given) is None:
                errors[i] = _no_probabilities(row)
                continue
            try:
                shares, named = self.read(given, classes)
            except BadRows as bad:
                errors[i] = bad.errors[0]
            else:
                sure += shares.tolist()
                labels += named
        if errors:
            raise BadRows(errors)
        return np.array(sure), labels


def _table(column: Any) -> np.ndarray | None:
    """Return probabilities as an array of shape (n_rows, n_classes); None for what are none, or not all of one form."""
    if isinstance(column, dict):
        members = [np.asarray(each) for each in cast("dict[str, Any]", column).values()]
        fine = members and all(each.ndim == 1 and each.dtype.kind in "fiu" for each in members)
        return np.stack(members, axis=1) if fine else None
    if isinstance(column, np.ndarray) and column.ndim == 2 and column.dtype.kind in "fiu" and column.shape[1]:
        return column
    return None


def _no_probabilities(row: Any) -> Exception:
    return TypeError(
        f"confidence() takes probabilities, a dict or an array of them, not {_short(row)}; "
        "a model gives them with output='label_proba'"
    )


@dataclass(frozen=True)
class Agreement:
    """Reads the labels of a fan-out's members: how sure an answer is, is the share that says the commonest."""

    least: float

    def __repr__(self) -> str:
        return f"agreement({self.least!r})"

    def read(self, column: Any, classes: Sequence[Any] | None = None) -> tuple[np.ndarray, list[Any]]:
        """Return the share of the commonest label of each row, and that label; of equal ones the first in order."""
        rows: list[Any] = rows_of(column)
        if isinstance(column, dict):
            rows = [tuple(row.values()) for row in rows]
        else:
            rows = [tuple(row.values()) if isinstance(row, Mapping) else row for row in rows]
        known: dict[Any, tuple[float, Any]] = {}
        read: list[tuple[float, Any]] = []
        errors: dict[int, Exception] = {}
        for i, row in enumerate(rows):
            try:
                # Rows are many, and what members can say together is little: each such is counted once.
                if row not in known:
                    known[row] = _counted(row)
                read.append(known[row])
            except TypeError as error:
                errors[i] = error if not isinstance(row, tuple) or all(map(_is_label, row)) else _no_labels(row)
        if errors:
            raise BadRows(errors)
        return np.array([share for share, _ in read]), [label for _, label in read]


def _counted(row: Any) -> tuple[float, Any]:
    if not isinstance(row, tuple) or not row or not all(map(_is_label, cast("tuple[Any, ...]", row))):
        raise _no_labels(row)
    said = cast("tuple[Any, ...]", row)
    counts: dict[Any, int] = {}
    for label in said:
        counts[label] = counts.get(label, 0) + 1
    most = max(counts.values())
    return most / len(said), min(label for label, count in counts.items() if count == most)


def _is_label(value: Any) -> bool:
    return isinstance(value, Hashable) and not (isinstance(value, float) and not value.is_integer())


def _no_labels(row: Any) -> TypeError:
    return TypeError(f"agreement() takes the labels of a fan-out, as in parallel(a, b, c), not {_short(row)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
