"""What runs in the replicas of Ray Serve: the ingress, which takes the requests, and deployed stages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import anyio.to_thread

from stretto.batch.batch import Batch, scatter
from stretto.compiler.fuse import fuse
from stretto.engine.context import Context, Span, now
from stretto.engine.engine import Engine
from stretto.engine.results import Metadata
from stretto.errors import StrettoError
from stretto.serve.backend import ServeBackend, outdated
from stretto.serve.calls import OUTDATED, Description, OutdatedError, Stored
from stretto.serve.cluster import connected
from stretto.serve.direct_ingress import Address, DirectIngress, listen
from stretto.serve.pickling import pack_batch, sendable, unpack_batch, unpickle_plan, version_of
from stretto.serve.ray import (
    SEPARATE_THREAD,
    DeploymentHandle,
    Handle,
    asgi_ingress,
    ray,
    replica_context,
    routed,
    stored,
)
from stretto.serve.replicas import VALUE_BYTES, Replicas, lanes_to
from stretto.serve.whereabouts import Whereabouts
from stretto.server.app import make_app
from stretto.server.limits import Limits
from stretto.transports.connect import LocalTransport

ANSWER_KEPT = 30.0
"""Seconds for which a large answer is kept for the caller, who fetches it at once."""

PROXIED = "its HTTP requests all pass Serve's proxy, one Python process; with direct=True replicas answer themselves"

AGAIN = 0.05
"""Seconds until a request is tried again whose parts are of several versions."""
REPLACED = 30.0
"""Seconds within which a request without a deadline is answered by one version or the other."""

LargeReply: TypeAlias = tuple[bytes, list[Span]] | StrettoError | str
"""Outcomes with the spans of a traced request, or the error of the whole call: a raised one would become Ray's.

