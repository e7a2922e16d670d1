"""How sure an answer is: the tests by which a cascade lets a row stay."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from stretto_composers._members.count import Count
from stretto_composers._members.probabilities import ROUNDING
from stretto_composers._members.text import short
from stretto_composers._members.ties import InOrder
from stretto_composers._members.votes import coded
from stretto_composers._policies.numbers import fraction


@runtime_checkable
class Test(Protocol):
    """Reads how sure answers are, on a scale from 0 to 1, and which label each means.

    `least` is how sure an answer must be to stay. `classes` name the labels of a tier that is a model.
    """

    @property
    def least(self) -> float: ...

    def one(self, answer: Any, classes: Sequence[Any] | None = None) -> tuple[float, Any]:
        """Return how sure one answer is, and its label."""
        ...

    def many(self, column: Any, classes: Sequence[Any] | None = None) -> tuple[np.ndarray, Any] | None:
        """Return the same of many answers; None where each must be read by itself."""
        ...


def confidence(least: float) -> Confidence:
    """Return the test that the largest probability of a tier's answer is at least `least`.

    The tier answers probabilities: a dict of label to probability, as ``model(..., output="label_proba")`` gives, or an
    array of them, as ``output="proba"`` does. Any other answer fails the row.

    Raises:
        PipelineError: `least` is no number from 0 to 1.

    >>> confidence(0.9)
    confidence(0.9)
    """
    return Confidence(fraction("confidence(least)", least, zero=True))


def agreement(least: float) -> Agreement:
    """Return the test that at least the fraction `least` of a tier's members answer the same label.

    The tier is a fan-out of labels, as in ``parallel(a, b, c)``. Any other answer fails the row.

    Raises:
        PipelineError: `least` is no number from 0 to 1.

    >>> agreement(2 / 3).one({"a": "x", "b": "x", "c": "y"})
    (0.6666666666666666, 'x')
    """
    return Agreement(fraction("agreement(least)", least, zero=True))


@dataclass(frozen=True)
class Confidence:
    """Reads probabilities: an answer is as sure as the largest of them."""

    least: float

    def __repr__(self) -> str:
        return f"confidence({self.least!r})"

    def one(self, answer: Any, classes: Sequence[Any] | None = None) -> tuple[float, Any]:
        """Return the largest probability, and its label; of equal ones the first, as scikit-learn does."""
        read = None
        if isinstance(answer, Mapping):
            items = cast("Mapping[Any, Any]", answer).items()
            read = self.many({key: np.asarray([each]) for key, each in items}, classes)
        elif isinstance(answer, np.ndarray):
            read = self.many(answer[None], classes)
        if read is None:
            raise TypeError(
                f"confidence() takes probabilities, a dict or an array of them, not {short(answer)}; "
                "a model gives them with output='label_proba'"
            )
        return float(read[0][0]), read[1][0]

    def many(self, column: Any, classes: Sequence[Any] | None = None) -> tuple[np.ndarray, Any] | None:
        """Return the largest probability of each row, and its label."""
        table = _table(column)
        if table is None or not ((table >= -ROUNDING) & (table <= 1 + ROUNDING)).all():
            return None
        labels = classes or (list(column) if isinstance(column, dict) else range(table.shape[1]))
        return table.max(axis=1), [labels[at] for at in table.argmax(axis=1).tolist()]


def _table(column: Any) -> np.ndarray | None:
    """Return probabilities as an array of shape (n_rows, n_classes); None for other answers, or of several forms."""
    if isinstance(column, dict):
        members = [np.asarray(each) for each in cast("dict[str, Any]", column).values()]
        numeric = members and all(each.ndim == 1 and each.dtype.kind in "fiu" for each in members)
        return np.stack(members, axis=1) if numeric else None
    if isinstance(column, np.ndarray) and column.ndim == 2 and column.dtype.kind in "fiu" and column.shape[1]:
        return column
    return None


@dataclass(frozen=True)
class Agreement:
    """Reads the labels of a fan-out's members: an answer is as sure as the fraction of them that are the commonest."""

    least: float

    def __repr__(self) -> str:
        return f"agreement({self.least!r})"

    def one(self, answer: Any, classes: Sequence[Any] | None = None) -> tuple[float, Any]:
        """Return the fraction of the commonest label, and that label; of equal ones the first in sort order."""
        labels = list(cast("Mapping[str, Any]", answer).values()) if isinstance(answer, Mapping) else []
        if not labels or not all(map(_is_label, labels)):
            raise TypeError(f"agreement() takes the labels of a fan-out, as in parallel(a, b, c), not {short(answer)}")
        distinct = list(dict.fromkeys(labels))
        tied = Count(distinct, [labels.count(label) for label in distinct]).tied
        return labels.count(tied[0]) / len(labels), min(tied)

    def many(self, column: Any, classes: Sequence[Any] | None = None) -> tuple[np.ndarray, Any] | None:
        """Return the fraction of the commonest label of each row, and that label."""
        columns = list(cast("dict[str, Any]", column).values()) if isinstance(column, dict) else []
        coding = coded(columns, InOrder(), None)
        if coding is None:
            return None
        count = Count(coding[0], np.stack([(coding[1] == at).sum(axis=0) for at in range(len(coding[0]))]))
        return count.most / len(columns), count.labels[count.best]


def _is_label(value: Any) -> bool:
    return isinstance(value, Hashable) and not (isinstance(value, float) and not value.is_integer())
