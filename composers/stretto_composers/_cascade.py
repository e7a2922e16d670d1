"""Cheap parts first, and dear ones for the rows that need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np

from stretto import Pipeline, composer
from stretto.errors import PipelineError
from stretto.nodes import Call, Choose, Node, Pack, Part, Step
from stretto_composers._columns import rows_of, size_of
from stretto_composers._inside import alone, inside
from stretto_composers._known import classifier
from stretto_composers._select import picked
from stretto_composers._sure import Agreement, Confidence, Test

Answer = Literal["label", "tier"]
SURE, UNSURE = "sure", "unsure"
PASSED = np.dtype([("passed", bool)])
"""What stands for the rows that do not reach a tier: a form that no part's answers have."""


@composer
def cascade(
    x: Node,
    # Named as pipelines, the tiers arrive as such and keep the text they were written in.
    *tiers: Pipeline[Any, Any] | Part[Any, Any],
    until: Test | Sequence[Test],
    answer: Answer = "label",
) -> Node:
    """Ask the first tier, and the next one for the rows it is not sure of, and so on: cheap ones first.

    `until` says when a tier is sure: ``confidence(0.9)``, by its probabilities, or ``agreement(0.8)``, by the share of
    a fan-out's members that say the same; or a list of them, one for each tier but the last, which is always sure. The
    answer is the label that the deciding tier means: the likeliest of its probabilities, the one most of its members
    say, or what it answers, if that is a label already. With ``answer="tier"`` it is what that tier answered, as it is.
    In a batch only the rows that are not sure go on, together. A tier that fails fails its rows.

    Raises:
        PipelineError: there are fewer than two tiers, the tests are not as many, or a tier is a model that does not
            answer what its test reads.

    >>> import asyncio
    >>> from stretto import Client
    >>> quick = lambda x: {"low": 1 - x, "high": x}
    >>> async def main():
    ...     async with Client(cascade(quick, lambda x: "medium", until=confidence(0.9))) as client:
    ...         return await client.predict_many([0.05, 0.5, 0.95])
    >>> from stretto_composers import confidence
    >>> asyncio.run(main())
    ['low', 'medium', 'high']
    """
    if answer not in get_args(Answer):
        raise PipelineError(f"cascade(answer={answer!r}): it is 'label' or 'tier'")
    parts = cast("tuple[Pipeline[Any, Any], ...]", tiers)
    tests = _tests(until, len(parts))
    _check(parts, tests)
    said = inside(x, parts[0].plan(), "cascade")
    state = _judged((said,), ("said",), parts[0], tests[0], answer)
    passed = alone(Step(fn=Passed(), name="passed", vectorized=True, named=False))
    for part, test in zip(parts[1:], [*tests[1:], None], strict=True):
        cases = ((SURE, passed), (UNSURE, part.plan()))
        said = Choose((x, picked(state, "next")), cases=cases, name="cascade")
        reader = test if test is not None else tests[-1]
        state = _judged((said, state), ("said", "before"), part, reader, answer, last=test is None)
    return picked(state, "answer")


def _tests(until: Any, tiers: int) -> list[Test]:
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


def _check(parts: Sequence[Pipeline[Any, Any]], tests: list[Test]) -> None:
    """Refuse a tier whose answers are known, and are not what its test reads."""
    for number, (part, test) in enumerate(zip(parts, tests, strict=False), 1):
        node = part.plan().output
        model = classifier(node)
        where = f"cascade(): tier {number}, {part.label!r},"
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


def _judged(
    inputs: tuple[Node, ...],
    names: tuple[str, ...],
    part: Pipeline[Any, Any],
    test: Test,
    answer: Answer,
    *,
    last: bool = False,
) -> Node:
    model = classifier(part.plan().output)
    kind = Last if last else Judge
    fn = kind(test, answer) if model is None else kind(test, answer, model.classes, model.output)
    return Call((Pack(inputs, names=names),), step=Step(fn=fn, name="cascade", vectorized=True, named=False))


class Passed:
    """Gives what stands for rows that a tier is not asked about."""

    # It reads no feature by name: models beside it go on to refuse those they don't know.
    features: ClassVar[tuple[str, ...]] = ()

    def __call__(self, column: Any) -> np.ndarray:
        """Return as many rows as there are."""
        return np.zeros(size_of(column), dtype=PASSED)


@dataclass(frozen=True)
class Judge:
    """Reads what a tier said: the answer it means, and whether the next tier is asked.

    `classes` and `output` are those of a tier that is a model, or None.
    """

    test: Test
    answer: Answer
    classes: tuple[Any, ...] | None = None
    output: str | None = None

    def __call__(self, columns: dict[str, Any]) -> dict[str, Any]:
        """Return the columns of answers and of what comes next; for rows that were sure before, what it was then."""
        said = columns["said"]
        if isinstance(said, np.ndarray) and said.dtype == PASSED:
            return columns["before"]
        return self.judged(said)

    def judged(self, said: Any) -> dict[str, Any]:
        """Return the answers a tier means, and whether it is sure."""
        sure, labels = self.test.read(said, self.classes)
        following = np.where(sure >= self.test.least, SURE, UNSURE)
        return {"answer": labels if self.answer == "label" else said, "next": following}


class Last(Judge):
    """Reads what the last tier said, which is always sure and may say a label as it is."""

    def judged(self, said: Any) -> dict[str, Any]:
        """Return the answers it means."""
        return {"answer": said if self.answer == "tier" else self.labels(said)}

    def labels(self, said: Any) -> Any:
        """Return the label of each row."""
        if self.output is not None:
            probabilities = self.output in ("proba", "label_proba")
            return Confidence(0).read(said, self.classes)[1] if probabilities else said
        if isinstance(said, dict) or (isinstance(said, np.ndarray) and said.ndim > 1):
            return self.test.read(said)[1]
        return [self._label(row) for row in rows_of(said)]

    def _label(self, row: Any) -> Any:
        if isinstance(row, Mapping):
            return self.test.read([row])[1][0]
        return self.test.read(np.asarray([row]))[1][0] if isinstance(row, np.ndarray) and row.ndim == 1 else row
