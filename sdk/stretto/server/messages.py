"""HTTP requests as they come in, and responses as they go out: answers, and errors as problems."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import Message, Receive, Scope

from stretto.engine.context import UNLIMITED, Context
from stretto.errors import DeadlineExceeded, InputError, Overloaded, StrettoError, Unauthorized
from stretto.server.bodies import LONG, Bodies
from stretto.server.limits import Limits
from stretto.wire import JSON, MSGPACK, PROBLEM, decode_json, decode_msgpack, encode_json, encode_msgpack, problem

_MSGPACK = MSGPACK.encode()
_log = logging.getLogger("stretto.server")


class ClientDisconnectedError(Exception):
    """The client closed the connection, so a response has no recipient."""


class MethodNotAllowedError(Exception):
    """The route takes other methods, which `allowed` lists."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(allowed)
        self.allowed = ", ".join(allowed)


class Response:
    """A complete response: the `messages` to send, as ASGI has them.

    A long body may come in parts, which are sent one by one.
    """

    __slots__ = ("messages",)

    def __init__(
        self, body: bytes | Sequence[bytes], media: str = JSON, status: int = 200, *headers: tuple[bytes, bytes]
    ) -> None:
        parts = [body] if isinstance(body, bytes) else body
        size = sum(map(len, parts))
        if len(parts) > 1 and size <= LONG:
            parts = [b"".join(parts)]
        fields = [(b"content-type", media.encode()), (b"content-length", b"%d" % size), *headers]
        self.messages: tuple[Message, ...] = (
            {"type": "http.response.start", "status": status, "headers": fields},
            *({"type": "http.response.body", "body": part, "more_body": True} for part in parts[:-1]),
            {"type": "http.response.body", "body": parts[-1]},
        )


def problem_response(error: Exception) -> Response:
    """Return the response for an error: a problem (RFC 9457), without a traceback or the text of a foreign error."""
    members = members_of(error)
    return Response(encode_json(members), PROBLEM, members["status"], *headers_of(error))


def members_of(error: Exception) -> dict[str, Any]:
    """Return an error as the members of a problem; the log has the traceback of a foreign one."""
    if isinstance(error, MethodNotAllowedError):
        text = f"Method Not Allowed: this route takes {error.allowed}"
        # "about:blank" is RFC 9457's type for a problem that its status describes completely.
        return {"type": "about:blank", "title": "Method Not Allowed", "status": 405, "detail": text}
    if not isinstance(error, StrettoError):
        _log.error("a request failed in the server", exc_info=error)
    return problem(error)


def headers_of(error: Exception) -> list[tuple[bytes, bytes]]:
    """Return the headers that go with an error."""
    match error:
        case MethodNotAllowedError():
            return [(b"allow", error.allowed.encode())]
        case Overloaded() if 0 <= error.retry_after < math.inf:
            return [(b"retry-after", b"%d" % math.ceil(error.retry_after))]
        case Unauthorized():
            return [(b"www-authenticate", b"Bearer")]
        case _:
            return []


class Request:
    """A request with its body.

    The body is what `decode` decodes. Without, it is msgpack if the content type is Stretto's, and JSON with any other:
    ``curl -d`` claims to send a form, and a browser's ``fetch`` plain text. The answer has the same format. `path` is
    relative to `root`, the path at which the application is mounted, and `context` has the deadline.

    Raises:
        TooLarge: the declared length is over the limit.
        InputError: a header makes no sense.
        DeadlineExceeded: no time is left of its budget.
    """

    __slots__ = ("_decode", "_long", "accept", "body", "context", "held", "packed", "path", "root", "scope")

    def __init__(
        self,
        scope: Scope,
        root: str,
        path: str,
        headers: dict[bytes, bytes],
        limits: Limits,
        decode: Callable[[bytes], Any] | None = None,
    ) -> None:
        self.scope = scope
        self.root = root
        self.path = path
        self.held = 0
        self.packed = headers.get(b"content-type") == _MSGPACK
        self._decode = decode or (decode_msgpack if self.packed else decode_json)
        self.accept = headers.get(b"accept", b"").decode("latin-1")
        length = headers.get(b"content-length")
        if length is not None and length.isdigit():
            limits.check_bytes(int(length[:20]))
        seconds = _budget(headers, limits.timeout)
        self.context = UNLIMITED if seconds is None else Context.starting(seconds)

    async def read(self, receive: Receive, limits: Limits, bodies: Bodies) -> None:
        """Read the body, and no more of it than the limit.

        Raises:
            TooLarge: it has more bytes than the limit.
            Overloaded: the server has as much to read and to answer as it takes.
            InputError: it is a long one, and holds no value.
            ClientDisconnectedError: the client closed the connection before it had sent all of it.
        """
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            limits.check_bytes(size)
            if size > LONG:
                self.held = bodies.hold(self.held, size)
            more = message.get("more_body", False)
        self.body = b"".join(parts)
        if self.held:
            del parts  # so that what is decoded does not take its memory too
            self._long = await bodies.decoded(self._decode, self.body)
            self.body = b""

    def value(self) -> Any:
        """Return the value in the body, or raise `InputError`."""
        return self._long if self.held else self._decode(self.body)

    def answered(self, answer: Any) -> Response:
        """Return the response that carries an answer."""
        return Response(encode_msgpack(answer), MSGPACK) if self.packed else Response(encode_json(answer))


def _budget(headers: dict[bytes, bytes], most: float | None) -> float | None:
    """Return the seconds in which the request is to be answered, `most` at most, or None without a limit."""
    limits = [seconds for seconds in (_asked(headers), most) if seconds is not None]
    return min(limits, default=None)


def _asked(headers: dict[bytes, bytes]) -> float | None:
    """Return the seconds that the request names, or None."""
    ours = headers.get(b"x-stretto-timeout")
    header = headers.get(b"x-request-timeout-seconds") if ours is None else ours
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if ours is None:
        # As ray/serve/_private/http_util.py reads it: zero and less mean no limit, and what is no number is ignored.
        return seconds if 0 < seconds < math.inf else None
    if math.isnan(seconds):
        text = ours.decode("latin-1")
        raise InputError(f"x-stretto-timeout is {text!r}", "x-stretto-timeout", "seconds as a number")
    if seconds <= 0:
        raise DeadlineExceeded("transit to the server", seconds)
    return None if math.isinf(seconds) else seconds
