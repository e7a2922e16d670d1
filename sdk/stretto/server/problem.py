"""Errors as HTTP responses."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

from starlette.exceptions import HTTPException

from stretto.errors import Overloaded, StrettoError, Unauthorized
from stretto.server.messages import Reply
from stretto.wire import PROBLEM, encode_json, problem

_log = logging.getLogger("stretto.server")


def refusal(error: Exception) -> Reply:
    """Return the response for an error: a problem (RFC 9457), which never has a traceback or a foreign error's text."""
    if isinstance(error, HTTPException):
        return _plain(error)
    if not isinstance(error, StrettoError):
        _log.error("a request failed in the server", exc_info=error)
        return Reply(encode_json(problem(error)), PROBLEM, 500)
    return Reply(encode_json(problem(error)), PROBLEM, error.status, _headers(error))


def _headers(error: StrettoError) -> tuple[tuple[bytes, bytes], ...]:
    match error:
        case Overloaded() if 0 <= error.retry_after < math.inf:
            return ((b"retry-after", b"%d" % math.ceil(error.retry_after)),)
        case Unauthorized():
            return ((b"www-authenticate", b"Bearer"),)
        case _:
            return ()


def _plain(error: HTTPException) -> Reply:
    headers = {name.lower(): ", ".join(sorted(value.split(", "))) for name, value in (error.headers or {}).items()}
    allowed = f": this route takes {headers['allow']}" if "allow" in headers else ""
    # "about:blank" is RFC 9457's type for a problem that its status says all about.
    members = {
        "type": "about:blank",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": f"{error.detail}{allowed}",
    }
    raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
    return Reply(encode_json(members), PROBLEM, error.status_code, raw)
