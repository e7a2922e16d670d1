"""The ASGI application."""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from stretto.engine.gc import frozen
from stretto.errors import NotFound, Unauthorized
from stretto.server.disconnect import DisconnectWatcher
from stretto.server.messages import GoneError, read
from stretto.server.problem import refusal
from stretto.server.routes import Handler, Routes
from stretto.transports.base import Transport

MAX_BYTES = 16 * 2**20
MAX_ROWS = 10_000
_LIVE = "/health/live"


def make_app(
    transport: Transport | Callable[[], Transport],
    *,
    tokens: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
    max_rows: int = MAX_ROWS,
    timeout: float | None = None,
) -> ASGIApp:
    """Return the HTTP interface of a pipeline as an ASGI application.

    `transport` answers; a function is called for one when the server starts, and what it gives is closed with it. With
    `tokens`, requests need one of them as their bearer token. `max_bytes` and `max_rows` bound a request, and `timeout`
    is the budget in seconds of one that names none.
    """
    if isinstance(tokens, str) or not all(tokens):
        raise ValueError("tokens is a list of bearer tokens, none of them empty")
    source = _Source(transport)
    routes = Routes(source, max_rows, secured=bool(tokens))
    return _App(routes, source, [token.encode() for token in tokens], max_bytes, timeout)


class _App:
    """Answers at the route itself without detours, since that is where the traffic is, and elsewhere by a router."""

    def __init__(
        self, routes: Routes, source: _Source, tokens: list[bytes], max_bytes: int, timeout: float | None
    ) -> None:
        self._tokens = tokens
        watcher = DisconnectWatcher()
        self._predict = _Endpoint(routes.predict, watcher, max_bytes, timeout)
        self._router = Router(
            [
                Route(path, _Endpoint(handler, watcher, max_bytes, timeout), methods=methods)
                for path, (methods, handler) in routes.table().items()
            ],
            redirect_slashes=False,
            default=_Nowhere(
                [f"{methods[0]} {path.replace(':path', '')}" for path, (methods, _) in routes.table().items()]
            ),
            lifespan=source.lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        try:
            root, path = _split(scope)
            if self._tokens and path != _LIVE:
                self._admit(scope)
            if path == "/" and scope["method"] in ("POST", "GET"):
                await self._predict(scope, receive, send)
            else:
                await self._router(self._inner(scope, root, path), receive, send)
        except GoneError:
            return
        except Exception as error:
            await refusal(error).send(send)

    def _inner(self, scope: Scope, root: str, path: str) -> Scope:
        # With "app" in the scope the router raises a 405 instead of writing its own. Where we are mounted, the error
        # handlers and the router of the application around us are left out: ours differ.
        inner = {key: value for key, value in scope.items() if key not in ("starlette.exception_handlers", "router")}
        return inner | {"app": self, "root_path": root, "path": root + path}

    def _admit(self, scope: Scope) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, token = given.partition(b" ")
        # Every token is compared, each in constant time, so that the time taken tells nothing.
        known = [hmac.compare_digest(token.strip(), each) for each in self._tokens]
        if scheme.lower() != b"bearer" or not any(known):
            what = "a wrong" if given else "no"
            raise Unauthorized(f"the request has {what} bearer token: send Authorization: Bearer TOKEN, or pass token=")


class _Endpoint:
    """A handler as an ASGI application."""

    __slots__ = ("_handler", "_max_bytes", "_timeout", "_watcher")

    def __init__(self, handler: Handler, watcher: DisconnectWatcher, max_bytes: int, timeout: float | None) -> None:
        self._handler = handler
        self._watcher = watcher
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await read(scope, receive, self._max_bytes, self._timeout)
        reply = await self._watcher.run(self._handler(request), receive)
        await reply.send(send)


class _Nowhere:
    """What is at every other path."""

    def __init__(self, routes: list[str]) -> None:
        self._routes = ", ".join(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        at = f" under {scope['root_path']}" if scope["root_path"] else ""
        path = scope["path"].removeprefix(scope["root_path"])
        raise NotFound(f"there is nothing at {path}; the routes{at} are {self._routes}")


class _Source:
    """The transport, made when it is first wanted where a function makes it."""

    def __init__(self, transport: Transport | Callable[[], Transport]) -> None:
        self._given = transport
        self._made: Transport | None = transport if isinstance(transport, Transport) else None

    def __call__(self) -> Transport:
        if self._made is None:
            assert not isinstance(self._given, Transport)
            self._made = self._given()
        return self._made

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncGenerator[None]:
        transport = self()
        with frozen():
            yield
        if transport is not self._given:
            self._made = None
            await transport.aclose()


def _split(scope: Scope) -> tuple[str, str]:
    """Return the path up to the route, and the path from there, which starts with a slash and does not end in one.

    As in Starlette, `path` begins with `root_path`; but Serve and some proxies leave it out, or end it in a slash.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return root, "/" + path.strip("/")
