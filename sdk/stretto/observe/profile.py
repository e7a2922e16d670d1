"""What each step of a pipeline costs, and a hop between deployments, as measured here."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypedDict, Unpack

from stretto.batch.batch import Batch
from stretto.compiler import TOGETHER, Profile, check, share
from stretto.engine.apply import apply_waiting
from stretto.engine.context import Context
from stretto.engine.evaluate import evaluate
from stretto.engine.inline import InlineBackend
from stretto.errors import PipelineError, StrettoError
from stretto.pipeline import Part, as_pipeline
from stretto.plan.steps import Stage, Step

REPEATS = 15
HOPS = 100


class _Hops(TypedDict, total=False):
    """The fields of a profile that say what calls cost."""

    hop: float
    hops: Sequence[float]
    caller: tuple[float, float]
    replica: tuple[float, float]
    client: float


async def profile(pipeline: Part[Any, Any], sample: Sequence[Any], *, hop: float | None = None) -> Profile:
    """Measure what steps and hops cost on rows such as these: for ``deploy(..., profile=)`` and `stretto.simulate`.

    `sample` is a few rows that the pipeline takes. Each step runs in this process, on one row alone and on a batch of
    64, and the median of several runs counts. `hop` is what a handle call of a Serve deployment costs, in seconds; left
    out, it is measured on the Ray this process is connected to, and where there is none, a usual value is taken.

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
    hops = await _hops() if hop is None else _Hops(hop=hop)
    return _profile(watch, rows, **hops)


def _profile(watch: _Stopwatch, rows: Sequence[Any], **hops: Unpack[_Hops]) -> Profile:
    return Profile(watch.alone, watch.batched, reading=watch.reading, busy=watch.busy, rows=rows, **hops)


class _Stopwatch(InlineBackend):
    """Runs each step several times over its column, and keeps the medians."""

    def __init__(self) -> None:
        super().__init__()
        self.alone: dict[str, float] = {}
        self.batched: dict[str, float] = {}
        self.reading: dict[str, tuple[float, float]] = {}
        self.busy: dict[str, float] = {}

    async def run(self, step: Step | Stage, columns: Sequence[Batch], context: Context) -> Batch:
        column = columns[0]
        if isinstance(step, Step) and column.size:
            together = column.take([i % column.size for i in range(TOGETHER)])
            if step.reader is not None:
                one, many = [_reading(step, each) for each in (column.slice(0, 1), together)]
                self.reading[step.name] = (one, many / TOGETHER)
            self.alone[step.name], self.busy[step.name] = await self._time(step, column.slice(0, 1))
            many, _ = await self._time(step, together)
            self.batched[step.name] = many / TOGETHER
        return await super().run(step, columns, context)

    async def _time(self, step: Step, column: Batch) -> tuple[float, float]:
        """Return the median of the seconds that the step takes, and the part of all its time that a core was held."""
        took: list[float] = []
        others = await _busy_without()
        busy = time.process_time()
        for _ in range(REPEATS):
            start = time.perf_counter()
            await apply_waiting(step, column, Context(), self._threads)
            took.append(time.perf_counter() - start)
            if sum(took) > 1.0:
                break
        held = (time.process_time() - busy) / sum(took) - others
        return statistics.median(took), min(1.0, max(0.0, held))


async def _busy_without() -> float:
    """Return for which part of the time a core is held by what else this process does, such as idle BLAS threads."""
    busy, start = time.process_time(), time.perf_counter()
    await asyncio.sleep(0.01)
    return (time.process_time() - busy) / (time.perf_counter() - start)


def _reading(step: Step, column: Batch) -> float:
    """Return the median of the seconds that reading the column for the step takes: it is kept, and done once."""
    took: list[float] = []
    for _ in range(REPEATS):
        fresh = Batch(column.values, column.size, column.errors, request=column.request)
        start = time.perf_counter()
        try:
            fresh.read(step.reader)
        except Exception:
            return 0.0  # read row by row, by the step itself
        took.append(time.perf_counter() - start)
    return statistics.median(took)


async def _hops() -> _Hops:
    """Return what handle calls cost, as an application of its own shows, which takes a few seconds to come up."""
    # Only where this process is connected already: a profile starts no Ray.
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return _Hops()
    from stretto.serve.deploy import deploy

    async with deploy(_processor_time, name="stretto-hop", placement="fused", direct=False) as client:
        rows = [0] * TOGETHER
        alone, caller, replica = await _calls(lambda: client.predict_many([0]))
        _, caller_many, replica_many = await _calls(lambda: client.predict_many(rows))
        _, by_row, _ = await _calls(lambda: asyncio.gather(*map(client.predict, rows)))
    return _Hops(
        hop=statistics.median(alone),
        hops=sorted(alone),
        caller=(caller, caller_many / TOGETHER),
        replica=(replica, replica_many / TOGETHER),
        client=max(0.0, by_row - caller_many) / TOGETHER,
    )


def _processor_time(_: Any) -> float:
    return time.process_time()


async def _calls(call: Callable[[], Awaitable[Sequence[float]]]) -> tuple[list[float], float, float]:
    """Return the seconds of calls, and the processor time of this process and of the replica for each of them."""
    for _ in range(HOPS // 5):
        await call()
    here, there = time.process_time(), (await call())[0]
    seconds, ended = list[float](), there
    for _ in range(HOPS):
        start = time.perf_counter()
        ended = (await call())[-1]
        seconds.append(time.perf_counter() - start)
    return seconds, (time.process_time() - here) / (HOPS + 1), (ended - there) / HOPS
