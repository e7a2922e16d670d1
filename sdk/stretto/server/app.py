"""The ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from stretto.engine.gc import frozen
from stretto.errors import StrettoError
from stretto.server.bodies import Bodies
from stretto.server.disconnect import DisconnectWatcher
from stretto.server.inference import V2_LIVE, InferenceRoutes, decoder, error_response, is_inference
from stretto.server.limits import Limits
from stretto.server.messages import ClientDisconnectedError, Request, problem_response
from stretto.server.routes import LIVE, Routes
from stretto.server.streamed import Streamed
from stretto.transports.base import Transport


def make_app(transport: Transport | Callable[[], Transport], limits: Limits | None = None, name: str = "") -> ASGIApp:
    """Return the HTTP interface of a pipeline as an ASGI application.

    `transport` answers the requests. A function is called for one when the server starts, and that one is closed when
    the server stops. `name` is that of the model for clients of the Open Inference Protocol; the pipeline's by default.
    """
    source = cache((lambda: transport) if isinstance(transport, Transport) else transport)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None]:
        opened = source()
        try:
            await opened.ready()
        except StrettoError as error:
            logging.getLogger("stretto").error("not ready: %s", error)
        with frozen():
            yield
        if not isinstance(transport, Transport):
            source.cache_clear()
            await opened.aclose()

    return _App(source, limits or Limits(), name, Router(lifespan=lifespan))


class _App:
    def __init__(self, transport: Callable[[], Transport], limits: Limits, name: str, others: ASGIApp) -> None:
        self._limits = limits
        self._routes = Routes(transport, limits)
        self._inference = InferenceRoutes(transport, limits, name)
        self._bodies = Bodies(limits)
        self._watcher = DisconnectWatcher()
        # Starlette speaks the lifespan protocol and closes websockets. It does not see requests: its router would cost
        # as much as all of the work below, and writes responses of its own.
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        request = None
        root, path = _split(scope)
        inference = is_inference(path)
        try:
            try:
                headers = dict(scope["headers"])
                if self._limits.tokens and path not in (LIVE, V2_LIVE):
                    self._limits.check_token(headers.get(b"authorization", b""))
                handler = (self._inference if inference else self._routes).find(root, path, scope["method"])
                decode = decoder(headers) if inference else None
                request = Request(scope, root, path, headers, self._limits, decode)
                await request.read(receive, self._limits, self._bodies)
                response = await self._watcher.run(handler(request), receive)
            except ClientDisconnectedError:
                return
            except Exception as error:
                response = error_response(error) if inference else problem_response(error)
            if isinstance(response, Streamed):
                # What fails from here on has had a status of success: the server closes the connection.
                with suppress(ClientDisconnectedError):
                    await self._watcher.run(response.send(send), receive)
                return
            for message in response.messages:
                await send(message)
        finally:
            if request is not None and request.held:
                self._bodies.release(request.held)


def _split(scope: Scope) -> tuple[str, str]:
    """Return the path up to the route, and the path from there, which starts with a slash and does not end in one.

    As ASGI has it, `path` begins with `root_path`; but Serve and some proxies leave it out, or end it in a slash.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return root, "/" + path.strip("/")
