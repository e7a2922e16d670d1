"""The tiers of a cascade: what each one's answers mean, how sure they are, and which rows go on."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from stretto.errors import PipelineError, StrettoError
from stretto.nodes import UNDECIDED, Answers, Node, Pack, Part, answers_of, as_pipeline, plan_of
from stretto_composers._members.members import SEVERAL, short
from stretto_composers._members.probabilities import ROUNDING
from stretto_composers._members.ties import Tie
from stretto_composers._members.votes import Count, coded
from stretto_composers._policies.settings import fraction


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


Answer = Literal["label", "tier"]
PROBABILITIES = ("proba", "label_proba")


@dataclass(frozen=True)
class Tier:
    """Reads the answers of a tier: the label each means, and how sure it is.

    The `last` tier is always sure, and may answer a label as it is.
    """

    test: Test
    last: bool
    model: Answers

    def one(self, answer: Any) -> tuple[float, Any]:
        """Return how sure one answer is, and its label."""
        reader = self._reader(isinstance(answer, Mapping) or (isinstance(answer, np.ndarray) and answer.ndim > 0))
        sure, label = (1.0, answer) if reader is None else reader.one(answer, self.model.classes)
        return 1.0 if self.last else sure, label

    def many(self, column: Any) -> tuple[np.ndarray, Any] | None:
        """Return how sure many answers are, and their labels; None where each must be read by itself."""
        if not isinstance(column, dict | np.ndarray):
            return None
        reader = self._reader(isinstance(column, dict) or column.ndim > 1)
        read = (np.ones(len(column)), column) if reader is None else reader.many(column, self.model.classes)
        return (np.ones(len(read[1])), read[1]) if read is not None and self.last else read

    def _reader(self, several: bool) -> Test | None:
        """Return what reads answers, each of several values or of one; None where they are labels as they are."""
        if not self.last:
            return self.test
        if self.model.output:
            return Confidence(0) if self.model.output in PROBABILITIES else None
        return self.test if several else None


@dataclass(frozen=True)
class InTurn:
    """Decides for the first tier that is sure: for the label it means, or with the answer ``"tier"`` for its answer."""

    names: tuple[str, ...]
    tiers: tuple[Tier, ...]
    answer: Answer

    def one(self, arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
        """Return the answer of the tier that came last if it is sure, or `UNDECIDED`; raise its failure."""
        at = len(self.names) - len(waiting) - 1
        outcome, tier = arrived[self.names[at]], self.tiers[at]
        if isinstance(outcome, StrettoError):
            raise outcome
        if tier.last and self.answer == "tier":
            return outcome
        sure, label = tier.one(outcome)
        if sure < tier.test.least:
            return UNDECIDED
        return label if self.answer == "label" else outcome

    def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...]) -> tuple[Any, Any] | None:
        """Return the answers of many rows, and which are decided; None where each must be read by itself."""
        at = len(self.names) - len(waiting) - 1
        if self.names[at] not in columns:
            return None  # the tier has failed
        outcomes, tier = columns[self.names[at]], self.tiers[at]
        read = tier.many(outcomes)
        return read and (read[1] if self.answer == "label" else outcomes, read[0] >= tier.test.least)


def tiers_of(parts: Sequence[Part[Any, Any]], until: Any) -> tuple[Tier, ...]:
    """Return what reads the answers of a cascade's tiers."""
    if len(parts) < 2:
        raise PipelineError(f"cascade() needs at least two tiers, got {len(parts)}")
    tests = list(cast("Sequence[Any]", until)) if isinstance(until, list | tuple) else [until] * (len(parts) - 1)
    odd = [test for test in tests if not isinstance(test, Confidence | Agreement)]
    if odd:
        raise PipelineError(f"cascade(until={odd[0]!r}): give confidence(0.9) or agreement(0.8)")
    if len(tests) != len(parts) - 1:
        raise PipelineError(
            f"cascade() has {len(parts)} tiers and {len(tests)} tests: give one test for all, or one for each tier but "
            "the last, which is always sure"
        )
    nodes = [plan_of(part).output for part in parts]
    for number, (test, node) in enumerate(zip(tests, nodes, strict=False), 1):
        problem = _problem(test, node)
        if problem:
            raise PipelineError(f"cascade(): tier {number}, {as_pipeline(parts[number - 1]).label!r}, {problem}")
    last = Tier(tests[-1], True, answers_of(nodes[-1]))
    return *(Tier(test, False, answers_of(node)) for test, node in zip(tests, nodes, strict=False)), last


def _problem(test: Test, node: Node) -> str:
    """Return why a test can't read the answers of a tier, where that is known."""
    model = answers_of(node)
    if model.several_labels:
        return SEVERAL
    for name, branch in zip(node.names, node.inputs, strict=True) if isinstance(node, Pack) else ():
        if answers_of(branch).several_labels:
            return f"has {name!r}, which {SEVERAL}"
    match test:
        case Agreement() if model.output:
            return f"is one model, and {test!r} needs the labels of several: parallel(a, b, c)"
        case Confidence() if model.output and model.classes is None:
            return f"answers numbers, and {test!r} needs probabilities: a regressor has none"
        case Confidence() if model.output not in ("", *PROBABILITIES):
            return f"answers no probabilities, which {test!r} needs: write model(..., output='label_proba')"
        case Confidence() if isinstance(node, Pack):
            if all(answers_of(each).output == "predict" for each in node.inputs):
                return f"is a fan-out of labels, and {test!r} needs probabilities: use agreement()"
            return ""
        case _:
            return ""
