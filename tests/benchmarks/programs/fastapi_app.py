"""The ensemble with FastAPI: ``uvicorn tests.benchmarks.programs.fastapi_app:app``."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from tests.benchmarks.programs.iris import FEATURES, answer, fit

logistic, svm = fit()
app = FastAPI()


@app.post("/")
async def threads(payload: dict):
    x = [[payload[name] for name in FEATURES]]
    return answer(*await asyncio.gather(asyncio.to_thread(logistic.predict, x), asyncio.to_thread(svm.predict, x)))


@app.post("/inline")
async def inline(payload: dict):
    x = [[payload[name] for name in FEATURES]]
    return answer(logistic.predict(x), svm.predict(x))
