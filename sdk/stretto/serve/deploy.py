"""Bring a pipeline up on Ray Serve, and take it down."""

from __future__ import annotations

import logging
import re
import statistics
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar, cast, overload

from stretto.client import Client
from stretto.compiler import Placement, Profile, compile_plan
from stretto.errors import PipelineError, StrettoError
from stretto.pipeline import Part, Pipeline, as_pipeline
from stretto.plan.plan import Plan
from stretto.serve.application import application, build
from stretto.serve.calls import by_value, call
from stretto.serve.direct_ingress import Address
from stretto.serve.ray import DeploymentHandle, LocalRay, connect, in_thread, reserved, start_serve
from stretto.serve.status import applications, delete, submit, until_routed, until_running
from stretto.serve.transport import HandleTransport, find

__all__ = ["Deployed", "Deployment", "application", "bring_up", "deploy", "measure_hop", "take_down"]

DIRECT = 8100
"""The first port that is tried for the replicas' own HTTP."""

In = TypeVar("In")
Out = TypeVar("Out")
HOPS = 50


# To a type checker a pipeline is also a function between nodes: only as an overload of its own does it come first.
@overload
def deploy(
    pipeline: Pipeline[In, Out],
    *,
    name: str | None = None,
    route: str | None = None,
    placement: Placement = "auto",
    profile: Profile | None = None,
    tokens: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int | None = None,
    direct: bool | int = True,
    patience: float = 10.0,
    timeout: float = 300.0,
    logs: bool = False,
    **options: Any,
) -> Deployment[In, Out]: ...
@overload
def deploy(
    pipeline: Part[In, Out],
    *,
    name: str | None = None,
    route: str | None = None,
    placement: Placement = "auto",
    profile: Profile | None = None,
    tokens: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int | None = None,
    direct: bool | int = True,
    patience: float = 10.0,
    timeout: float = 300.0,
    logs: bool = False,
    **options: Any,
) -> Deployment[In, Out]: ...
def deploy(
    pipeline: Any,
    *,
    name: str | None = None,
    route: str | None = None,
    placement: Placement = "auto",
    profile: Profile | None = None,
    tokens: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int | None = None,
    direct: bool | int = True,
    patience: float = 10.0,
    timeout: float = 300.0,
    logs: bool = False,
    **options: Any,
) -> Deployment[Any, Any]:
    """Run a pipeline on Ray Serve, and give a client of it.

    ``async with deploy(...) as client`` takes it down at the end; ``client = await deploy(...)`` leaves it up. Where
    this process has no Ray, the one of ``RAY_ADDRESS`` or of ``ray start`` is used, and else one is started on this
    machine that ends with the block, or with the process. An application of the same `name` is replaced.

    `name` is by default that of the pipeline's last part, and `route` is ``/NAME``. `placement` is ``"fused"``, all in
    one deployment but for what asks for resources; ``"split"``, a deployment a model; or ``"auto"``, a deployment for
    what by the `profile` costs more than a call. `tokens` are the bearer tokens of which HTTP requests need one.
    `host` and `port` are for a Serve that is not running yet; the port is by default 8000, or the next that is free.
    With `direct`, which may be a port, the replicas also answer HTTP themselves, at ``client.direct_url``: that is many
    times faster than through Serve's proxy, which by its side goes on answering at ``client.url``.
    `patience` is how many seconds a replica may wait for resources that others hold, and `timeout` how many all of it
    may take. With `logs`, what replicas print is shown, where this connects to Ray. `options` are Serve's for the
    deployment that takes the requests, such as ``num_replicas=2``. The logger ``stretto`` says at level INFO what on
    this cluster could be faster.

    Raises:
        PipelineError: the pipeline, the name or the route is wrong.
        DeployError: Serve could not bring it up; the message says what is missing or what failed.
        ConnectionFailed: the Ray of ``RAY_ADDRESS`` is not there.
    """
    whole = as_pipeline(pipeline)
    called = name or whole.label
    return Deployment(
        Order(
            plan=compile_plan(whole.plan(), placement, profile),
            name=_checked_name(called),
            route=_checked_route(_default_route(called) if route is None else route),
            text=whole.text,
            tokens=tuple(tokens),
            host=host,
            port=port,
            direct=direct,
            patience=patience,
            timeout=timeout,
            logs=logs,
            options=options,
        )
    )


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be brought up, and how; see `deploy`."""

    plan: Plan
    name: str
    route: str
    text: str
    tokens: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int | None = None
    direct: bool | int = False
    patience: float = 10.0
    timeout: float = 300.0
    logs: bool = False
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Deployed:
    """An application that is up. `url` is empty where Serve has no HTTP; `started` is the Ray it was started with."""

    name: str
    url: str
    handle: DeploymentHandle[Any]
    direct_url: str = ""
    started: LocalRay | None = None


class Deployment(Generic[In, Out]):
    """A pipeline on its way to Ray Serve: await it to leave it up, or enter it to have it taken down at the end."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._deployed: Deployed | None = None
        self._client: Client[In, Out] | None = None

    def __await__(self) -> Generator[Any, None, Client[In, Out]]:
        return self._up().__await__()

    async def __aenter__(self) -> Client[In, Out]:
        return await self._up()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._client is not None:
                await self._client.aclose()
        finally:
            if self._deployed is not None:
                await take_down(self._deployed)

    async def _up(self) -> Client[In, Out]:
        self._deployed = await bring_up(self._order)
        transport = HandleTransport(self._deployed.handle, url=self._deployed.url, direct_url=self._deployed.direct_url)
        self._client = cast("Client[In, Out]", Client(transport))
        return self._client

    def __repr__(self) -> str:
        return f"<deployment of {self._order.text} as {self._order.name!r}: await it, or use async with>"


