"""Requests to one server, and the boundary at which aiohttp's errors become Stretto's."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, contextmanager
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from stretto.engine.context import late
from stretto.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    NotFound,
    Overloaded,
    StrettoError,
    TooLarge,
    Unauthorized,
)
from stretto.wire import MSGPACK, PROBLEM, decode_json, from_problem

CONNECT = 30.0
"""Seconds that a connection may take to come about, whatever the request's budget."""
KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than the five after which uvicorn closes it."""


class Connection:
    """Sends requests to the server at `url`, over connections that belong to the running event loop."""

    def __init__(self, url: str, token: str | None, headers: Mapping[str, str]) -> None:
        self.url = _checked(url)
        self._base = url.rstrip("/")
        self._headers = {"User-Agent": "stretto", **headers}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened: AsyncGenerator[aiohttp.ClientSession] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def send(self, method: str, path: str, body: bytes, deadline: float | None, media: str) -> bytes:
        """Return the body of the response to a request at `path`, relative to the route, as `media`.

        Raises:
            StrettoError: what the server says, or what became of the request.
        """
        url = self._base + path if path else self.url
        with _translated(url):
            try:
                response = await _exchange(await self._current(), method, url, body, deadline)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
                # The server may close a connection that was idle just as we write into it. Predictions may be asked for
                # twice, so they are, over a new connection, as the other idle ones may be closed too (RFC 9110, 9.2.2).
                async with aclosing(_open(self._headers)) as opened:
                    response = await _exchange(await anext(opened), method, url, body, deadline)
        if response.status == HTTPStatus.OK and response.media == media:
            return response.body
        raise _error(url, response)

    async def aclose(self) -> None:
        """Close the connections."""
        opened, self._opened, self._session = self._opened, None, None
        if opened is not None and self._loop is asyncio.get_running_loop():
            await opened.aclose()

    async def _current(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            self._loop, self._opened = loop, _open(self._headers)
            self._session = await anext(self._opened)
        return self._session


async def _open(headers: Mapping[str, str]) -> AsyncGenerator[aiohttp.ClientSession]:
    # A generator, because asyncio.run closes those before it closes the loop: a client that nobody closed leaves no
    # socket behind.
    connector = aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE)
    session = aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar())
    try:
        yield session
    finally:
        await session.close()


class _Response(NamedTuple):
    status: int
    media: str
    retry_after: str
    body: bytes


async def _exchange(
    session: aiohttp.ClientSession, method: str, url: str, body: bytes, deadline: float | None
) -> _Response:
    headers = {"Content-Type": MSGPACK} if body else {}
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None:
        if left <= 0:
            raise late(f"before {url} was asked")
        headers["x-stretto-timeout"] = f"{left:.6f}"
    # Rounding up to whole seconds, as aiohttp does past ceil_threshold, would let others than us enforce the budget.
    timeout = aiohttp.ClientTimeout(total=left, sock_connect=CONNECT, ceil_threshold=math.inf)
    # aiohttp warns about more than a megabyte of plain bytes, which it would write in one go.
    data = io.BytesIO(body) if len(body) > 2**20 else body or None
    async with session.request(method, url, data=data, headers=headers, timeout=timeout) as response:
        retry_after = response.headers.get("retry-after", "")
        return _Response(response.status, response.content_type, retry_after, await response.read())


@contextmanager
def _translated(url: str) -> Generator[None]:
    try:
        yield
    except StrettoError:
        raise
    except aiohttp.ConnectionTimeoutError as error:
        raise ConnectionFailed(f"{url} accepts no connection within {CONNECT:g} s: is it the right host?") from error
    except TimeoutError as error:
        raise late(f"waiting for {url}") from error
    except aiohttp.ClientSSLError as error:
        raise ConnectionFailed(f"there is no secure connection to {url}: {error}") from error
    except aiohttp.ClientConnectorError as error:
        raise ConnectionFailed(f"nothing answers at {url}: {error.os_error}; is the server up?") from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError) as error:
        raise ConnectionFailed(f"{url} closed the connection before it had answered; is the server up?") from error
    except aiohttp.ClientError as error:
        what = f"{type(error).__name__}: {error}"
        raise ConnectionFailed(f"{url} does not look like a Stretto server: {what}") from error


def _error(url: str, response: _Response) -> StrettoError:
    if response.media == PROBLEM:
        try:
            members = decode_json(response.body)
            if str(members["type"]).startswith("urn:stretto:"):
                return from_problem(members)
        except (InputError, KeyError, TypeError):
            pass
    return _foreign(url, response)


def _foreign(url: str, response: _Response) -> StrettoError:
    """Return the error for an answer that is not from a Stretto server, but from a proxy or another server."""
    text = " ".join(response.body[:2000].decode("utf-8", "replace").split())
    said = f"{url} answered {response.status} ({text[:120] or 'nothing more'})"
    match response.status:
        # As ray/serve/_private/proxy.py and its HAProxy template say it.
        case 404 if text.startswith("Path '") and "/-/routes" in text:
            return NotFound(f"Ray Serve has no application at {url}: check the route, and that it is deployed")
        case 401 | 403:
            return Unauthorized(f"{said}; pass the token it asks for with token=")
        case 408 | 504:
            return DeadlineExceeded(said)
        case 413:
            return TooLarge(said)
        case 429:
            return Overloaded(said, _seconds(response.retry_after))
        case 503 if response.retry_after:
            return Overloaded(said, _seconds(response.retry_after))
        case _:
            return ConnectionFailed(f"this does not look like a Stretto server: {said}; check the URL")


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdigit() else 1.0


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        fine, parts = False, None
    if not fine or parts is None or parts.query or parts.fragment or parts.username:
        raise ConnectionFailed(f"{url!r} is not a server's URL: expected http://HOST:PORT/ROUTE, or https://")
    return url
