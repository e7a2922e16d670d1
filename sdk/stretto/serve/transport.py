"""A client of an application on Ray Serve, by handle: no HTTP between."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import anyio
import numpy as np

from stretto.batch.batch import Batch
from stretto.engine.context import Context
from stretto.engine.fork import forget_after_fork
from stretto.engine.results import Metadata, Trace
from stretto.errors import ConnectionFailed, NotFound, StrettoError
from stretto.serve.calls import Description
from stretto.serve.cluster import check_process, connect, connected, in_thread
from stretto.serve.names import reachable_url
from stretto.serve.ray import ADDRESS, Handle, details, ingress_handle, ray, routed, serve_runs
from stretto.serve.replicas import MAX_BATCH, Replicas
from stretto.transports.base import Transport

CHUNK = 16_384
"""The rows of a handle call where one request has more."""

ANSWER_TIMEOUT = 10.0
"""Seconds in which an application answers whether it is ready, and what it is."""


class HandleTransport(Transport):
    """Reaches an application's ingress by handle, from any process of the Ray cluster.

    `target` is ``"serve://APP"``, the application's name alone, or a handle. A process that is not connected to Ray
    connects, on the first call, to the one that ``RAY_ADDRESS`` names or that runs on this machine. With `description`
    the first call need not ask for it. `max_batch` is the most rows of concurrent `predict` calls that share a handle
    call.
    """

    def __init__(
        self,
        target: str | Handle,
        *,
        url: str = "",
        description: Description | None = None,
        max_batch: int = MAX_BATCH,
    ) -> None:
        self._target = target.removeprefix("serve://") if isinstance(target, str) else target
        self._app: str = self._target if isinstance(self._target, str) else self._target.app_name
        self._url = url
        self._max_batch = max_batch
        self._description = description
        self._replicas: Replicas | None = None
        self._on_ray = False
        forget_after_fork(self)

    def forget(self) -> object:
        """Drop the way to the replicas, in a child of the process that connected, and return it."""
        replicas, self._replicas = self._replicas, None
        return replicas

    @property
    def where(self) -> str:
        """The application, with its URL where that is known."""
        return f"serve://{self._app}" + (f" at {self._url}" if self._url else "")

    @property
    def url(self) -> str:
        """Where it is reached over HTTP, if that is known."""
        return self._url

    @property
    def direct_url(self) -> str:
        """Where the replicas answer HTTP themselves, if that is known."""
        return "" if self._description is None else reachable_url(self._description.direct_url)

    def predict(self, row: Any, context: Context) -> Awaitable[Any]:
        """Return the answer for one row, or raise its error."""
        replicas = self._there()
        return self._first(row, context) if replicas is None else replicas.predict(row, context)

    async def outcomes(
        self, rows: Sequence[Any] | np.ndarray, context: Context, step: str | None = None
    ) -> Sequence[Any]:
        """Return an outcome for each of `rows`, from one step alone if named."""
        replicas = self._there() or await self._connected(context)
        batch = Batch.of(rows, request=True)
        if batch.size <= CHUNK:
            return (await replicas.outcomes(batch, context, step)).outcomes()
        parts = [batch.slice(start, min(start + CHUNK, batch.size)) for start in range(0, batch.size, CHUNK)]
        return [outcome for part in parts for outcome in (await replicas.outcomes(part, context, step)).outcomes()]

    async def trace(self, row: Any, context: Context) -> Trace:
        """Return the outcome of one row with the spans of its steps."""
        context = context.traced()
        (outcome,) = await self.outcomes([row], context)
        return Trace.of(outcome, context.spans or ())

    async def metadata(self) -> Metadata:
        """Return what is deployed."""
        description: Description = await self._ask("describe")
        return description.metadata

    async def ready(self) -> bool:
        """Return whether the application, and every deployment of it, answers."""
        try:
            return await self._ask("ready")
        except StrettoError:
            return False

    async def aclose(self) -> None:
        """Cancel the calls under way; the connection to Ray belongs to the process and stays."""
        if self._replicas is not None:
            await self._replicas.aclose()

    async def _first(self, row: Any, context: Context) -> Any:
        replicas = await self._connected(context)
        return await replicas.predict(row, context)

    async def _ask(self, method: str) -> Any:
        context = Context.starting(ANSWER_TIMEOUT)
        replicas = await self._connected(context)
        with anyio.move_on_after(context.budget):
            return await replicas.call(method)
        raise context.exceeded(f"application {self._app!r}")

    async def _connected(self, context: Context) -> Replicas:
        """Return the replicas; the first call connects to Ray, and asks one of them how to call them."""
        replicas = self._there()
        if replicas is not None:
            return replicas
        check_process()
        where = f"application {self._app!r}"
        with anyio.move_on_after(context.budget):
            handle = await in_thread(lambda _: self._handle())
            if self._description is None:
                self._description = await Replicas(handle, self._app, where, None).call("describe")
            lanes = self._description.lanes
            idempotent = self._description.metadata.idempotent
            self._on_ray = connected()
            # Another call may have been first.
            self._replicas = self._replicas or Replicas(
                handle, self._app, where, lanes, max_batch=self._max_batch, idempotent=idempotent
            )
            return self._replicas
        raise context.exceeded(where)

    def _there(self) -> Replicas | None:
        """Return the replicas, if this process knows them.

        Raises:
            NotFound: the Ray that they were on was stopped: nothing would ever answer a call.
        """
        if self._on_ray and not connected():
            raise NotFound(f"application {self._app!r} is not there: this process is no longer connected to its Ray")
        return self._replicas

    def _handle(self) -> Handle:
        return application_handle(self._target) if isinstance(self._target, str) else routed(self._target)


def application_handle(app: str) -> Handle:
    """Return a handle to an application's ingress, connecting to Ray if need be; this blocks.

    Raises:
        ConnectionFailed: there is no Ray, or Serve does not run on it.
        NotFound: Serve has no such application; the message names those it has.
    """
    connect(start=False)
    where = ray.get_runtime_context().gcs_address
    if not serve_runs():
        raise ConnectionFailed(f"Ray runs at {where} but Ray Serve does not: deploy something, or set {ADDRESS}")
    applications = details()
    handle = ingress_handle(applications.get(app, {}), app)
    if handle is None:
        names = ", ".join(map(repr, applications)) or "none"
        raise NotFound(f"Ray Serve at {where} has no application {app!r}; the applications are {names}")
    return routed(handle)
