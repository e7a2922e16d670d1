"""Requests to one server, and the boundary at which aiohttp's errors become Stretto's."""

from __future__ import annotations

import asyncio
import inspect
import io
import re
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp
import anyio
import anyio.to_thread

from stretto.engine.as_ready import Ready
from stretto.engine.context import Context, limit
from stretto.engine.per_loop import PerLoop
from stretto.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    NotFound,
    Overloaded,
    PipelineError,
    StrettoError,
    TooLarge,
    Unauthorized,
)
from stretto.transports.base import Token
from stretto.transports.retries import GatewayError
from stretto.wire import (
    MSGPACK,
    MSGPACK_PARTS,
    PROBLEM,
    decode_json,
    decode_outcomes,
    decode_parts,
    from_problem,
)

CONNECT = 30.0
"""Seconds in which a connection must be established, whatever the request's budget."""
KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than the five after which uvicorn closes it."""
MAX_ANSWER = 64 * 2**20
"""The most bytes of an answer."""
MAX_ERROR = 2**20
"""The most bytes of an error: a problem, or the page of a proxy."""
SILENT = 5.0
"""Seconds without a byte after which a server is taken for gone: while rows are computed it sends one every second."""
SILENT_ONCE = 30.0
"""The same where a call can't be made again: the server may be behind a proxy, and be starting."""

_AT_ONCE = 2**18
"""The bytes of an answer that are decoded in the event loop: longer ones would hold it up."""

Decoded = TypeVar("Decoded")


class Connection:
    """Sends requests to the server at `url`, over connections that belong to the running event loop."""

    def __init__(self, url: str, token: Token | None, headers: Mapping[str, str]) -> None:
        self.url = _checked(url)
        self._base = url.rstrip("/")
        self._token = token
        # A few kilobytes can unpack to gigabytes, so nothing compressed is asked for.
        sent = {name: value for name, value in headers.items() if str(name).lower() != "accept-encoding"}
        self._headers = {"User-Agent": "stretto", **sent, "Accept-Encoding": "identity"}
        for name, value in self._headers.items():
            if not (_is_one_line(name) and _is_one_line(value)):
                raise PipelineError(f"headers={{{name!r}: {value!r}}}: names and values are strings of one line")
        self._sessions = PerLoop(_sessions)

    async def send(self, method: str, path: str, body: bytes, context: Context, media: str) -> bytes:
        """Return the body of the response to a request at `path`, relative to the route, as `media`.

        Raises:
            StrettoError: the error that the server responded with, or why there is no response.
        """
        url = self._base + path if path else self.url
        with _translated(url, context):
            async with asyncio.timeout(context.budget), self._exchange(method, url, body, context) as response:
                answer = await _read(response)
        if answer.status == HTTPStatus.OK and answer.media == media:
            return answer.body
        raise _error(url, answer)

    async def parts(
        self, path: str, body: bytes, context: Context, silent: float | None = None
    ) -> AsyncGenerator[Ready]:
        """Yield the outcomes of the rows that are posted to `path`, as they are ready; `silent` is other than `SILENT`.

        Raises:
            StrettoError: the error that the server responded with, or why there is no response.
            ValueError: what it responded with holds no outcomes.
        """
        url = self._base + path
        silent = SILENT if silent is None else silent
        with _translated(url, context, silent):
            async with AsyncExitStack() as opened:
                async with asyncio.timeout(_patience(context, silent)):
                    exchange = self._exchange("POST", url, body, context, MSGPACK_PARTS)
                    response = await opened.enter_async_context(exchange)
                if response.status == HTTPStatus.OK and response.content_type == MSGPACK_PARTS:

                    async def read(size: int) -> bytes:
                        async with asyncio.timeout(_patience(context, silent)):
                            try:
                                return await response.content.readexactly(size)
                            except asyncio.IncompleteReadError as end:
                                if end.partial:
                                    raise aiohttp.ClientPayloadError("the last part was cut off") from None
                                return b""

                    async for part in decode_parts(read, partial(decoded, decode_outcomes, context=context, where=url)):
                        yield part
                    return
                async with asyncio.timeout(_patience(context, silent)):
                    answer = await _read(response)
        if answer.status != HTTPStatus.OK or answer.media != MSGPACK:
            raise _error(url, answer)
        yield list(enumerate(await decoded(decode_outcomes, answer.body, context, url)))

    async def aclose(self) -> None:
        """Close the connections."""
        sessions, self._sessions = self._sessions.here(), PerLoop(_sessions)
        await sessions.aclose()

    async def _headers_of(self, body: bytes, context: Context, url: str) -> dict[str, str]:
        headers = dict(self._headers)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {await _current(self._token)}"
        if body:
            headers["Content-Type"] = MSGPACK
        if context.budget is not None:
            if context.expired:
                raise context.exceeded(f"the queue in front of {url}")
            headers["x-stretto-timeout"] = f"{context.budget:.6f}"
        return headers

    @asynccontextmanager
    async def _exchange(
        self, method: str, url: str, body: bytes, context: Context, accept: str = ""
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a request; the value is its response, whose body is not read yet."""
        headers = await self._headers_of(body, context, url)
        if accept:
            headers["Accept"] = accept
        async with _request(await anext(self._sessions.here()), method, url, body, headers) as response:
            yield response


@asynccontextmanager
async def _request(
    session: aiohttp.ClientSession, method: str, url: str, body: bytes, headers: dict[str, str], redirects: int = 2
) -> AsyncGenerator[aiohttp.ClientResponse]:
    # aiohttp warns about more than a megabyte of plain bytes, which it would write at once.
    data = io.BytesIO(body) if len(body) > 2**20 else body or None
    async with session.request(method, url, data=data, headers=headers, allow_redirects=False) as response:
        target = _within(url, response) if redirects else None
        if target is None:
            yield response
            return
    async with _request(session, method, target, body, headers, redirects - 1) as response:
        yield response


async def _sessions() -> AsyncGenerator[aiohttp.ClientSession]:
    """Yield the session of an event loop, again and again.

    A generator, because asyncio.run closes generators before it closes the loop: a client that nobody closed leaves no
    socket behind.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
        auto_decompress=False,
    )
    try:
        while True:
            yield session
    finally:
        await session.close()


