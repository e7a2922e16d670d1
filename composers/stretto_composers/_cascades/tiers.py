"""The tiers of a cascade: what each one's answers mean, and which rows go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from stretto.errors import PipelineError, StrettoError
from stretto.nodes import UNDECIDED, Pack, Part, as_pipeline, plan_of
from stretto_composers._cascades.confidence import Agreement, Confidence, Test
from stretto_composers._members.members import classifier

Answer = Literal["label", "tier"]


@dataclass(frozen=True)
class Tier:
    """Reads the answers of a tier: the label each means, and how sure it is.

    `classes` and `output` are those of a tier that is a model, or None. The `last` tier is always sure, and may answer
    a label as it is.
    """

    test: Test
    last: bool = False
    classes: tuple[Any, ...] | None = None
    output: str | None = None

    def one(self, answer: Any) -> tuple[float, Any]:
        """Return how sure one answer is, and its label."""
        if not self.last:
            return self.test.one(answer, self.classes)
        reader = self._reader(isinstance(answer, Mapping) or (isinstance(answer, np.ndarray) and answer.ndim > 0))
        return 1.0, answer if reader is None else reader.one(answer, self.classes)[1]

    def many(self, column: Any) -> tuple[np.ndarray, Any] | None:
        """Return how sure many answers are, and their labels; None where each must be read by itself."""
        if not self.last:
            return self.test.many(column, self.classes)
        if not isinstance(column, dict | np.ndarray):
            return None
        reader = self._reader(isinstance(column, dict) or column.ndim > 1)
        read = (None, column) if reader is None else reader.many(column, self.classes)
        return None if read is None else (np.ones(len(read[1])), read[1])

    def _reader(self, several: bool) -> Test | None:
        """Return what reads the last tier's answers; None where they are labels as they are."""
        if self.output is not None:
            return Confidence(0) if self.output in ("proba", "label_proba") else None
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
        if not tier.last and sure < tier.test.least:
            return UNDECIDED
        return label if self.answer == "label" else outcome

    def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...]) -> tuple[Any, Any] | None:
        """Return the answers of many rows, and which are decided; None where each must be read by itself."""
        at = len(self.names) - len(waiting) - 1
        if self.names[at] not in columns:
            return None  # the tier has failed
        outcomes, tier = columns[self.names[at]], self.tiers[at]
        read = tier.many(outcomes)
        if read is None:
            return None
        sure, labels = read
        decided = sure >= (0.0 if tier.last else tier.test.least)
        return labels if self.answer == "label" else outcomes, decided


def tiers_of(parts: Sequence[Part[Any, Any]], until: Any) -> tuple[Tier, ...]:
    """Return what reads the answers of a cascade's tiers.

    Raises:
        PipelineError: there are fewer than two tiers, the tests are not as many, or a tier is a model that does not
            answer what its test reads.
    """
    tests = _tests(until, len(parts))
    _check(parts, tests)
    tiers: list[Tier] = []
    for part, test in zip(parts, [*tests, None], strict=True):
        model = classifier(plan_of(part).output)
        signature = (None, None) if model is None else (model.classes, model.output)
        tiers.append(Tier(test or tests[-1], test is None, *signature))
    return tuple(tiers)


def _tests(until: Any, tiers: int) -> list[Test]:
    """Return the test of each tier but the last."""
    if tiers < 2:
        raise PipelineError(f"cascade() needs at least two tiers, got {tiers}")
    tests = list(cast("Sequence[Any]", until)) if isinstance(until, list | tuple) else [until] * (tiers - 1)
    odd = [test for test in tests if not isinstance(test, Test)]
    if odd:
        raise PipelineError(f"cascade(until={odd[0]!r}): give confidence(0.9) or agreement(0.8)")
    if len(tests) != tiers - 1:
        raise PipelineError(
            f"cascade() has {tiers} tiers and {len(tests)} tests: give one test for all, or one for each tier but the "
            "last, which is always sure"
        )
    return tests


def _check(parts: Sequence[Part[Any, Any]], tests: list[Test]) -> None:
    """Raise for a tier whose answers are known, and are not what its test reads."""
    for number, (part, test) in enumerate(zip(parts, tests, strict=False), 1):
        node = plan_of(part).output
        model = classifier(node)
        where = f"cascade(): tier {number}, {as_pipeline(part).label!r},"
        if isinstance(test, Confidence) and model is not None and model.output not in ("proba", "label_proba"):
            what = "answers numbers" if model.classes is None else "answers no probabilities"
            hint = "a regressor has none" if model.classes is None else "write model(..., output='label_proba')"
            raise PipelineError(f"{where} {what}, which {test!r} needs: {hint}")
        if isinstance(test, Confidence) and isinstance(node, Pack):
            members = [classifier(each) for each in node.inputs]
            if all(each is not None and each.output == "predict" for each in members):
                raise PipelineError(
                    f"{where} is a fan-out of labels, and {test!r} needs probabilities: use agreement()"
                )
        if isinstance(test, Agreement) and model is not None:
            raise PipelineError(f"{where} is one model, and {test!r} needs the labels of several: parallel(a, b, c)")
