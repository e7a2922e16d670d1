"""The ensemble without Stretto: for asyncio, and for Ray Serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

Features = Mapping[str, float]
Predictions = dict[str, str]


def for_asyncio(
    logistic: Any, svm: Any, features: Sequence[str], labels: Sequence[str]
) -> Callable[[Features], Awaitable[Predictions]]:
    """Return the ensemble as asyncio code: two predicts in two threads, gathered."""

    async def predict(row: Features) -> Predictions:
        x = [[row[name] for name in features]]
        a: Any
        b: Any
        a, b = await asyncio.gather(asyncio.to_thread(logistic.predict, x), asyncio.to_thread(svm.predict, x))
        return {"logistic": labels[int(a[0])], "svm": labels[int(b[0])]}

    return predict


def for_serve(logistic: Any, svm: Any, features: Sequence[str], labels: Sequence[str]) -> Any:
    """Return the ensemble as Ray Serve code: two deployments, and an ingress that gathers."""
    from ray import serve

    # Classes of a function are pickled by value, so replicas need not import this module.
    @serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
    class Model:
        def __init__(self, model: Any) -> None:
            self.model = model

        def __call__(self, row: Features) -> str:
            predicted: Any = self.model.predict([[row[name] for name in features]])
            return labels[int(predicted[0])]

    @serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
    class Ensemble:
        def __init__(self, logistic: Any, svm: Any) -> None:
            self.logistic, self.svm = logistic, svm

        async def predict(self, row: Features) -> Predictions:
            a, b = await asyncio.gather(self.logistic.remote(row), self.svm.remote(row))
            return {"logistic": a, "svm": b}

        async def __call__(self, request: Any) -> Predictions:
            return await self.predict(await request.json())

    return Ensemble.bind(Model.options(name="logistic").bind(logistic), Model.options(name="svm").bind(svm))
