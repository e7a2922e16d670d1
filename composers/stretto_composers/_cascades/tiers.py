"""The tiers of a cascade: what each one's answers mean, and which rows go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from stretto.errors import PipelineError, StrettoError
from stretto.nodes import UNDECIDED, Answers, Node, Pack, Part, answers_of, as_pipeline, plan_of
from stretto_composers._cascades.confidence import Agreement, Confidence, Test

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
