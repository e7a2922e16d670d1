"""Deployments of Ray Serve as the place where deployed stages run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

from stretto.batch.batch import Batch, scatter
from stretto.engine.context import Context, Span
from stretto.engine.inline import InlineBackend
from stretto.errors import StrettoError
from stretto.plan.steps import Stage, Step
from stretto.serve.calls import call, translating
from stretto.serve.ray import Handle, by_value
from stretto.serve.replicas import Replicas


class ServeBackend(InlineBackend):
    """Runs deployed stages in their deployments, and everything else in this process.

    `handles` are those of the deployments by name, and `lanes` how many calls of each are under way at once; None means
    that each request makes a call of its own.
    """

    def __init__(self, handles: Mapping[str, Handle], lanes: Mapping[str, int | None]) -> None:
        super().__init__()
        self._deployments = {name: StageDeployment(name, handle, lanes[name]) for name, handle in handles.items()}

    async def run(self, step: Step | Stage, columns: tuple[Batch, ...], context: Context) -> Batch:
        """Call a deployed stage's deployment, or run what is local here."""
        if isinstance(step, Stage) and step.deployment:
            return await self._deployments[step.deployment].run(columns[0], context)
        return await super().run(step, columns, context)

    async def ready(self) -> bool:
        """Return whether every deployment answers."""
        try:
            await asyncio.gather(*(each.ping() for each in self._deployments.values()))
        except StrettoError:
            return False
        return True

    async def aclose(self) -> None:
        """Cancel the calls under way, and let go of threads."""
        await super().aclose()
        for each in self._deployments.values():
            await each.replicas.aclose()


class StageDeployment:
    """The deployment of a stage, seen from the process that took the request."""

    def __init__(self, name: str, handle: Handle, lanes: int | None) -> None:
        self.name = name
        self.replicas = Replicas(handle, name, f"deployment {name!r}", lanes)
        self._ping = by_value(handle, "ping")

    async def run(self, batch: Batch, context: Context) -> Batch:
        """Return the outcomes of the rows that have not failed before, by the deadline."""
        rows = batch.fine()
        if not rows:
            return batch
        answer = await self._outcomes(batch.take(rows) if batch.errors else batch, context)
        return scatter(batch.size, [(rows, answer)], batch.errors) if batch.errors else answer

    async def ping(self) -> None:
        """Check that a replica answers.

        Raises:
            StrettoError: it does not.
        """
        with translating(self.name):
            await call(self._ping, deadline=None)

    async def _outcomes(self, batch: Batch, context: Context) -> Batch:
        start = time.time()
        spans = None if context.spans is None else list[Span]()
        try:
            return await self.replicas.outcomes(batch, replace(context, spans=spans))
        except StrettoError as error:
            return Batch.failed(error.copy() for _ in range(batch.size))
        finally:
            if context.spans is not None and spans is not None:
                place = spans[0].place if spans else ""
                context.spans.extend([Span(self.name, "handle", start, time.time(), batch.size, place), *spans])
