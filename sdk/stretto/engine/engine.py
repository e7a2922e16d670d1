"""A plan in this process: the engine that a client, the HTTP server and a Serve replica all hold."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from importlib.metadata import version
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import numpy as np

from stretto.batch.arrays import size
from stretto.batch.batch import Batch
from stretto.batch.frames import Frame
from stretto.engine.as_ready import Ready, as_ready
from stretto.engine.context import Context
from stretto.engine.evaluate import evaluate
from stretto.engine.inline import InlineBackend
from stretto.engine.results import Metadata, Trace
from stretto.errors import ModelError, NotFound, StrettoError
from stretto.plan.nodes import Call
from stretto.plan.plan import Plan
from stretto.plan.steps import ModelInfo, Stage, Step

CHUNK = 32768
"""The rows evaluated in one go at most, so that memory stays bounded and others get their turn."""
FRAME_CHUNK = 131072
"""The same for the rows of a data frame, of which a call takes milliseconds whatever their number, on one core."""


class Engine:
    """Evaluates a compiled plan in this process, over a backend.

    Where the plan is one stage, rows of concurrent calls wait in front of it and nothing else stands between. Where it
    is not, each request is evaluated by itself and its rows meet others' in front of each stage, so that a slow step
    holds up only the rows that need it. `metadata` is that of the plan, where the one at hand lacks models.
    """

    def __init__(
        self,
        plan: Plan,
        backend: InlineBackend | None = None,
        *,
        name: str = "",
        text: str = "",
        metadata: Metadata | None = None,
    ) -> None:
        self.plan = plan
        self.backend = InlineBackend() if backend is None else backend
        self.name = name
        self.text = text
        self._metadata = metadata
        self._steps = _by_name(plan)
        self._alone: dict[str, Plan] = {}
        self._warm = False
        self._queue = None if plan.stage is None else self.backend.queue(plan.stage)

    def predict(self, row: Any, context: Context) -> Awaitable[Any]:
        """Return the answer for one row, or raise its error."""
        return self._predict(row, context) if self._queue is None else self._queue.ask(row, context)

    async def _predict(self, row: Any, context: Context) -> Any:
        (outcome,) = await self._outcomes([row], context)
        if isinstance(outcome, StrettoError):
            raise outcome
        return outcome

    async def outcomes(
        self, rows: Sequence[Any] | np.ndarray, context: Context, step: str | None = None
    ) -> Sequence[Any]:
        """Return an outcome for each of `rows`, from one step alone if named."""
        count = size(rows)
        most = FRAME_CHUNK if isinstance(rows, Frame) and not rows.numeric else CHUNK
        if count <= most:
            return await self._outcomes(rows, context, step)
        # Parts of one size, since an estimator's cost of a call is paid for each.
        length = -(-count // -(-count // most))
        starts = range(0, count, length)
        chunks: dict[int, Sequence[Any]] = {}
        places = anyio.Semaphore(os.cpu_count() or 1)

        async def chunk(start: int) -> None:
            async with places:
                chunks[start] = await self._outcomes(rows[start : start + length], context, step)

        async with anyio.create_task_group() as tasks:
            for start in starts:
                tasks.start_soon(chunk, start)
        return [outcome for start in starts for outcome in chunks[start]]

    async def batch(self, rows: Sequence[Any] | np.ndarray, context: Context) -> Batch:
        """Return the same outcomes as a batch: as arrays, where models answer with arrays."""
        if size(rows) > CHUNK:
            return Batch.of_outcomes(await self.outcomes(rows, context))
        return await self.evaluate(Batch.of(rows, request=True), context)

    async def parts(self, rows: Sequence[Any], context: Context) -> AsyncGenerator[Ready]:
        """Yield the outcomes as they are ready, with the rows' positions.

        The rows of one stage are computed together, as long as that pays. Elsewhere each is evaluated by itself, and
        holds up no other.
        """
        # A frame or an array is one value, and so are its rows.
        if not isinstance(rows, list) or (self._queue is not None and self._queue.takes_together(len(rows))):
            yield list(enumerate(await self.outcomes(rows, context)))
            return
        async with aclosing(as_ready(len(rows), lambda at: self.predict(rows[at], context))) as parts:
            async for part in parts:
                yield part

    async def trace(self, row: Any, context: Context) -> Trace:
        """Return the outcome of one row, run alone, with the spans of its steps."""
        context = context.traced()
        (outcome,) = await self._outcomes([row], context)
        return Trace.of(outcome, context.spans or ())

    async def evaluate(self, batch: Batch, context: Context, step: str | None = None) -> Batch:
        """Return the outcomes of a batch by the deadline, from one step alone if named."""
        plan = self.plan if step is None else self._of(step)
        if context.expired:
            return Batch.failed(context.exceeded("the queue of the pipeline") for _ in range(batch.size))
        return await evaluate(plan, (batch,), self.backend, context)

    async def metadata(self) -> Metadata:
        """Return what this pipeline is."""
        if self._metadata is None:
            self._metadata = describe(self.plan, self.name, self.text)
        return self._metadata

    def warm_up(self) -> None:
        """Run each model that is here on a made-up row, once, which shows what is broken.

        Raises:
            ModelError: a model fails on any row.
        """
        for step in () if self._warm else self.plan.steps():
            if step.model is not None and step.model.warm_up is not None:
                try:
                    step.model.warm_up()
                except ModelError as error:
                    raise ModelError(f"model {step.name!r}: {error}") from error
        self._warm = True

    async def ready(self) -> bool:
        """Return whether everything that the plan needs answers.

        Raises:
            ModelError: a model fails on any row.
        """
        if not self._warm:
            await anyio.to_thread.run_sync(self.warm_up)
        return await self.backend.ready()

    async def aclose(self) -> None:
        """Cancel calls under way, and let go of threads."""
        await self.backend.aclose()

    async def _outcomes(
        self, rows: Sequence[Any] | np.ndarray, context: Context, step: str | None = None
    ) -> Sequence[Any]:
        batch = await self.evaluate(Batch.of(rows, request=True), context, step)
        if batch.size < CHUNK:
            return batch.outcomes()
        # Making so many answers takes longer than the event loop may be held.
        return await anyio.to_thread.run_sync(batch.outcomes)

    def _of(self, step: str) -> Plan:
        if step not in self._steps:
            raise NotFound(f"there is no step {step!r}; the steps are {', '.join(map(repr, self._steps)) or 'none'}")
        if step not in self._alone:
            self._alone[step] = Plan.of_step(self._steps[step])
        return self._alone[step]


def describe(plan: Plan, name: str, text: str) -> Metadata:
    """Return the metadata of a compiled plan; `text` is the pipeline as written."""
    models = [each.model for each in plan.readers() if each.model is not None]
    signatures = [each.signature for each in models if each.signature]
    last = _last(plan)
    return Metadata(
        name=name,
        pipeline=text,
        plan=plan.text,
        steps=tuple(_by_name(plan)),
        features=tuple(dict.fromkeys(feature for step in plan.readers() for feature in step.features or ())),
        signature=msgspec.to_builtins(signatures[0]) if signatures else None,
        versions={"stretto": version("stretto"), "python": platform.python_version()},
        idempotent=all(step.idempotent for step in plan.steps()),
        takes={"kind": models[0].takes, "width": models[0].n_features} if models and models[0].takes else None,
        answers=None if last is None else {"output": last.output, "classes": last.classes, "width": last.width},
    )


def _last(plan: Plan) -> ModelInfo | None:
    """Return the model whose answers are the plan's, None where another step makes them."""
    match plan.output:
        case Call(step=Step(model=model)):
            return model
        case Call(step=Stage(plan=inner)):
            return _last(inner)
        case _:
            return None


def _by_name(plan: Plan) -> dict[str, Step | Stage]:
    """Return each step that users know by its name, or the deployment that runs it, if no other has that name."""
    steps: dict[str, Step | Stage] = {}
    twice: set[str] = set()
    for step in plan.steps():
        if step.internal:
            continue
        other = steps.setdefault(step.name, step)
        if other is not step and isinstance(other, Step) and (step.key is None or step.key != other.key):
            twice.add(step.name)
    for node in plan.walk():
        if isinstance(node, Call) and isinstance(node.step, Stage) and node.step.deployment:
            steps[node.step.deployment] = node.step
    return {name: step for name, step in steps.items() if name not in twice}
