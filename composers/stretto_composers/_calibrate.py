"""Thresholds for a cascade, from data it has not seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np

from stretto import Client, Pipeline, step
from stretto.errors import PipelineError
from stretto.nodes import Call, Choose, Step, Sub, plan_of
from stretto_composers._calibration import Calibration
from stretto_composers._cascade import Judge, Last, cascade
from stretto_composers._numbers import number
from stretto_composers._thresholds import Asked, curve_of

Cost = Literal["rows", "seconds"]


async def calibrate(
    pipeline: Pipeline[Any, Any],
    X: Sequence[Any] | np.ndarray,  # noqa: N803  scikit-learn's name for rows
    y: Sequence[Any] | np.ndarray,
    *,
    target: float | None = None,
    cost: Cost | Sequence[float] = "rows",
) -> Calibration:
    """Give a cascade the thresholds that reach the accuracy `target` on rows `X` with labels `y` at the least cost.

    Every tier is asked about all of `X` once, in this process. Without `target` it is the last tier's own accuracy.
    `cost` is ``"rows"`` (tiers asked a row), ``"seconds"`` (as measured, a row), or a list of what each tier costs.
    Of two tiers the best threshold is found; of more, those between are searched on a grid. Take data that no tier was
    trained on: accuracy on what the models know says nothing.

    Raises:
        PipelineError: `pipeline` is no cascade, rows and labels don't fit, or no thresholds reach the target.
        StrettoError: a tier failed on a row.

    >>> import asyncio
    >>> from stretto_composers import cascade, confidence
    >>> quick = lambda x: {"low": 1 - x, "high": x}
    >>> slow = lambda x: "high" if x > 0.4 else "low"
    >>> rows, labels = [0.1, 0.3, 0.45, 0.48, 0.8, 0.9], ["low", "low", "high", "high", "high", "high"]
    >>> found = asyncio.run(calibrate(cascade(quick, slow, until=confidence(0.9)), rows, labels, target=1.0))
    >>> found.pipeline
    cascade(lambda, lambda, until=confidence(0.6))
    >>> found.accuracy, round(found.cost, 2)
    (1.0, 1.33)
    """
    tiers, judges = _opened(pipeline)
    truth = _labels(X, y)
    given = _costs(cost, len(tiers))
    if target is not None:
        _check_target(target)
    asked = [await _ask(tier, judge, X, truth) for tier, judge in zip(tiers, judges, strict=True)]
    costs = [each.seconds for each in asked] if given is None else given
    curve = curve_of(asked, costs)
    wanted = float(asked[-1].right.mean()) if target is None else target
    chosen = next((point for point in curve if point.accuracy >= wanted - 1e-12), None)
    if chosen is None:
        raise PipelineError(
            f"calibrate(): no thresholds reach an accuracy of {wanted:.4g} on these {len(truth)} rows; the most is "
            f"{curve[-1].accuracy:.4g}, at a cost of {curve[-1].cost:.4g}"
        )
    names = tuple(each.name for each in asked)
    made = _with(tiers, judges, chosen.thresholds)
    return Calibration(made, chosen, curve, names, wanted, len(truth), cost if isinstance(cost, str) else "given")


def _with(tiers: list[Any], judges: list[Judge], thresholds: Sequence[float]) -> Pipeline[Any, Any]:
    tests = [replace(cast("Any", judge.test), least=least) for judge, least in zip(judges, thresholds, strict=False)]
    until = tests[0] if len(tests) == 1 else tests
    answer: dict[str, Any] = {} if judges[0].answer == "label" else {"answer": judges[0].answer}
    return cascade(*tiers, until=until, **answer)


def _opened(pipeline: Any) -> tuple[list[Any], list[Judge]]:
    """Return the plans of a cascade's tiers, and what reads them."""
    plan = plan_of(pipeline)
    choices = [node for node in plan.order if isinstance(node, Choose | Sub)]
    judges = [node.step.fn for node in plan.order if isinstance(node, Call) and isinstance(node.step, Step)]
    judges = [fn for fn in judges if isinstance(fn, Judge)]
    tiers = [cast("Any", each.plans[-1]) for each in choices]
    whole = (
        len(tiers) > 1
        and [type(fn) for fn in judges] == [Judge] * (len(tiers) - 1) + [Last]
        and all(each.name == "cascade" and each.inputs[0] in plan.inputs for each in choices)
        and len(plan.order) == 4 * len(tiers)
    )
    if not whole:
        raise PipelineError(
            f"calibrate() takes a cascade, and got {pipeline!r}: calibrate it before it becomes part of more"
        )
    return tiers, judges


def _labels(X: Any, y: Any) -> list[Any]:  # noqa: N803
    labels = y.tolist() if hasattr(y, "tolist") else list(y)
    if not labels or len(labels) != len(X):
        raise PipelineError(
            f"calibrate(): there are {len(X)} rows in X and {len(labels)} labels in y: give one for each"
        )
    return labels


def _check_target(target: object) -> None:
    accuracy = number(target)
    if accuracy is None or not 0 < accuracy <= 1:
        raise PipelineError(f"calibrate(target={target!r}): an accuracy is a number above 0, and at most 1")


def _costs(cost: Any, tiers: int) -> list[float] | None:
    """Give what asking each tier costs; None where that is to be measured."""
    match cost:
        case "rows":
            return [1.0] * tiers
        case "seconds":
            return None
        case _:
            given = [number(each) for each in cost] if isinstance(cost, list | tuple | np.ndarray) else []
    numbers = [each for each in given if each is not None and each >= 0]
    if len(numbers) != tiers or len(given) != tiers:
        raise PipelineError(
            f"calibrate(cost={cost!r}): it is 'rows', 'seconds', or a list of {tiers} numbers, what each tier costs"
        )
    return numbers


async def _ask(tier: Any, judge: Judge, X: Any, truth: list[Any]) -> Asked:  # noqa: N803
    """Ask one tier about all rows, and note how sure it is, which labels are right, and the seconds a row."""
    name = tier.label
    async with Client(Pipeline(tier) >> step(Read(judge), name="calibrate", vectorized=True)) as client:
        start = time.perf_counter()
        read = await client.predict_many(X)
        seconds = (time.perf_counter() - start) / len(truth)
    said = [each["label"] for each in read]
    right = np.array([one == other for one, other in zip(said, truth, strict=True)])
    if not right.any() and not set(said) & set(truth):
        raise PipelineError(
            f"calibrate(): y and tier {name!r} have no label in common: y has {truth[0]!r}, the tier says {said[0]!r}"
        )
    sure = None if isinstance(judge, Last) else np.array([each["sure"] for each in read])
    return Asked(name, sure, right, seconds)


class Read:
    """Reads what one tier said: its labels, and how sure it is."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def __call__(self, said: Any) -> dict[str, Any]:
        """Return the columns of both; the last tier has labels alone."""
        if isinstance(self.judge, Last):
            return {"label": self.judge.labels(said)}
        sure, labels = self.judge.test.read(said, self.judge.classes)
        return {"label": labels, "sure": sure}
