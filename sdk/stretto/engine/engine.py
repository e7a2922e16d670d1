"""A plan in this process: the engine that a client, the HTTP server and a Serve replica all hold."""

from __future__ import annotations

import os
import platform
from collections.abc import Awaitable, Sequence
from importlib.metadata import version
from typing import Any

import anyio
import anyio.to_thread
import numpy as np

from stretto.batch.batch import Batch
from stretto.engine.backend import Backend
from stretto.engine.context import Context
from stretto.engine.evaluate import evaluate
from stretto.engine.inline import InlineBackend
from stretto.engine.results import Metadata, Trace
from stretto.errors import NotFound, StrettoError
from stretto.plan.nodes import Call
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step

CHUNK = 16_384
"""The rows evaluated in one go where a call brings more, so that memory stays bounded and others get their turn."""


class Engine:
    """Evaluates a compiled plan in this process, over a backend.

    Where the plan is one stage, rows of concurrent calls wait in front of it and nothing else stands between. Where it
    is not, each request is evaluated by itself and its rows meet others' in front of each stage, so that a slow step
    holds up only the rows that need it.
    """

    def __init__(self, plan: Plan, backend: Backend | None = None, *, name: str = "", text: str = "") -> None:
        self.plan = plan
        self.backend = InlineBackend() if backend is None else backend
        self.name = name
        self.text = text
        self._steps = _by_name(plan)
        self._alone: dict[str, Plan] = {}
        self._queue = None if plan.stage is None else self.backend.queue(plan.stage)

    def predict(self, row: Any, context: Context) -> Awaitable[Any]:
        """Return the answer for one row, or raise its error."""
        return self._predict(row, context) if self._queue is None else self._queue.ask(row, context)

    async def _predict(self, row: Any, context: Context) -> Any:
        (outcome,) = await self._evaluate(self.plan, [row], context)
        if isinstance(outcome, StrettoError):
            raise outcome
        return outcome

    async def outcomes(
        self, rows: Sequence[Any] | np.ndarray, context: Context, step: str | None = None
    ) -> Sequence[Any]:
        """Return an outcome for each of `rows`, from one step alone if named."""
        plan = self.plan if step is None else self._of(step)
        if len(rows) <= CHUNK:
            return await self._evaluate(plan, rows, context)
        starts = range(0, len(rows), CHUNK)
        chunks: dict[int, Sequence[Any]] = {}
        places = anyio.Semaphore(os.cpu_count() or 1)

        async def chunk(start: int) -> None:
            async with places:
                chunks[start] = await self._evaluate(plan, rows[start : start + CHUNK], context)

        async with anyio.create_task_group() as tasks:
            for start in starts:
                tasks.start_soon(chunk, start)
        return [outcome for start in starts for outcome in chunks[start]]

    async def trace(self, row: Any, context: Context) -> Trace:
        """Return the outcome of one row, run alone, with the spans of its steps."""
        context = context.traced()
        (outcome,) = await self._evaluate(self.plan, [row], context)
        failed = isinstance(outcome, StrettoError)
        ordered = tuple(sorted(context.spans or (), key=lambda span: (span.start, -span.end)))
        return Trace(None if failed else outcome, outcome if failed else None, ordered)

    async def metadata(self) -> Metadata:
        """Return what this pipeline is."""
        return Metadata(
            name=self.name,
            pipeline=self.text,
            plan=self.plan.text,
            steps=tuple(self._steps),
            features=self._features(),
            versions={"stretto": version("stretto"), "python": platform.python_version()},
        )

    async def ready(self) -> bool:
        """Return True: models are loaded before there is a plan."""
        return True

    async def aclose(self) -> None:
        """Cancel calls under way, and let go of threads."""
        await self.backend.aclose()

    async def _evaluate(self, plan: Plan, rows: Sequence[Any] | np.ndarray, context: Context) -> Sequence[Any]:
        if context.expired:
            return [context.exceeded("the queue of the pipeline") for _ in rows]
        batch = await evaluate(plan, (Batch.of(rows, request=True),), self.backend, context)
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

    def _features(self) -> tuple[str, ...]:
        readers = [node.step for node in self.plan.readers() if isinstance(node, Call) and isinstance(node.step, Step)]
        return tuple(dict.fromkeys(name for step in readers for name in step.features or ()))


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
