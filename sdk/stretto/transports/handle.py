"""A client of an application on Ray Serve, by handle: no HTTP between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import numpy as np

from stretto._coalesce import Coalescer
from stretto._ray import connect, controller, in_thread
from stretto._scope import Scope, late
from stretto.backends.serve import MAX_BATCH, RAY_ERRORS, Handle, call, latest, translated
from stretto.errors import ConnectionFailed, NotFound, StepError, StrettoError
from stretto.transports.base import Metadata, Trace, Transport
from ray.serve.handle import DeploymentHandle

LANES = 4
"""How many handle calls this process has under way at once; what gathers meanwhile travels in the next."""

CHUNK = 16_384
"""The rows of a handle call where one request brings more."""

Row = tuple[Any, float | None]


class HandleTransport(Transport):
    """Reaches an application's deployment by handle, from any process of the Ray cluster.

    `target` is the application's name, or a handle. A process that is not connected to Ray connects to the one that
    ``RAY_ADDRESS`` names or that runs on this machine, when it first asks.
    """

    def __init__(self, target: str | Handle, *, url: str = "") -> None:
        self._app = target if isinstance(target, str) else target.app_name
        self._handle = None if isinstance(target, str) else target
        self._methods: dict[str, Handle] = {}
        self._url = url
        self._queue: Coalescer[Row, Any] = Coalescer(
            self._together, lanes=LANES, max_batch=MAX_BATCH, name=f"application {self._app!r}"
        )

    @property
    def where(self) -> str:
        """The application, with its URL where that is known."""
        return f"serve://{self._app}" + (f" at {self._url}" if self._url else "")

    @property
    def url(self) -> str:
        """Where it is reached over HTTP, if it is."""
        return self._url

    async def predict(self, row: Any, timeout: float | None) -> Any:
        """Give the answer for one row, or raise its error."""
        await self._resolved()
        scope = Scope.starting(timeout)
        with anyio.move_on_after(timeout):
            return await self._queue.submit((row, scope.deadline))
        raise late(f"({timeout:g} s)")

    async def outcomes(self, rows: Sequence[Any] | np.ndarray, timeout: float | None, step: str = "") -> Sequence[Any]:
        """Give an outcome for each of `rows`, from one step alone if named."""
        await self._resolved()
        deadline = Scope.starting(timeout).deadline
        found: list[Any] = []
        for start in range(0, len(rows), CHUNK):
            found += await self._outcomes(rows[start : start + CHUNK], step, deadline)
        return found

    async def trace(self, row: Any, timeout: float | None) -> Trace:
        """Answer one row alone, noting what happened on the way."""
        scope = Scope.starting(timeout)
        with anyio.move_on_after(timeout):
            return await self._ask("trace", row, deadline=scope.deadline)
        return Trace(None, late(f"({timeout:g} s)"), ())

    async def metadata(self) -> Metadata:
        """Say what is deployed."""
        return await self._ask("metadata", deadline=None)

    async def ready(self) -> bool:
        """Say whether the application and every deployment of it answers."""
        try:
            return await self._ask("ready", deadline=None)
        except (ConnectionFailed, NotFound, StepError):
            return False

    async def aclose(self) -> None:
        """Cancel calls under way. The connection to Ray is the process's, and stays."""
        await self._queue.aclose()

    async def _together(self, items: list[Row]) -> Sequence[Any]:
        return await self._outcomes([row for row, _ in items], "", latest([each for _, each in items]))

    async def _outcomes(self, rows: Sequence[Any] | np.ndarray, step: str, deadline: float | None) -> Sequence[Any]:
        with anyio.move_on_after(Scope(deadline).budget):
            found = await self._ask("outcomes", rows, step, deadline=deadline)
            if isinstance(found, StrettoError):
                raise found
            return found
        return [late(f"in application {self._app!r}") for _ in range(len(rows))]

    async def _ask(self, method: str, *args: Any, deadline: float | None) -> Any:
        await self._resolved()
        try:
            return await call(self._methods[method], *args, deadline=deadline)
        except RAY_ERRORS as error:
            raise translated(error, self._app) from error

    async def _resolved(self) -> None:
        """Have the methods at hand; the first time this connects to Ray and starts Serve's router."""
        if not self._methods:
            self._methods = await in_thread(lambda _: _methods(self._handle or find(self._app)))


def find(app: str) -> Handle:
    """Give a handle to the deployment that takes an application's requests, connecting to Ray if need be. This blocks.

    Raises:
        ConnectionFailed: there is no Ray, or Serve does not run on it.
        NotFound: Serve has no such application; the message names those it has.
    """
    connect(start=False)
    applications = controller().get_serve_details()["applications"]
    ingress = applications.get(app, {}).get("deployment_topology", {}) or {}
    if not ingress.get("ingress_deployment"):
        there = ", ".join(map(repr, applications)) or "none"
        raise NotFound(f"Ray Serve has no application {app!r}; the applications are {there}")
    return DeploymentHandle(ingress["ingress_deployment"], app)


def _methods(handle: Handle) -> dict[str, Handle]:
    if not handle.is_initialized:
        # With RAY_SERVE_THROUGHPUT_OPTIMIZED=1 the router would live in the caller's event loop and end with it, and
        # asyncio.run called again would find every handle of the process dead.
        handle._init(_run_router_in_separate_loop=True)
    return {name: handle.options(method_name=name) for name in ("outcomes", "trace", "metadata", "ready")}
