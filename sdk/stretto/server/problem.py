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
    headers: list[tuple[bytes, bytes]] = []
    match error:
        case MethodNotAllowedError():
            text = f"Method Not Allowed: this route takes {error.allowed}"
            # "about:blank" is RFC 9457's type for a problem that its status describes completely.
            members = {"type": "about:blank", "title": "Method Not Allowed", "status": 405, "detail": text}
            return Response(encode_json(members), PROBLEM, 405, (b"allow", error.allowed.encode()))
        case Overloaded() if 0 <= error.retry_after < math.inf:
            headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
        case Unauthorized():
            headers.append((b"www-authenticate", b"Bearer"))
        case StrettoError():
            pass
        case _:
            _log.error("a request failed in the server", exc_info=error)
    members = problem(error)
    return Response(encode_json(members), PROBLEM, members["status"], *headers)
