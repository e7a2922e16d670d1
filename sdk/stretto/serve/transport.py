"""A client of an application on Ray Serve, by handle: no HTTP between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import anyio
import numpy as np

from stretto.engine.batching import Coalescer
from stretto.engine.context import Context, latest
from stretto.engine.results import Metadata, Trace
from stretto.errors import DeadlineExceeded, InputError, NotFound, StrettoError
from stretto.serve.backend import MAX_BATCH
from stretto.serve.calls import Handle, by_value, call, is_unsent, translated, unsendable
from stretto.serve.parcel import pack, unpack
from stretto.serve.quarantine import Quarantine
from stretto.serve.ray import DeploymentHandle, connect, controller, in_thread, quietly, ray
from stretto.transports.base import Transport

CHUNK = 16_384
"""The rows of a handle call where one request brings more."""

METHODS = ("outcomes", "trace", "metadata", "ready", "lanes")
PATIENCE = 10.0
"""Seconds in which an application says whether it is ready, and what it is."""


Row: TypeAlias = tuple[Any, float | None]
"""One request's row with its deadline."""


class HandleTransport(Transport):
    """Reaches an application's deployment by handle, from any process of the Ray cluster.

    `target` is ``"serve://APP"``, the application's name alone, or a handle. A process that is not connected to Ray
    connects, when it first asks, to the one that ``RAY_ADDRESS`` names or that runs on this machine.
    """

    def __init__(self, target: str | Handle, *, url: str = "", direct_url: str = "") -> None:
        self._target = target.removeprefix("serve://") if isinstance(target, str) else target
        self._app: str = self._target if isinstance(self._target, str) else self._target.app_name
        self._url = url
        self._direct_url = direct_url
        self._methods: dict[str, Handle] = {}
        self._queue: Coalescer[Row, Any] | None = None
        self._quarantine = Quarantine[list[Any]]()

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
        return self._direct_url

    async def predict(self, row: Any, context: Context) -> Any:
        """Return the answer for one row, or raise its error."""
        if context.deadline is None:
            return await self._one(row, None)
        with anyio.move_on_after(context.budget):
            return await self._one(row, context.deadline)
        raise context.exceeded(f"application {self._app!r}")

    async def outcomes(
        self, rows: Sequence[Any] | np.ndarray, context: Context, step: str | None = None
    ) -> Sequence[Any]:
        """Return an outcome for each of `rows`, from one step alone if named."""
        if not self._methods:
            await self._resolve()
        found: list[Any] = []
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            answers = None
            with anyio.move_on_after(context.budget):
                answers = await self._answers(part, step, context.deadline)
            if answers is None:
                answers = [context.exceeded(f"application {self._app!r}") for _ in part]
            found += answers
        return found

    async def trace(self, row: Any, context: Context) -> Trace:
        """Answer one row alone, noting what happened on the way."""
        with anyio.move_on_after(context.budget):
            return await self._ask("trace", row, deadline=context.deadline)
        return Trace(None, context.exceeded(f"application {self._app!r}"), ())

    async def metadata(self) -> Metadata:
        """Return what is deployed."""
        with anyio.move_on_after(PATIENCE):
            return await self._ask("metadata", deadline=None)
        raise DeadlineExceeded(f"application {self._app!r}", PATIENCE)

    async def ready(self) -> bool:
        """Return whether the application, and every deployment of it, answers."""
        try:
            with anyio.move_on_after(PATIENCE):
                return await self._ask("ready", deadline=None)
        except StrettoError:
            pass
        return False

    async def aclose(self) -> None:
        """Cancel calls under way. The connection to Ray is the process's, and stays."""
        if self._queue is not None:
            await self._queue.aclose()

    async def _one(self, row: Any, deadline: float | None) -> Any:
        if not self._methods:
            await self._resolve()
        if self._queue is not None:
            return await self._queue.submit((row, deadline))
        # Some rows take a longer way than others: each travels alone, and they meet in front of each stage over there.
        (outcome,) = await self._together([(row, deadline)])
        if isinstance(outcome, StrettoError):
            raise outcome
        return outcome

    async def _together(self, items: list[Row]) -> Sequence[Any]:
        try:
            return await self._answers([row for row, _ in items], None, latest(each for _, each in items))
        except StrettoError as error:
            return [error] if len(items) == 1 else [type(error)(*error.args) for _ in items]

    async def _answers(self, rows: Sequence[Any] | np.ndarray, step: str | None, deadline: float | None) -> list[Any]:
        async def ask(at: range) -> list[Any]:
            return await self._once(rows[at.start : at.stop], step, deadline)

        try:
            found = await self._quarantine.answers(len(rows), ask)
        except StrettoError:
            raise
        except Exception as error:
            raise translated(error, self._app) from error
        answers: list[Any] = []
        for at, each in found:
            answers += [translated(each, self._app)] * len(at) if isinstance(each, Exception) else each
        return answers

    async def _once(self, rows: Sequence[Any] | np.ndarray, step: str | None, deadline: float | None) -> list[Any]:
        try:
            return await self._outcomes(rows, step, False, deadline)
        except Exception as error:
            if not is_unsent(error):
                raise
        bad = {i: InputError(f"the row can't be sent: {error}") for i, error in unsendable(rows).items()}
        fine = [row for i, row in enumerate(rows) if i not in bad]
        answers = iter(await self._outcomes(fine, step, True, deadline) if fine else [])
        return [bad[i] if i in bad else next(answers) for i in range(len(rows))]

    async def _outcomes(
        self, rows: Sequence[Any] | np.ndarray, step: str | None, careful: bool, deadline: float | None
    ) -> list[Any]:
        answer = await call(self._methods["outcomes"], pack(rows), step, careful, deadline=deadline, tries=1)
        if isinstance(answer, StrettoError):
            raise answer
        return unpack(answer)

    async def _ask(self, method: str, *args: Any, deadline: float | None) -> Any:
        if not self._methods:
            await self._resolve()
        try:
            return await call(self._methods[method], *args, deadline=deadline)
        except Exception as error:
            raise translated(error, self._app) from error

    async def _resolve(self) -> None:
        """Have the methods at hand; this connects to Ray and starts Serve's router, which blocks."""
        methods = await in_thread(
            lambda _: _methods(find(self._app) if isinstance(self._target, str) else self._target)
        )
        try:
            lanes = await call(methods["lanes"], deadline=None)
        except Exception as error:
            raise translated(error, self._app) from error
        if lanes and not self._methods:
            name = f"application {self._app!r}"
            self._queue = Coalescer(self._together, workers=lanes, max_batch=MAX_BATCH, name=name)
        self._methods = methods


def find(app: str) -> Handle:
    """Return a handle to the deployment that takes an application's requests, connecting to Ray if needed. This blocks.

    Raises:
        ConnectionFailed: there is no Ray, or Serve does not run on it.
        NotFound: Serve has no such application; the message names those it has.
    """
    connect(start=False)
    applications = controller().get_serve_details()["applications"]
    topology = applications.get(app, {}).get("deployment_topology") or {}
    if not topology.get("ingress_deployment"):
        there, where = ", ".join(map(repr, applications)) or "none", ray.get_runtime_context().gcs_address
        raise NotFound(f"Ray Serve at {where} has no application {app!r}; the applications are {there}")
    return routed(DeploymentHandle(topology["ingress_deployment"], app))


def routed(handle: Handle) -> Handle:
    """Return the handle with its router started. This blocks."""
    if not handle.is_initialized:
        # With RAY_SERVE_THROUGHPUT_OPTIMIZED=1 the router would live in the caller's event loop and end with it, and
        # a second asyncio.run would find every handle of the process dead.
        with quietly():
            handle._init(_run_router_in_separate_loop=True)
    return handle


def _methods(handle: Handle) -> dict[str, Handle]:
    return {name: by_value(routed(handle), name) for name in METHODS}
