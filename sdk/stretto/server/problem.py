"""Errors as HTTP responses."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from stretto.errors import Overloaded, StrettoError, Unauthorized
from stretto.server.messages import Response
from stretto.wire import PROBLEM, encode_json, problem

_log = logging.getLogger("stretto.server")


class MethodNotAllowedError(Exception):
    """The route takes other methods, which `allowed` lists."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(allowed)
        self.allowed = ", ".join(allowed)


def problem_response(error: Exception) -> Response:
    """Return the response for an error: a problem (RFC 9457), without a traceback or the text of a foreign error."""
    match error:
        case MethodNotAllowedError():
            return _method_not_allowed(error.allowed)
        case Overloaded() if 0 <= error.retry_after < math.inf:
            headers = [(b"retry-after", b"%d" % math.ceil(error.retry_after))]
        case Unauthorized():
            headers = [(b"www-authenticate", b"Bearer")]
        case StrettoError():
            headers = []
        case _:
            _log.error("a request failed in the server", exc_info=error)
            return Response(encode_json(problem(error)), PROBLEM, 500)
    return Response(encode_json(problem(error)), PROBLEM, error.status, *headers)


def _method_not_allowed(allowed: str) -> Response:
    # "about:blank" is RFC 9457's type for a problem that its status describes completely.
    members = {
        "type": "about:blank",
        "title": "Method Not Allowed",
        "status": 405,
        "detail": f"Method Not Allowed: this route takes {allowed}",
    }
    return Response(encode_json(members), PROBLEM, 405, (b"allow", allowed.encode()))
