"""Thresholds for a cascade, from data it has not seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np

from stretto import Client, Pipeline
from stretto.errors import PipelineError, StepError
from stretto.nodes import as_pipeline
from stretto_composers._cascade import cascade
from stretto_composers._cascades.calibration import Calibration
from stretto_composers._cascades.thresholds import Asked, curve_of
from stretto_composers._cascades.tiers import Tier, tiers_of
from stretto_composers._policies.numbers import fraction, number

Cost = Literal["rows", "seconds"]


async def calibrate(
    pipeline: Pipeline[Any, Any],
    X: Sequence[Any] | np.ndarray,  # noqa: N803  scikit-learn's name for rows
    y: Sequence[Any] | np.ndarray,
    *,
    target: float | None = None,
    cost: Cost | Sequence[float] = "rows",
) -> Calibration:
    """Choose thresholds for a cascade that reach the accuracy `target` on rows `X` with labels `y` at least cost.

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
    call = as_pipeline(pipeline).call
    if call is None or call.composer != "cascade":
        raise PipelineError(
            f"calibrate() takes a cascade, and got {pipeline!r}: calibrate it before it becomes part of more"
        )
    parts, readers = call.arguments["tiers"], tiers_of(call.arguments["tiers"], call.arguments["until"])
    truth = _labels(X, y)
    costs = _costs(cost, len(parts))
    wanted = None if target is None else fraction("calibrate(target)", target)
    results = [await _ask(part, reader, X, truth) for part, reader in zip(parts, readers, strict=True)]
    curve = curve_of(results, [each.seconds for each in results] if costs is None else costs)
    wanted = float(results[-1].right.mean()) if wanted is None else wanted
    chosen = next((point for point in curve if point.accuracy >= wanted - 1e-12), None)
    if chosen is None:
        raise PipelineError(
            f"calibrate(): no thresholds reach an accuracy of {wanted:.4g} on these {len(truth)} rows; the most is "
            f"{curve[-1].accuracy:.4g}, at a cost of {curve[-1].cost:.4g}"
        )
    tests = [
        replace(cast("Any", each.test), least=least) for each, least in zip(readers, chosen.thresholds, strict=False)
    ]
    answer = {} if call.arguments["answer"] == "label" else {"answer": call.arguments["answer"]}
    calibrated = cascade(*parts, until=tests[0] if len(tests) == 1 else tests, **answer)
    names = tuple(each.name for each in results)
    return Calibration(calibrated, chosen, curve, names, wanted, len(truth), cost if isinstance(cost, str) else "given")


def _labels(X: Any, y: Any) -> list[Any]:  # noqa: N803
    labels = y.tolist() if hasattr(y, "tolist") else list(y)
    if not labels or len(labels) != len(X):
        raise PipelineError(
            f"calibrate(): there are {len(X)} rows in X and {len(labels)} labels in y: give one for each"
        )
    return labels


def _costs(cost: Any, tiers: int) -> list[float] | None:
    """Return the cost of each tier; None where it is to be measured."""
    match cost:
        case "rows":
            return [1.0] * tiers
        case "seconds":
            return None
        case _:
            values = [number(each) for each in cost] if isinstance(cost, list | tuple | np.ndarray) else []
    numbers = [each for each in values if each is not None and each >= 0]
    if len(numbers) != tiers or len(values) != tiers:
        raise PipelineError(
            f"calibrate(cost={cost!r}): it is 'rows', 'seconds', or a list of {tiers} numbers, what each tier costs"
        )
    return numbers


async def _ask(part: Pipeline[Any, Any], tier: Tier, X: Any, truth: list[Any]) -> Asked:  # noqa: N803
    """Run one tier on all rows; return how sure it is of each, which labels are right, and the seconds a row."""
    name = part.label
    async with Client(part) as client:
        start = time.perf_counter()
        answers = await client.predict_many(X)
        seconds = (time.perf_counter() - start) / len(truth)
    try:
        read = [tier.one(answer) for answer in answers]
    except Exception as error:
        raise StepError.of("calibrate", error) from error
    labels = [label for _, label in read]
    right = np.array([one == other for one, other in zip(labels, truth, strict=True)])
    if not right.any() and not set(labels) & set(truth):
        raise PipelineError(
            f"calibrate(): y and tier {name!r} have no label in common: y has {truth[0]!r}, the tier says {labels[0]!r}"
        )
    sure = None if tier.last else np.array([each for each, _ in read])
    return Asked(name, sure, right, seconds)
