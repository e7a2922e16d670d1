"""The ensemble with BentoML: ``bentoml serve tests.benchmarks.programs.bento:Ensemble``.

It answers at /predict, and takes {"payload": ROW}.
"""

import asyncio

import bentoml
import numpy as np

from tests.benchmarks.programs.iris import FEATURES, answer, fit


@bentoml.service(name="logistic")
class Logistic:
    def __init__(self):
        self.model = fit()[0]

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x)


@bentoml.service(name="svm")
class Svm:
    def __init__(self):
        self.model = fit()[1]

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x)


@bentoml.service(name="ensemble")
class Ensemble:
    logistic = bentoml.depends(Logistic)
    svm = bentoml.depends(Svm)

    @bentoml.api
    async def predict(self, payload: dict) -> dict:
        x = np.array([[payload[name] for name in FEATURES]])
        return answer(*await asyncio.gather(self.logistic.to_async.predict(x), self.svm.to_async.predict(x)))
