"""Row l: models compiled to ONNX, next to the same models in scikit-learn."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

from stretto import Client, Pipeline, model
from stretto.models import model_step
from tests.benchmarks.compared import LATENCY, OURS, SPEED, Compared, Line, at_least
from tests.benchmarks.load import in_loop
from tests.benchmarks.programs.ensemble import ensemble
from tests.benchmarks.programs.iris import FEATURES, LABELS, ROW, fit
from tests.benchmarks.rounds import Contender, Figures, alternate
from tests.benchmarks.rows.many_rows import flowers
from tests.benchmarks.settings import Settings

PLAIN = "not compiled"
BATCH = 1_024
TREES = 100


async def measure(settings: Settings) -> AsyncGenerator[Compared]:
    """Return row l: one row through the client and through a stage, and batches of 1,024 of four models."""
    data, target = load_iris(return_X_y=True)
    forest = RandomForestClassifier(settings.of(TREES), random_state=0).fit(data, target)
    boosting = GradientBoostingClassifier(random_state=0).fit(data, target)
    sample = flowers(300)
    one = model(forest, name="forest", features=FEATURES, labels=LABELS)
    for what, pipeline, goal in (("the ensemble", ensemble(), 5), (f"a forest of {forest.n_estimators}", one, 60)):
        yield await _by_client(settings, what, pipeline, sample, goal)
    yield await _steps(settings, f"a forest of {forest.n_estimators}, its step, one row", forest, [ROW], 300)
    logistic, svm = fit()
    rows = sample[np.arange(settings.of(BATCH)) % len(sample)]
    for name, each in {"logistic": logistic, "svm": svm, "boosting": boosting, "forest": forest}.items():
        yield await _steps(settings, f"{name}, its step, {len(rows):,} rows", each, rows, 1)


async def _by_client(
    settings: Settings, what: str, pipeline: Pipeline[Any, Any], sample: np.ndarray, goal: float
) -> Compared:
    line = Line("l", f"{what} compiled, in process", 1)
    settings.say(f"l: {line.what}")
    async with Client(pipeline) as plain, Client(pipeline.optimize(sample)) as made:
        if await made.predict_many(sample) != await plain.predict_many(sample):
            raise RuntimeError(f"{what} compiled answers otherwise")
        programs = [in_loop(OURS, lambda: made.predict(ROW)), in_loop(PLAIN, lambda: plain.predict(ROW))]
        figures = await alternate([each.asked_by(1, settings.seconds) for each in programs], settings.rounds)
    return line.compare(figures, LATENCY, PLAIN, at_least(goal))


async def _steps(settings: Settings, what: str, estimator: Any, rows: Any, goal: float) -> Compared:
    settings.say(f"l: {what}")
    made, plain = (model_step(estimator, features=FEATURES, engine=engine).fn for engine in ("onnx", None))
    contenders = [_repeated(OURS, lambda: made(rows)), _repeated(PLAIN, lambda: plain(rows))]
    return Line("l", what).compare(await alternate(contenders, settings.rounds), SPEED, PLAIN, at_least(goal))


def _repeated(name: str, call: Callable[[], Any], least: float = 0.05) -> Contender:
    """Return a contender: the mean of calls that together take at least so many seconds."""

    async def run() -> Figures:
        start, count = time.perf_counter(), 0
        while (spent := time.perf_counter() - start) < least:
            call()
            count += 1
        return {"seconds": spent / count}

    return Contender(name, run)