It is `OUTDATED` where the replica is of another version.
"""
Reply: TypeAlias = LargeReply | tuple[Stored, list[Span]]
"""The same, or where outcomes are that are too large to travel by value."""


class StageReplica:
    """Runs one stage, in a deployment of its own. `plan` is the stage's, pickled, and says which version this is.

    It does not start with a model that fails on any row, so that `deploy` reports it, and an old version stays up.

    A call may be for one `version` alone, or with ``"!"`` in front for any other; else the reply is `OUTDATED`.
    """

    def __init__(self, plan: bytes, name: str) -> None:
        self.engine = Engine(fuse(unpickle_plan(plan)), name=name)
        self.engine.warm_up()
        self._version = version_of(plan)

    async def run(self, rows: bytes, step: str | None, traced: bool, version: str, budget: float | None) -> Reply:
        """Return the outcomes of the rows, from one step alone if it is named, within `budget` seconds.

        Rows whose answers can't be pickled fail. This is called by value: the caller fetches a large answer from Ray's
        object store.
        """
        reply = await self.run_large(rows, step, traced, version, budget)
        # In local testing mode there is no store.
        if not isinstance(reply, tuple) or len(reply[0]) <= VALUE_BYTES or not connected():
            return reply
        content, spans = reply
        return Stored(stored(content, ANSWER_KEPT)), spans

    async def run_large(
        self, rows: bytes, step: str | None, traced: bool, version: str, budget: float | None
    ) -> LargeReply:
        """Return the same to a call by reference, whatever the size."""
        if version not in ("", self._version) and (version[0] != "!" or version[1:] == self._version):
            return OUTDATED
        context = Context.starting(budget).traced() if traced else Context.starting(budget)
        try:
            answer = self._answer(await self.engine.evaluate(unpack_batch(rows), context, step))
        except StrettoError as error:
            return error
        try:
            content = pack_batch(answer)
        except Exception:
            rest, positions, errors = sendable(answer, self.engine.name)
            content = pack_batch(scatter(answer.size, [(positions, rest)], errors))
        return content, [replace(span, place=span.place or _place()) for span in context.spans or ()]

    def _answer(self, batch: Batch) -> Batch:
        return batch

    async def ping(self, budget: float | None) -> None:
        """Do nothing: that it returns shows that the replica answers."""


class _Replica(LocalTransport):
    """The plan in this replica, which knows where others of its application are."""

    def __init__(self, whereabouts: Whereabouts, version: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._whereabouts = whereabouts
        self._version = version
        self._newer: Replicas | None = None

    async def metadata(self) -> Metadata:
        return replace(await super().metadata(), addresses=await self._whereabouts.urls())

    async def evaluate(self, batch: Batch, context: Context, step: str | None = None) -> Batch:
        """Return the outcomes of a batch, each of one version.

        While a new version comes up, a stage may have no replica of this version any more. Then a replica of the new
        one answers the whole request instead, as soon as there is one.
        """
        end = now() + REPLACED
        while True:
            lacking: list[str] = []
            token = outdated.set(lacking)
            try:
                answer = await super().evaluate(batch, context, step)
            finally:
                outdated.reset(token)
            if not lacking or context.expired or now() > end:
                return answer
            try:
                self._newer = self._newer or await self._others()
                return await self._newer.outcomes(batch, context, step)
            except OutdatedError:
                await asyncio.sleep(AGAIN)

    async def _others(self) -> Replicas:
        own = replica_context()
        handle = await anyio.to_thread.run_sync(routed, DeploymentHandle(own.deployment, own.app_name))
        return Replicas(handle, own.app_name, f"application {own.app_name!r}", None, version=f"!{self._version}")


@asgi_ingress
class Ingress(StageReplica):
    """Takes the requests, by handle and over HTTP, and evaluates the plan.

    `plan` is the compiled one, pickled, without the models of deployed stages; `handles`, `lanes` and `versions`
    are those of `ServeBackend`.
    """

    def __init__(
        self,
        plan: bytes,
        handles: Mapping[str, Handle],
        lanes: Mapping[str, int | None],
        versions: Mapping[str, str],
        metadata: Metadata,
        tokens: Sequence[str],
        address: Address | None,
    ) -> None:
        metadata = replace(metadata, versions={**metadata.versions, "ray": ray.__version__})
        backend = ServeBackend(handles, lanes, versions, idempotent=metadata.idempotent)
        self._version = version_of(plan, *versions.values())
        name, text = metadata.name, metadata.pipeline
        plan_here = unpickle_plan(plan)
        self.engine = _Replica(
            Whereabouts(address), self._version, plan_here, backend, name=name, text=text, metadata=metadata
        )
        self.engine.warm_up()
        self._app = make_app(self.engine, Limits(tokens=tokens))
        self._address = address
        self._direct: DirectIngress | None = None
        self._lanes = lanes

    def asgi(self) -> Any:
        """Return the HTTP interface; Serve asks for it after the constructor."""
        if self._address is not None:
            self._direct = listen(self._app, self._address)
        return self._app

    def check_health(self) -> None:
        """Make Serve restart the replica if its own HTTP server has ended.

        Raises:
            RuntimeError: it has.
        """
        if self._direct is not None and self._direct.ended:
            raise RuntimeError("the replica's own HTTP server has ended")

    async def __del__(self) -> None:
        """Close direct ingress, once it has answered what it has taken; Serve awaits this when it stops a replica."""
        if self._direct is not None:
            await self._direct.aclose()

    async def describe(self, budget: float | None) -> Description:
        """Return what a client asks before its first request, and `deploy` once the application is up."""
        direct_url = self._address.url if self._address and self._direct else ""
        advice = filter(None, ["" if direct_url else PROXIED, SEPARATE_THREAD])
        context = replica_context()
        lanes = lanes_to(self.engine.plan, self._lanes.values(), context.world_size if context else 1)
        return Description(lanes, direct_url, tuple(advice), await self.engine.metadata())

    async def ready(self, budget: float | None) -> bool:
        """Return whether every deployment of the application answers."""
        return await self.engine.ready()

    def _answer(self, batch: Batch) -> Batch:
        # The client wants Python objects, and has more to do already.
        return Batch(batch.rows(), batch.size, batch.errors)


def _place() -> str:
    context = replica_context()
    return f"{context.deployment}#{context.replica_tag}" if context else "local testing mode"
