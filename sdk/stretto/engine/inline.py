"""Everything in this process: stages behind queues, waiting steps as tasks, blocking ones in threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from stretto.batch.batch import Batch
from stretto.engine.apply import apply_waiting
from stretto.engine.backend import Backend
from stretto.engine.context import Context
from stretto.engine.evaluate import evaluate
from stretto.engine.per_loop import PerLoop
from stretto.engine.stage_queue import StageQueue
from stretto.engine.threads import Threads
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step

THREADS = 40
"""How many threads a pipeline has in this process, as many as AnyIO's own default."""


class InlineBackend(Backend):
    """Runs every call of a plan in this process and the caller's event loop, of which there may be several.

    `max_batch` bounds the rows a stage takes in one go, `max_queued` those that wait in front of it, and
    `workers` how many batches of it run side by side in threads.
    """

    def __init__(self, *, max_batch: int = 512, max_queued: int = 10_000, workers: int | None = None) -> None:
        self._max_batch = max_batch
        self._max_queued = max_queued
        self._workers = workers or os.cpu_count() or 1
        self._queues: dict[Stage, StageQueue] = {}
        self._threads = Threads(THREADS)
        self._asides = PerLoop(set[asyncio.Task[object]])

    def queue(self, stage: Stage) -> StageQueue:
        """Return the queue in which the rows of concurrent requests meet in front of a stage."""
        queue = self._queues.get(stage)
        if queue is None:
            queue = StageQueue(
                stage, self._threads, max_batch=self._max_batch, max_queued=self._max_queued, workers=self._workers
            )
        return self._queues.setdefault(stage, queue)  # another thread may have been first

    async def run(self, step: Step | Stage, columns: Sequence[Batch], context: Context) -> Batch:
        """Apply a step here, or queue a stage's rows."""
        if isinstance(step, Step):
            return await apply_waiting(step, columns[0], context, self._threads)
        if step.plan.waits:
            # What has a deployment of its own on Ray Serve may wait: here it is evaluated where it stands.
            return await evaluate(step.plan, columns, self, context)
        return await self.queue(step).run(tuple(columns), context)

    def evaluate(self, plan: Plan, columns: Sequence[Batch], context: Context) -> Awaitable[Batch]:
        """Evaluate a plan here."""
        return evaluate(plan, columns, self, context)

    def aside(self, work: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Start work that nobody waits for; under load it is the first to go."""
        tasks = self._asides.here()
        if len(tasks) >= THREADS:
            return False
        # In no task group, as a batch's: it outlives its request, and ends with the backend.
        tasks.add(task := asyncio.create_task(work()))
        task.add_done_callback(tasks.discard)
        return True

    async def ready(self) -> bool:
        """Return whether what it runs calls on answers; in this process models are loaded before there is a plan."""
        return True

    async def aclose(self) -> None:
        """Cancel what runs and withdraw what waits."""
        tasks = list(self._asides.here())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for queue in self._queues.values():
            await queue.aclose()
        await self._threads.aclose()
