"""What runs in the replicas of Ray Serve: the deployment that takes the requests, and those that host stages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stretto.batch.batch import Batch
from stretto.compiler.fuse import fuse
from stretto.engine.context import Context, Span
from stretto.engine.evaluate import evaluate
from stretto.engine.inline import InlineBackend
from stretto.engine.results import Metadata, Trace
from stretto.errors import StepError, StrettoError
from stretto.plan.nodes import Call, Input, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage
from stretto.serve.backend import LANES, ServeBackend
from stretto.serve.calls import Handle, unsendable
from stretto.serve.direct_ingress import Address, Direct, listening
from stretto.serve.parcel import owned, pack
from stretto.serve.pickling import unpacked
from stretto.serve.ray import ray, separate_thread, serve, serve_errors
from stretto.server.app import make_app
from stretto.server.limits import Limits
from stretto.transports.local import LocalTransport

PING = 5.0
"""Seconds in which every deployment must answer for the application to call itself ready."""


PROXIED = "its HTTP requests all pass Serve's proxy, one Python process; with direct=True replicas answer themselves"
SEPARATE = (
    "replicas run its code in a second thread, which a handle call pays for twice; where no step blocks the event loop "
    "for long, start Ray with RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=0 or RAY_SERVE_THROUGHPUT_OPTIMIZED=1"
)


class Host:
    """Runs one hosted stage, in a deployment of its own. `plan` is the stage's, pickled by whoever deploys it."""

    def __init__(self, plan: bytes, name: str) -> None:
        self._plan: Plan = fuse(unpacked(plan))
        self._name = name
        self._backend = InlineBackend()

    async def run(self, column: Batch, traced: bool, careful: bool, budget: float | None) -> tuple[Batch, list[Span]]:
        """Return the outcomes of the rows, with the spans of the work if it is traced.

        A `careful` call fails the rows whose answers can't be pickled; any other fails whole.
        """
        context = Context.starting(budget)
        context = context.traced() if traced else context
        if context.expired:
            return Batch.failed(
                context.exceeded(f"the way to deployment {self._name!r}") for _ in range(column.size)
            ), []
        answer = await evaluate(self._plan, (owned(column),), self._backend, context)
        if careful:
            answer = Batch.of_outcomes(_portable(answer.outcomes(), self._name))
        return answer, [replace(span, place=_place()) for span in context.spans or ()]

    async def ping(self, budget: float | None) -> None:
        """Answer, and so say that it is there."""


@serve.ingress()  # pyright: ignore[reportUntypedClassDecorator]
class Ingress:
    """Takes the requests, by handle and over HTTP, and evaluates the plan.

    `plan` is the compiled one, pickled; `handles` and `lanes` are those of `ServeBackend`. What fails travels as an
    outcome: an exception that a call ends in is Ray's.
    """

    def __init__(
        self,
        plan: bytes,
        handles: Mapping[str, Handle],
        lanes: Mapping[str, int | None],
        metadata: Metadata,
        tokens: Sequence[str],
        address: Address | None,
    ) -> None:
        metadata = replace(metadata, versions={**metadata.versions, "ray": ray.__version__})
        self._transport = _ReplicaEngine(unpacked(plan), ServeBackend(handles, lanes), metadata)
        self._tokens = tokens
        self._address = address
        self._direct: Direct | None = None
        self._even = _is_even(self._transport.plan) and None not in lanes.values()

    def __serve_build_asgi_app__(self) -> Any:
        """Return the HTTP interface; Serve asks for it once the constructor is done."""
        app = make_app(self._transport, Limits(tokens=self._tokens))
        if self._address is not None:
            self._direct = listening(app, self._address)
        return app

    def check_health(self) -> None:
        """Have Serve restart the replica if it no longer answers by itself.

        Raises:
            RuntimeError: its HTTP server has ended.
        """
        if self._direct is not None and not self._direct.up:
            raise RuntimeError("the replica's own HTTP server has ended")

    async def direct(self, budget: float | None) -> str:
        """Return the address at which the replica answers HTTP itself, or the empty string."""
        return self._address.url if self._address is not None and self._direct is not None else ""

    async def advice(self, budget: float | None) -> tuple[str, ...]:
        """Return what could be faster, of what is settled when a cluster comes up or an application is deployed."""
        proxied = () if await self.direct(budget) else (PROXIED,)
        return (*proxied, SEPARATE) if separate_thread() else proxied

    async def outcomes(
        self, rows: Sequence[Any] | np.ndarray, step: str | None, careful: bool, budget: float | None
    ) -> Any:
        """Return an outcome for each row, or the error of the whole call.

        A `careful` call fails the rows whose answers can't be pickled; any other fails whole.
        """
        try:
            outcomes = await self._transport.outcomes(owned(rows), Context.starting(budget), step)
        except StrettoError as error:
            return error
        return _portable(outcomes, self._transport.name) if careful else pack(outcomes)

    async def trace(self, row: Any, budget: float | None) -> Trace:
        """Answer one row alone, noting what happened on the way."""
        trace = await self._transport.trace(owned(row), Context.starting(budget))
        return replace(trace, spans=tuple(replace(span, place=span.place or _place()) for span in trace.spans))

    async def metadata(self, budget: float | None) -> Metadata:
        """Return what is deployed."""
        return await self._transport.metadata()

    async def ready(self, budget: float | None) -> bool:
        """Return whether every deployment of the application answers."""
        return await self._transport.ready()

    async def lanes(self, budget: float | None) -> int:
        """Return how many calls of many rows one process should have under way, for all replicas together.

        It is 0 where rows that come together are not done together: there each is to come in a call of its own.
        """
        return LANES * _world_size() if self._even else 0


class _ReplicaEngine(LocalTransport):
    """What evaluates in the deployment that takes the requests; of models hosted elsewhere it says what it was told."""

    def __init__(self, plan: Plan, backend: ServeBackend, metadata: Metadata) -> None:
        super().__init__(plan, backend, name=metadata.name, text=metadata.pipeline)
        self._serve = backend
        self._metadata = metadata

    async def metadata(self) -> Metadata:
        """Return what was deployed."""
        return self._metadata

    async def ready(self) -> bool:
        """Return whether every deployment answers."""
        try:
            async with asyncio.timeout(PING):
                return await self._serve.ready()
        except TimeoutError:
            return False


def _is_even(plan: Plan) -> bool:
    # Every row needs all of the plan, and no row waits for work that only another one needs.
    calls = [node for node in plan.order if not isinstance(node, Input | Pack)]
    return all(isinstance(node, Call) and isinstance(node.step, Stage) for node in calls)


def _portable(outcomes: Sequence[Any], where: str) -> list[Any]:
    failures = unsendable(outcomes)
    return [StepError.of(where, failures[i]) if i in failures else outcome for i, outcome in enumerate(outcomes)]


def _world_size() -> int:
    try:
        return max(1, serve.get_replica_context().world_size)
    except serve_errors.RayServeException:
        return 1


def _place() -> str:
    try:
        context = serve.get_replica_context()
    except serve_errors.RayServeException:
        return "local testing mode"
    return f"{context.deployment}#{context.replica_tag}"
