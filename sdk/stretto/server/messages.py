"""What comes in by HTTP, and what goes out."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from starlette.types import Receive, Scope, Send

from stretto.errors import DeadlineExceeded, InputError, TooLarge
from stretto.wire import JSON, MSGPACK, decode_json, decode_msgpack, encode_json, encode_msgpack

_MSGPACK = MSGPACK.encode()


class GoneError(Exception):
    """The client hung up; nobody is left to answer."""


class Reply(NamedTuple):
    """A response that is complete."""

    body: bytes
    media: str = JSON
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, send: Send) -> None:
        """Hand it to the server."""
        headers = [(b"content-type", self.media.encode()), (b"content-length", b"%d" % len(self.body)), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Request:
    """A request with its body, which is msgpack where it says so, and otherwise JSON whatever it says.

    (`curl -d` says that it sends a form, and browsers' fetch that it sends plain text.) The answer has the same form.
    """

    __slots__ = ("body", "packed", "scope", "timeout")

    def __init__(self, scope: Scope, headers: dict[bytes, bytes], body: bytes, timeout: float | None) -> None:
        self.scope = scope
        self.body = body
        self.timeout = timeout
        self.packed = headers.get(b"content-type") == _MSGPACK

    def value(self) -> Any:
        """Return the value in the body, or raise `InputError`."""
        return decode_msgpack(self.body) if self.packed else decode_json(self.body)

    def reply(self, answer: Any) -> Reply:
        """Return the response that carries an answer."""
        return Reply(encode_msgpack(answer), MSGPACK) if self.packed else Reply(encode_json(answer))


async def read(scope: Scope, receive: Receive, max_bytes: int, timeout: float | None) -> Request:
    """Read the request whole, with `timeout` where it names no budget itself.

    Raises:
        TooLarge: the body has more than `max_bytes`; it is not read further than that.
        InputError: a header makes no sense.
        DeadlineExceeded: no time is left of its budget.
        GoneError: the client hung up before it had sent the body.
    """
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    seconds = _budget(headers, timeout)
    message = await receive()
    body = message.get("body", b"")
    if message.get("more_body"):
        body = await _rest(body, receive, max_bytes)
    elif message["type"] == "http.disconnect":
        raise GoneError
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return Request(scope, headers, body, seconds)


async def _rest(start: bytes, receive: Receive, max_bytes: int) -> bytes:
    parts, size, more = [start], len(start), True
    while more:
        if size > max_bytes:
            raise _too_large(max_bytes)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"the body has more than {max_bytes} bytes: send fewer rows in a request", "", f"at most {max_bytes} bytes"
    )


def _budget(headers: dict[bytes, bytes], default: float | None) -> float | None:
    given = headers.get(b"x-stretto-timeout")
    if given is None:
        serve = headers.get(b"x-request-timeout-seconds")
        return default if serve is None else _serve_budget(serve, default)
    seconds = _number(given)
    if math.isnan(seconds):
        said = given.decode("latin-1")
        raise InputError(f"x-stretto-timeout is {said!r}", "x-stretto-timeout", "seconds as a number")
    if seconds <= 0:
        raise DeadlineExceeded("transit to the server", seconds)
    return None if math.isinf(seconds) else seconds


def _serve_budget(given: bytes, default: float | None) -> float | None:
    # As ray/serve/_private/http_util.py reads it: zero and less mean no limit, and what is no number means nothing.
    seconds = _number(given)
    return default if math.isnan(seconds) else seconds if 0 < seconds < math.inf else None


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
