"""Bring a pipeline up on Ray Serve, and take it down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, TypeVar, Unpack, cast, overload
from urllib.parse import urlsplit

from stretto.client import Client
from stretto.compiler import compile_plan
from stretto.errors import DeployError
from stretto.pipeline import Part, Pipeline, as_pipeline
from stretto.serve.application import build
from stretto.serve.calls import Description
from stretto.serve.cluster import LocalRay, connect, in_thread, reserved, start_serve
from stretto.serve.direct_ingress import Address
from stretto.serve.names import checked_name, checked_route, reachable_url
from stretto.serve.options import DeployOptions
from stretto.serve.ray import delete, details, ingress_handle, ray_errors, root_url, run, serve_errors
from stretto.serve.status import until_deleted, until_routed, until_running
from stretto.serve.transport import HandleTransport, application_handle

DIRECT_PORT = 8100
"""The first port that is tried for the replicas' own HTTP."""

DESCRIBED = 5.0
"""Seconds in which a version that is replaced says where it listens."""

In = TypeVar("In")
Out = TypeVar("Out")

_log = logging.getLogger("stretto")


# To a type checker a pipeline is also a function between nodes: only as an overload of its own does it come first.
@overload
def deploy(pipeline: Pipeline[In, Out], **options: Unpack[DeployOptions]) -> PendingApplication[In, Out]: ...
@overload
def deploy(pipeline: Part[In, Out], **options: Unpack[DeployOptions]) -> PendingApplication[In, Out]: ...
def deploy(pipeline: Any, **options: Any) -> PendingApplication[Any, Any]:
    """Run a pipeline on Ray Serve, and return a client of it.

    ``async with deploy(...) as client`` takes it down at the end; ``client = await deploy(...)`` leaves it up. Where
    this process has no Ray, it connects to the one of ``RAY_ADDRESS`` or of ``ray start``; without these it starts one
    on this machine that ends with the block, or with the process. An application of the same `name` is replaced.

    Args:
        pipeline: a pipeline, or a part of one.
        **options: any of these, and Ray Serve's own for the deployment that takes the requests (``num_replicas=2``):

            * `name`: the application's name; by default that of the pipeline's last part.
            * `route`: where it answers HTTP; by default ``/NAME``.
            * `placement`: ``"fused"`` puts all in one deployment but for what asks for resources, ``"split"`` each
              model in one of its own, and ``"auto"``, the default, those that by the `profile` cost more than a call.
            * `profile`: what the steps cost, as `stretto.profile` measures it.
            * `tokens`: bearer tokens, of which HTTP requests need one.
            * `host`, `port`: where a Serve listens that is not running yet; 127.0.0.1, and 8000 or the next free port.
            * `direct`: whether the replicas also answer HTTP themselves, at ``client.direct_url``, many times faster
              than through Serve's proxy at ``client.url``. True by default; it may be a port.
            * `patience`: seconds a replica may wait for resources that others hold; 10 by default.
            * `timeout`: seconds until all of it must be up; 300 by default.
            * `logs`: whether what replicas print is shown, where this connects to Ray. False by default.

    The logger ``stretto`` says at level INFO what on this cluster could be faster.

    Raises:
        PipelineError: the pipeline, the name or the route is wrong.
        DeployError: Serve could not bring it up; the message says what is missing or what failed.
        ConnectionFailed: the Ray of ``RAY_ADDRESS`` is not there.
    """
    return PendingApplication(as_pipeline(pipeline), cast("DeployOptions", options))


