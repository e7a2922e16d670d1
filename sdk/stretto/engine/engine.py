"""A plan in this process: the engine that a client, the HTTP server and a Serve replica all hold."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
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
        stage = plan.stage
        self._lane = self.backend.lane(stage) if stage is not None and isinstance(self.backend, InlineBackend) else None

    async def predict(self, row: Any, context: Context) -> Any:
        """Return the answer for one row, or raise its error."""
        if self._lane is not None:
            if context.deadline is None:
                return await self._lane.submit(row, None)
            with anyio.move_on_after(context.budget):
                return await self._lane.submit(row, context.deadline)
            raise context.exceeded(f"stage {self._lane.stage.name!r}")
        outcome = (await self._evaluate(self.plan, Batch([row], 1, request=True), context)).outcomes()[0]
        if isinstance(outcome, StrettoError):
            raise outcome
        return outcome

    async def outcomes(
        self, rows: Sequence[Any] | np.ndarray, context: Context, step: str | None = None
    ) -> Sequence[Any]:
        """Return an outcome for each of `rows`, from one step alone if named."""
        plan = self.plan if step is None else self._of(step)
        if len(rows) <= CHUNK:
            return (await self._evaluate(plan, Batch.of(rows, request=True), context)).outcomes()
        found: dict[int, list[Any]] = {}
        places = anyio.Semaphore(os.cpu_count() or 1)

        async def chunk(start: int) -> None:
            async with places:
                column = await self._evaluate(plan, Batch.of(rows[start : start + CHUNK], request=True), context)
                # Making so many answers takes longer than the event loop may be held.
                found[start] = await anyio.to_thread.run_sync(column.outcomes)

        async with anyio.create_task_group() as tasks:
            for start in range(0, len(rows), CHUNK):
                tasks.start_soon(chunk, start)
        return [outcome for start in sorted(found) for outcome in found[start]]

    async def trace(self, row: Any, context: Context) -> Trace:
        """Answer one row alone, noting when each step ran."""
        context = context.traced()
        outcome = (await self._evaluate(self.plan, Batch([row], 1, request=True), context)).outcomes()[0]
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

    async def _evaluate(self, plan: Plan, column: Batch, context: Context) -> Batch:
        if context.expired:
            return Batch.failed([context.exceeded("the queue of the pipeline") for _ in range(column.size)])
        return await evaluate(plan, (column,), self.backend, context)

    def _of(self, step: str) -> Plan:
        if step not in self._steps:
            raise NotFound(f"there is no step {step!r}; the steps are {', '.join(map(repr, self._steps)) or 'none'}")
        if step not in self._alone:
            self._alone[step] = Plan.of_step(self._steps[step])
        return self._alone[step]

    def _features(self) -> tuple[str, ...]:
        known = [step.features or () for step in _first_steps(self.plan)]
        return tuple(dict.fromkeys(name for names in known for name in names))


def _by_name(plan: Plan) -> dict[str, Step | Stage]:
    """Return each step by its name, or the deployment that runs it; names that two steps share are omitted."""
    found: dict[str, Step | Stage] = {}
    twice: set[str] = set()
    for step in plan.steps():
        other = found.setdefault(step.name, step)
        if other is not step and isinstance(other, Step) and (step.key is None or step.key != other.key):
            twice.add(step.name)
    for node in plan.walk():
        if isinstance(node, Call) and isinstance(node.step, Stage) and node.step.deployment:
            found[node.step.deployment] = node.step
    return {name: step for name, step in found.items() if name not in twice}


def _first_steps(plan: Plan) -> list[Step]:
    """Return the steps that are applied to the plan's own input, looking into stages and sub-plans."""
    steps: list[Step] = []
    left = [(plan, plan.inputs[0])] if plan.inputs else []
    while left:
        each, start = left.pop(0)
        for node in each.order:
            if start not in node.inputs:
                continue
            left += [(sub, sub.inputs[0]) for sub in node.plans]
            if isinstance(node, Call) and isinstance(node.step, Stage):
                left.append((node.step.plan, node.step.plan.inputs[node.inputs.index(start)]))
            elif isinstance(node, Call) and isinstance(node.step, Step):
                steps.append(node.step)
    return steps
