"""What each step of a pipeline costs, and a hop between deployments, as measured here."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from stretto.batch.batch import Batch
from stretto.compiler import Profile, check, share
from stretto.engine.apply import apply_waiting
from stretto.engine.context import Context
from stretto.engine.evaluate import evaluate
from stretto.engine.inline import InlineBackend
from stretto.errors import PipelineError, StrettoError
from stretto.pipeline import Part, as_pipeline
from stretto.plan.steps import Stage, Step

BATCH = 64
REPEATS = 15
HOPS = 50


async def profile(pipeline: Part[Any, Any], sample: Sequence[Any], *, hop: float | None = None) -> Profile:
    """Measure what each step costs on rows such as these, and what a hop costs, for ``deploy(..., profile=...)``.

    `sample` is a few rows that the pipeline takes. Each step runs in this process, on one row alone and on a batch of
    64, and the median of several runs counts, in seconds a row. `hop` is what a handle call of a Serve deployment
    costs, in seconds; left out, it is measured on the Ray this process is connected to, and where there is none, a
    usual value is taken.

    Raises:
        PipelineError: the sample is empty.
        StrettoError: a row of the sample fails; it is the row's error.

    >>> import asyncio
    >>> asyncio.run(profile(lambda x: 2 * x, [1, 2, 3], hop=0.004)).hop
    0.004
    """
    rows = list(sample)
    if not rows:
        raise PipelineError("profile() needs at least one row that the pipeline takes")
    plan = share(check(as_pipeline(pipeline).plan()))
    watch = _Stopwatch()
    try:
        result = await evaluate(plan, (Batch.of(rows, request=True),), watch, Context())
    finally:
        await watch.aclose()
    failed: StrettoError | None = next(iter(result.errors.values()), None)
    if failed is not None:
        raise failed
    return Profile(watch.alone, watch.batched, await _hop() if hop is None else hop)


class _Stopwatch(InlineBackend):
    """Runs each step several times over its column, and notes the median."""

    def __init__(self) -> None:
        super().__init__()
        self.alone: dict[str, float] = {}
        self.batched: dict[str, float] = {}

    async def run(self, step: Step | Stage, columns: Sequence[Batch], context: Context) -> Batch:
        column = columns[0]
        if isinstance(step, Step) and column.size:
            self.alone[step.name] = await self._time(step, column.slice(0, 1))
            batch = column.take([i % column.size for i in range(BATCH)])
            self.batched[step.name] = await self._time(step, batch) / BATCH
        return await super().run(step, columns, context)

    async def _time(self, step: Step, column: Batch) -> float:
        took: list[float] = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            await apply_waiting(step, column, Context(), self._threads)
            took.append(time.perf_counter() - start)
            if sum(took) > 1.0:
                break
        return statistics.median(took)


async def _hop() -> float:
    """Return what a handle call costs, in seconds, as an application of its own shows: it takes a few to come up."""
    # Only where this process is connected already: a profile starts no Ray.
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return Profile().hop
    from stretto.serve.deploy import deploy

    async with deploy(lambda x: x, name="stretto-hop", placement="fused", direct=False) as client:
        seconds: list[float] = []
        for _ in range(HOPS):
            start = time.perf_counter()
            await client.predict(0)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
