"""Direct ingress: a replica answers HTTP itself, next to Serve's proxy."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from stretto.errors import NotFound
from stretto.server.connections import BACKLOG, DRAIN, SETTINGS
from stretto.server.inference import is_inference
from stretto.server.messages import problem_response


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica answers HTTP itself: host, port and route."""

    host: str
    port: int
    route: str

    @property
    def url(self) -> str:
        """The full address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.route}".rstrip("/")


class _Server(uvicorn.Server):
    """Leaves the signals of the process to Ray."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class DirectIngress:
    """The HTTP server of a replica, in the event loop in which its requests are evaluated."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
        self._server = server
        self._task = asyncio.get_running_loop().create_task(server.serve([listener]))

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    async def aclose(self) -> None:
        """Accept no more connections, and answer the requests that are there."""
        self._server.should_exit = True
        await asyncio.wait([self._task])


def listen(app: Any, address: Address) -> DirectIngress | None:
    """Return the HTTP server of a replica, which listens.

    All replicas of a deployment on a machine listen on one port, and the kernel distributes connections over them
    (``SO_REUSEPORT``, socket(7)). Serve still starts, health-checks and restarts the replicas; only the requests do not
    pass through its proxy. Where the port is another program's there is none: Serve's proxy answers all the same.
    """
    try:
        listener = _bound(address.host, address.port)
    except OSError as error:
        logging.getLogger("stretto").warning("no direct ingress at %s: %s", address.url, error)
        return None
    app = _mounted(app, "" if address.route == "/" else address.route)
    config = uvicorn.Config(app, lifespan="off", backlog=BACKLOG, timeout_graceful_shutdown=DRAIN, **SETTINGS)
    return DirectIngress(_Server(config), listener)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Asyncio turns Nagle's algorithm off only for sockets that name their protocol; with it an answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _mounted(app: Any, root: str) -> Any:
    """Return the application under a route, as Serve's proxy passes requests on, with the route as ``root_path``."""
    if not root:
        return app

    async def routed(scope: Any, receive: Any, send: Any) -> None:
        path: str = scope["path"]
        if path == root or path.startswith(root + "/"):
            await app({**scope, "root_path": root}, receive, send)
        elif is_inference(path.rstrip("/")):
            await app(scope, receive, send)  # clients of the protocol expect it at the root of a port
        else:
            response = problem_response(NotFound(f"nothing is at {path!r}; the pipeline is at {root!r}"))
            for message in response.messages:
                await send(message)

    return routed