class PendingApplication(Generic[In, Out]):
    """A pipeline on its way to Ray Serve: await it to leave it up, or enter it to have it taken down at the end."""

    _client: Client[In, Out]
    _take_down: Callable[[object], None]

    def __init__(self, pipeline: Pipeline[In, Out], options: DeployOptions) -> None:
        self._plan = compile_plan(pipeline.plan(), options.get("placement", "auto"), options.get("profile"))
        self._text = pipeline.text
        self._name = checked_name(options.get("name") or pipeline.label)
        self._route = checked_route(options.get("route"), self._name)
        self._host = options.get("host", "127.0.0.1")
        self._options = options

    def __await__(self) -> Generator[Any, None, Client[In, Out]]:
        return self._up().__await__()

    async def __aenter__(self) -> Client[In, Out]:
        return await self._up()

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._client.aclose()
        finally:
            await in_thread(self._take_down)

    def __repr__(self) -> str:
        return f"<deployment of {self._text} as {self._name!r}: await it, or use async with>"

    async def _up(self) -> Client[In, Out]:
        transport, self._take_down = await in_thread(self._bring_up, undo=lambda up: up[1](None))
        self._client = cast("Client[In, Out]", Client(transport))
        return self._client

    def _bring_up(self, cancelled: threading.Event) -> tuple[HandleTransport, Callable[[object], None]]:
        """Block until the application answers, and return how to reach it, and what takes down all that was started.

        If that fails, it is taken down.
        """
        with ExitStack() as kept, ExitStack() as undo:
            started = connect(logs=self._options.get("logs", False))
            if started is not None:
                undo.callback(started.stop)
            _check(cancelled)
            address = kept.enter_context(self._address())
            # Once this process is connected: the nodes may have the models' files.
            app = build(self._plan, self._name, self._text, self._options, address)
            start_serve(self._host, self._options.get("port"))
            _check(cancelled)
            replaces = self._name in details()
            self._submit(app)
            if started is None and not replaces:
                undo.callback(delete, self._name)
            patience, timeout = self._options.get("patience", 10.0), self._options.get("timeout", 300.0)
            until_running(self._name, patience=patience, timeout=timeout, cancelled=cancelled)
            _check(cancelled)
            transport = self._reached()
            undo.pop_all()
            return transport, lambda _: _take_down(self._name, started)

    def _submit(self, app: Any) -> None:
        try:
            run(app, self._name, self._route)
        except (ray_errors.RayError, serve_errors.RayServeException, TypeError, ValueError) as error:
            cause = error.cause if isinstance(error, ray_errors.RayTaskError) else error
            raise DeployError(f"Ray Serve rejects application {self._name!r} at {self._route}: {cause}") from error

    def _reached(self) -> HandleTransport:
        url = reachable_url(root_url())
        if url:
            until_routed(url, self._route)
        handle = application_handle(self._name)
        description: Description = handle.options(method_name="describe").remote(None).result()
        for advice in description.advice:
            _log.info("application %r: %s", self._name, advice)
        return HandleTransport(handle, url=url and url + self._route, description=description)

    @contextmanager
    def _address(self) -> Generator[Address | None]:
        """Keep a port for the replicas' own HTTP until they listen on it.

        It is that of the version that is replaced, so that its clients reach the new one: while there are both, the
        kernel distributes connections over them.
        """
        direct = self._options.get("direct", True)
        if direct is False:
            yield None
            return
        port = None if direct is True else direct
        before = _described(self._name)
        if before is not None and before.direct_url:
            host, its_port = urlsplit(before.direct_url).hostname, urlsplit(before.direct_url).port
            if host == self._host and its_port is not None and port in (None, its_port):
                yield Address(self._host, its_port, self._route)
                return
        with reserved(self._host, port, first=DIRECT_PORT) as free:
            yield Address(self._host, free, self._route)


def _described(name: str) -> Description | None:
    """Return what the replicas of an application say of it, None where none answers; this blocks."""
    handle = ingress_handle(details().get(name, {}), name)
    if handle is None:
        return None
    try:
        return handle.options(method_name="describe").remote(None).result(timeout_s=DESCRIBED)
    except Exception as error:
        _log.info("application %r does not answer, and is replaced: %s", name, error)
        return None


def _take_down(name: str, started: LocalRay | None) -> None:
    """Delete the application, and stop the Ray that was started for it unless that serves others; this blocks."""
    delete(name)
    # With Ray's end in sight nothing waits for the replicas to drain, which may be set to take half a minute.
    others = until_deleted(name, seconds=10.0 if started is None else 2.0)
    if started is not None and not others:
        started.stop()


def _check(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise DeployError("the deployment was cancelled")