async def bring_up(order: Order) -> Deployed:
    """Have an application up and answering. What this starts and can't finish, also when cancelled, it takes down.

    Raises:
        DeployError: Serve could not bring it up.
        ConnectionFailed: the Ray of ``RAY_ADDRESS`` is not there.
    """
    return await in_thread(lambda gone: _bring_up(order, gone), undo=_take_down)


async def take_down(deployed: Deployed) -> None:
    """Take an application down, with the Ray that was started for it, unless others are still served by that."""
    await in_thread(lambda _: _take_down(deployed))


async def measure_hop() -> float:
    """Measure what a handle call costs on the Ray that this process is connected to, in seconds: the median of some.

    It brings up an application of its own for that, which takes a few seconds.
    """
    name = "stretto-hop"
    order = Order(compile_plan(as_pipeline(_same).plan(), "fused"), name, _default_route(name), name)
    deployed = await bring_up(order)
    try:
        method, seconds = by_value(deployed.handle, "lanes"), list[float]()
        for _ in range(HOPS):
            start = time.perf_counter()
            await call(method, deadline=None)
            seconds.append(time.perf_counter() - start)
    finally:
        await take_down(deployed)
    return statistics.median(seconds)


def _same(x: Any) -> Any:
    return x


_log = logging.getLogger("stretto")


class _AbandonedError(StrettoError):
    """Nobody waits for the application any more."""


def _bring_up(order: Order, gone: threading.Event) -> Deployed:
    with _address(order) as address:
        return _brought_up(order, address, gone)


@contextmanager
def _address(order: Order) -> Generator[Address | None]:
    """Keep a port for the replicas' own HTTP until they listen on it."""
    if order.direct is False:
        yield None
        return
    with reserved(order.host, None if order.direct is True else order.direct, first=DIRECT) as port:
        yield Address(order.host, port, order.route)


def _brought_up(order: Order, address: Address | None, gone: threading.Event) -> Deployed:
    started = connect(logs=order.logs)
    replaces, submitted = True, False
    try:
        _unless(gone)
        # Once it is known which nodes there are, for these may have the models' files.
        app = build(order.plan, order.name, order.text, order.tokens, order.options or {}, address)
        client = start_serve(order.host, order.port)
        replaces = order.name in applications()
        _unless(gone)
        submit(app, order.name, order.route)
        submitted = True
        until_running(order.name, patience=order.patience, timeout=order.timeout, gone=gone)
        _unless(gone)
        root = _reachable(client.root_url)
        if root:
            until_routed(root, order.route)
        handle = find(order.name)
        direct = handle.options(method_name="direct").remote(None).result() if address is not None else ""
        for advice in handle.options(method_name="advice").remote(None).result():
            _log.info("application %r: %s", order.name, advice)
        return Deployed(order.name, root and root + order.route, handle, _reachable(direct), started)
    except BaseException:
        if started is not None:
            started.stop()
        elif submitted and not replaces:
            delete(order.name, seconds=0)
        raise


def _take_down(deployed: Deployed) -> None:
    # With Ray's end in sight nothing waits for the replicas to drain, which may be set to take half a minute.
    others = delete(deployed.name) if deployed.started is None else delete(deployed.name, seconds=2.0)
    if deployed.started is not None and not others:
        deployed.started.stop()


def _unless(gone: threading.Event) -> None:
    if gone.is_set():
        raise _AbandonedError("the deployment was cancelled")


def _reachable(root: str) -> str:
    return re.sub(r"//(0\.0\.0\.0|\[?::\]?)(?=[:/]|$)", "//127.0.0.1", root).rstrip("/")


def _checked_name(name: str) -> str:
    if not name or "#" in name or "/" in name:
        raise PipelineError(f"{name!r} can't be an application's name: it must not be empty, nor contain '#' or '/'")
    return name


def _default_route(name: str) -> str:
    return "/" + re.sub(r"[^\w.:~-]+", "-", name)


def _checked_route(route: str) -> str:
    if not route.startswith("/") or (route != "/" and route.endswith("/")) or re.search(r"[{}?#\s]|^/-(/|$)", route):
        raise PipelineError(
            f"{route!r} can't be a route: it starts with a slash, does not end in one, and is not below Serve's own /-/"
        )
    return route