async def _current(token: Token) -> str:
    """Return the token to send now.

    Raises:
        Unauthorized: the function that should return it failed, or returned something else.
    """
    value: Any = token
    if callable(token):
        try:
            value = token()
            value = await value if inspect.isawaitable(value) else value
        except Exception as error:
            raise Unauthorized(f"the function passed as token= failed: {type(error).__name__}: {error}") from error
    if not _is_one_line(value):
        raise Unauthorized(
            f"token= is a string of one line, or a function that returns one, not {type(value).__name__}"
        )
    return value


def _is_one_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


async def decoded(decode: Callable[[bytes], Decoded], body: bytes, context: Context, where: str) -> Decoded:
    """Return what a body of `where` holds: of a long one by the deadline, whatever decoding it takes."""
    if len(body) <= _AT_ONCE:
        return decode(body)
    with limit(context.budget):
        return await anyio.to_thread.run_sync(decode, body, abandon_on_cancel=True)
    raise context.exceeded(f"decoding the answer of {where}")


_GATEWAY = frozenset({408, 500, 502, 503, 504})
"""Statuses with which proxies, Ray Serve's among them, say that the server behind them did not answer."""


class _Response(NamedTuple):
    status: int
    media: str
    retry_after: str
    location: str
    body: bytes


async def _read(response: aiohttp.ClientResponse) -> _Response:
    body = await _body(response)
    retry_after, location = (response.headers.get(name, "")[:200] for name in ("retry-after", "location"))
    return _Response(response.status, response.content_type, retry_after, location, body)


def _within(url: str, response: aiohttp.ClientResponse) -> str | None:
    """Return where a response redirects to, None if to another server: that one is not to get the row and the token."""
    if response.status not in (307, 308):  # the others turn a POST into a GET, without the row
        return None
    try:
        target = urljoin(url, response.headers.get("location", ""))
        same = urlsplit(target)[:2] == urlsplit(url)[:2]
    except ValueError:
        return None
    return target if same else None


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of a response, and read no more of it than the limit.

    Raises:
        TooLarge: it is an answer of more bytes than that.
        ConnectionFailed: it is an error of more bytes, or compressed.
    """
    url = response.url
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise ConnectionFailed(f"{url} sent a compressed answer ({encoding[:20]}), which was not asked for")
    answered = response.status == HTTPStatus.OK
    most = MAX_ANSWER if answered else MAX_ERROR
    parts: list[bytes] = []
    async for part in response.content.iter_any():
        parts.append(part)
        most -= len(part)
        if most < 0:
            response.close()
            if answered:
                raise TooLarge(f"the answer of {url} has more than {MAX_ANSWER} bytes: ask for fewer rows in a request")
            raise ConnectionFailed(f"{url} answered {response.status} with more than {MAX_ERROR} bytes")
    return b"".join(parts)


def _patience(context: Context, silent: float) -> float:
    return silent if context.budget is None else min(silent, context.budget)


@contextmanager
def _translated(url: str, context: Context, silent: float = 0.0) -> Generator[None]:
    try:
        yield
    except StrettoError:
        raise
    except aiohttp.ConnectionTimeoutError as error:
        raise ConnectionFailed(f"{url} accepted no connection within {CONNECT:g} s: is it the right host?") from error
    except TimeoutError as error:
        if context.deadline is None or not context.expired:
            raise ConnectionFailed(f"{url} has sent nothing for {silent:g} s; is the server stuck?") from error
        raise context.exceeded(url) from error
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
    answer = f"{url} answered {response.status} ({text[:120] or 'nothing more'})"
    error: StrettoError
    match response.status:
        case 301 | 302 | 303 | 307 | 308:
            error = ConnectionFailed(f"{url} redirects to {response.location!r}: connect to that, if it is right")
        # As ray/serve/_private/proxy.py and its HAProxy template write it.
        case 404 if text.startswith("Path '") and "/-/routes" in text:
            error = NotFound(f"Ray Serve has no application at {url}: check the route, and that it is deployed")
        case 401 | 403:
            error = Unauthorized(f"{answer}; pass the token it asks for with token=")
        case 408 | 504:
            error = DeadlineExceeded(f"the proxy or server in front of Stretto: {answer}")
        case 413:
            error = TooLarge(answer)
        case 429 | 503 if response.status == 429 or response.retry_after:
            error = Overloaded(answer, _seconds(response.retry_after))
        case _:
            error = ConnectionFailed(f"this does not look like a Stretto server: {answer}; check the URL")
    if response.status in _GATEWAY or isinstance(error, NotFound):
        error.__cause__ = GatewayError(answer)
    return error


def _seconds(retry_after: str) -> float:
    """Return the seconds that a `Retry-After` asks for, which are a number or a date (RFC 9110, 10.2.3)."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return float(retry_after)
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    return 1.0


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        valid = valid and not (parts.query or parts.fragment or parts.username)
    except ValueError:
        valid = False
    if not valid:
        raise ConnectionFailed(f"{url!r} is not a server's URL: expected http://HOST:PORT/ROUTE, or https://")
    return url
