"""Deployments of Ray Serve as the place where deployed stages run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar

from stretto.batch.batch import Batch, scatter
from stretto.engine.context import Context, Span
from stretto.engine.inline import InlineBackend
from stretto.errors import Overloaded, StrettoError
from stretto.plan.steps import Stage, Step
from stretto.serve.calls import OutdatedError
from stretto.serve.ray import Handle
from stretto.serve.replicas import Replicas

outdated: ContextVar[list[str] | None] = ContextVar("outdated", default=None)
"""The deployments that, while a request was evaluated, had no replica of this version to answer."""

PING_TIMEOUT = 5.0
"""Seconds in which every deployment must answer for the application to be ready."""


class ServeBackend(InlineBackend):
    """Runs deployed stages in their deployments, and everything else in this process.

    `handles` are those of the deployments by name, and `lanes` how many calls of each are under way at once; None means
    that each request makes a call of its own. Calls are made again where steps are `idempotent`. Replicas of other
    `versions` than these do not answer.
    """

    def __init__(
        self,
        handles: Mapping[str, Handle],
        lanes: Mapping[str, int | None],
        versions: Mapping[str, str] | None = None,
        *,
        idempotent: bool = True,
        workers: int | None = None,
    ) -> None:
        super().__init__(workers=workers)
        versions = versions or {}
        self._deployments = {
            name: Replicas(
                handle, name, f"deployment {name!r}", lanes[name], idempotent=idempotent, version=versions.get(name, "")
            )
            for name, handle in handles.items()
        }

    async def run(self, step: Step | Stage, columns: Sequence[Batch], context: Context) -> Batch:
        """Call a deployed stage's deployment for the rows that have not failed before, or run what is local here."""
        if isinstance(step, Step) or not step.deployment:
            return await super().run(step, columns, context)
        (batch,) = columns
        rows = batch.ok_rows()
        if not rows:
            return batch
        answer = await self._call(step.deployment, batch.take(rows) if batch.errors else batch, context)
        return scatter(batch.size, [(rows, answer)], batch.errors) if batch.errors else answer

    async def ready(self) -> bool:
        """Return whether every deployment answers."""
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                await asyncio.gather(*(each.call("ping") for each in self._deployments.values()))
        except (StrettoError, TimeoutError):
            return False
        return True

    async def aclose(self) -> None:
        """Cancel the calls under way, and let go of threads."""
        await super().aclose()
        for each in self._deployments.values():
            await each.aclose()

    async def _call(self, name: str, batch: Batch, context: Context) -> Batch:
        start = time.time()
        inner = context if context.spans is None else context.traced()
        try:
            return await self._deployments[name].outcomes(batch, inner)
        except OutdatedError:
            lacking = outdated.get()
            if lacking is not None:
                lacking.append(name)
            message = f"deployment {name!r} has a new version, whose answers are not mixed with others: try again"
            return Batch.failed(Overloaded(message, 0.1) for _ in range(batch.size))
        except StrettoError as error:
            return Batch.failed(error.copy() for _ in range(batch.size))
        finally:
            if context.spans is not None:
                spans = inner.spans or []
                place = spans[0].place if spans else ""
                context.spans.extend([Span(name, "handle", start, time.time(), batch.size, place), *spans])
