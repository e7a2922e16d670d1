"""How sure an answer is: the tests by which a cascade lets a row stay."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from stretto_composers._members.members import short
from stretto_composers._members.probabilities import ROUNDING
from stretto_composers._members.ties import Tie
from stretto_composers._members.votes import Count, coded
from stretto_composers._policies.numbers import fraction


@dataclass(frozen=True, repr=False)
class Threshold:
    """How sure an answer must be to stay, on a scale from 0 to 1."""

    least: float

    def __repr__(self) -> str:
        return f"{type(self).__name__.lower()}({self.least!r})"


class Confidence(Threshold):
    """Reads probabilities: an answer is as sure as the largest of them. `classes` name those in an array."""

    def one(self, answer: Any, classes: Sequence[Any] | None = None) -> tuple[float, Any]:
        """Return how sure one answer is, and its label; of equal labels the first, as in scikit-learn."""
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
        """Return the same of many answers; None where each must be read by itself."""
        table: Any = column
        if isinstance(column, dict):
            members = [np.asarray(each) for each in cast("dict[str, Any]", column).values()]
            table = np.stack(members, axis=1) if {each.ndim for each in members} == {1} else None
        if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype.kind not in "fiu" or not table.shape[1]:
            return None
        if not ((table >= -ROUNDING) & (table <= 1 + ROUNDING)).all():
            return None
        labels = classes or (list(column) if isinstance(column, dict) else range(table.shape[1]))
        return table.max(axis=1), [labels[at] for at in table.argmax(axis=1).tolist()]


class Agreement(Threshold):
    """Reads the labels of a fan-out's members: an answer is as sure as the fraction of them that are the commonest."""

    def one(self, answer: Any, classes: Sequence[Any] | None = None) -> tuple[float, Any]:
        labels = list(cast("Mapping[str, Any]", answer).values()) if isinstance(answer, Mapping) else []
        if not labels or not all(map(_is_label, labels)):
            raise TypeError(f"agreement() takes the labels of a fan-out, as in parallel(a, b, c), not {short(answer)}")
        distinct = list(dict.fromkeys(labels))
        tied = Count(distinct, [labels.count(label) for label in distinct]).tied
        return labels.count(tied[0]) / len(labels), min(tied)

    def many(self, column: Any, classes: Sequence[Any] | None = None) -> tuple[np.ndarray, Any] | None:
        columns = list(cast("dict[str, Any]", column).values()) if isinstance(column, dict) else []
        coding = coded(columns, Tie(), None)
        if coding is None:
            return None
        count = Count(coding[0], np.stack([(coding[1] == at).sum(axis=0) for at in range(len(coding[0]))]))
        return count.most / len(columns), count.best


def _is_label(value: Any) -> bool:
    return isinstance(value, Hashable) and not (isinstance(value, float) and not value.is_integer())


Test: TypeAlias = Confidence | Agreement


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
