"""The ASGI application."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from stretto.engine.gc import frozen
from stretto.server.disconnect import DisconnectWatcher
from stretto.server.limits import Limits
from stretto.server.messages import ClientDisconnectedError, Request
from stretto.server.problem import problem_response
from stretto.server.routes import LIVE, Routes
from stretto.transports.base import Transport


def make_app(transport: Transport | Callable[[], Transport], limits: Limits | None = None) -> ASGIApp:
    """Return the HTTP interface of a pipeline as an ASGI application.

    `transport` answers the requests. A function is called for one when the server starts, and that one is closed when
    the server stops.
    """
    return _App(_Source(transport), limits or Limits())


class _App:
    def __init__(self, source: _Source, limits: Limits) -> None:
        self._limits = limits
        self._routes = Routes(source, limits)
        self._watcher = DisconnectWatcher()
        # Starlette speaks the lifespan protocol and closes websockets. It does not see requests: its router would cost
        # as much as all of the work below, and writes responses of its own.
        self._others = Router(lifespan=source.lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        try:
            root, path = _split(scope)
            headers = dict(scope["headers"])
            if self._limits.tokens and path != LIVE:
                self._limits.check_token(headers.get(b"authorization", b""))
            handler = self._routes.find(root, path, scope["method"])
            request = Request(scope, root, path, headers, self._limits)
            await request.read(receive, self._limits)
            response = await self._watcher.run(handler(request), receive)
        except ClientDisconnectedError:
            return
        except Exception as error:
            response = problem_response(error)
        for message in response.messages:
            await send(message)


class _Source:
    """The transport, created when it is first needed if a function creates it."""

    def __init__(self, transport: Transport | Callable[[], Transport]) -> None:
        self._create = None if isinstance(transport, Transport) else transport
        self._transport = transport if isinstance(transport, Transport) else None

    def __call__(self) -> Transport:
        if self._transport is None:
            assert self._create is not None
            self._transport = self._create()
        return self._transport

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncGenerator[None]:
        transport = self()
        with frozen():
            yield
        if self._create is not None:
            self._transport = None
            await transport.aclose()


def _split(scope: Scope) -> tuple[str, str]:
    """Return the path up to the route, and the path from there, which starts with a slash and does not end in one.

    As ASGI has it, `path` begins with `root_path`; but Serve and some proxies leave it out, or end it in a slash.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return root, "/" + path.strip("/")
