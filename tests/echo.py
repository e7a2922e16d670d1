"""A pipeline that echoes its rows, the servers that tests put in front of it, and servers that are not Stretto."""

import asyncio
import socket
from contextlib import asynccontextmanager

import httpx
import uvicorn

from stretto.engine.context import Context, Span
from stretto.engine.results import Metadata, Trace
from stretto.errors import NotFound, StepError
from stretto.server.app import make_app
from stretto.server.limits import Limits
from stretto.transports import HttpTransport, Transport
from stretto.wire import MSGPACK

ROW = {"a": 1.5, "b": [2, None]}
within = Context.starting


class Echo(Transport):
    """Answers a row with itself, fails on ``{"fail": MESSAGE}``, and never answers ``"wait"`` until told to go on."""

    def __init__(self):
        self.calls = []
        self.budgets = []
        self.go_on = asyncio.Event()
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.closed = False
        self.is_ready = True

    async def outcomes(self, rows, context, step=None):
        self.calls.append(len(rows))
        self.budgets.append(context.seconds)
        if step not in (None, "double", "a/b"):
            raise NotFound(f"there is no step {step!r}; the steps are 'double'")
        found = [await self._answer(row) for row in rows]
        return [2 * each for each in found] if step else found

    async def predict(self, row, context):
        self.calls.append(1)
        self.budgets.append(context.seconds)
        answer = await self._answer(row)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def trace(self, row, context):
        answer = await self._answer(row)
        spans = (Span("echo", "step", 1.0, 2.5), Span("far", "handle", 1.0, 2.0, 3, "there"))
        return Trace(None, answer, spans) if isinstance(answer, Exception) else Trace(answer, None, spans)

    async def metadata(self):
        return Metadata("echo", "Pipeline(echo)", "plan", ("double",), ("a", "b"), versions={"stretto": "1"})

    async def ready(self):
        return self.is_ready

    async def aclose(self):
        self.closed = True

    async def _answer(self, row):
        if isinstance(row, dict) and "fail" in row:
            return StepError("echo", "ValueError", row["fail"])
        if isinstance(row, str) and row == "wait":
            self.began.set()
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return row


class Failing(Echo):
    """Fails on everything."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    async def predict(self, row, context):
        raise self.error


@asynccontextmanager
async def over_asgi(transport, **options):
    app = make_app(transport, Limits(**options))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@asynccontextmanager
async def served(app, port=0):
    """Serve an ASGI application on a socket that listens already, so that nobody has to wait for it."""
    # asyncio sends small writes at once (TCP_NODELAY) only where the socket says that it is TCP.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, ws="none"))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listening.close()


@asynccontextmanager
async def asking(url, **options):
    transport = HttpTransport(url, **options)
    try:
        yield transport
    finally:
        await transport.aclose()


@asynccontextmanager
async def echoing(**options):
    """Return a transport to a server on a socket, and the fake that answers there."""
    echo = Echo()
    async with served(make_app(echo, Limits(**options))) as url, asking(url) as transport:
        try:
            yield transport, echo
        finally:
            echo.go_on.set()


@asynccontextmanager
async def speaking(handle):
    """Serve whatever `handle` writes to a connection."""

    async def connected(reader, writer):
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return head, await reader.readexactly(int(lengths[0]) if lengths else 0)


def response(body, status="200 OK", media=MSGPACK, more=""):
    return f"HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body
