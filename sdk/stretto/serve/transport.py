"""A client of an application on Ray Serve, by handle: no HTTP between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import numpy as np

from stretto.batch.batch import Batch
from stretto.engine.context import Context, late
from stretto.engine.results import Metadata, Trace
from stretto.errors import NotFound, StrettoError
from stretto.serve.calls import Description, call, translating
from stretto.serve.cluster import connect, in_thread, require_serve
from stretto.serve.names import reachable_url
from stretto.serve.ray import Handle, by_value, details, ingress_handle, ray, routed
from stretto.serve.replicas import Replicas
from stretto.transports.base import Transport

CHUNK = 16_384
"""The rows of a handle call where one request has more."""

ANSWER_TIMEOUT = 10.0
"""Seconds in which an application answers whether it is ready, and what it is."""


class HandleTransport(Transport):
    """Reaches an application's ingress by handle, from any process of the Ray cluster.

    `target` is the application's name, or a handle. A process that is not connected to Ray connects, on the first call,
    to the one that ``RAY_ADDRESS`` names or that runs on this machine. `description` spares the question for it.
    """

    def __init__(self, target: str | Handle, *, url: str = "", description: Description | None = None) -> None:
        self._target = target
        self._app: str = target if isinstance(target, str) else target.app_name
        self._url = url
        self._description = description
        self._handle: Handle | None = None
        self._replicas: Replicas | None = None

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

    async def predict(self, row: Any, timeout: float | None) -> Any:
        """Return the answer for one row, or raise its error."""
        context = Context.starting(timeout)
        replicas = self._replicas or await self._connected(context)
        (outcome,) = (await replicas.outcomes(Batch([row], 1, request=True), context)).outcomes()
        if isinstance(outcome, StrettoError):
            raise outcome
        return outcome

    async def outcomes(self, rows: Sequence[Any] | np.ndarray, timeout: float | None, step: str = "") -> Sequence[Any]:
        """Return an outcome for each of `rows`, from one step alone if named."""
        context = Context.starting(timeout)
        replicas = self._replicas or await self._connected(context)
        batch = Batch.of(rows, request=True)
        parts = [batch.part(start, min(start + CHUNK, batch.size)) for start in range(0, batch.size, CHUNK)]
        return [outcome for part in parts for outcome in (await replicas.outcomes(part, context, step)).outcomes()]

    async def trace(self, row: Any, timeout: float | None) -> Trace:
        """Answer one row alone, with the spans of its steps."""
        context = Context(Context.starting(timeout).deadline, [])
        replicas = self._replicas or await self._connected(context)
        (outcome,) = (await replicas.outcomes(Batch([row], 1, request=True), context)).outcomes()
        return Trace.of(outcome, context.spans or [])

    async def metadata(self) -> Metadata:
        """Return what is deployed."""
        with anyio.move_on_after(ANSWER_TIMEOUT):
            return (await self._ask("describe")).metadata
        raise late(f"in application {self._app!r}")

    async def ready(self) -> bool:
        """Return whether the application, and every deployment of it, answers."""
        try:
            with anyio.move_on_after(ANSWER_TIMEOUT):
                return await self._ask("ready")
        except StrettoError:
            pass
        return False

    async def aclose(self) -> None:
        """Cancel the calls under way. The connection to Ray is the process's, and stays."""
        if self._replicas is not None:
            await self._replicas.aclose()

    async def _connected(self, context: Context) -> Replicas:
        """Return the replicas; the first call connects to Ray, and asks one of them for the description."""
        with anyio.move_on_after(context.budget):
            description = self._description or await self._ask("describe")
            handle = await self._routed()
            if self._replicas is None:
                self._description = description
                self._replicas = Replicas(handle, self._app, f"application {self._app!r}", description.lanes)
            return self._replicas
        raise late(f"in application {self._app!r}")

    async def _ask(self, method: str) -> Any:
        handle = await self._routed()
        with translating(self._app):
            return await call(by_value(handle, method), deadline=None)

    async def _routed(self) -> Handle:
        target = self._target
        if self._handle is None:
            self._handle = await in_thread(
                lambda _: application_handle(target) if isinstance(target, str) else routed(target)
            )
        return self._handle


def application_handle(app: str) -> Handle:
    """Return a handle to an application's ingress, connecting to Ray if need be. This blocks.

    Raises:
        ConnectionFailed: there is no Ray, or Serve does not run on it.
        NotFound: Serve has no such application; the message names those it has.
    """
    connect(start=False)
    require_serve()
    applications = details()
    handle = ingress_handle(applications.get(app, {}), app)
    if handle is None:
        names, where = ", ".join(map(repr, applications)) or "none", ray.get_runtime_context().gcs_address
        raise NotFound(f"Ray Serve at {where} has no application {app!r}; the applications are {names}")
    return routed(handle)
