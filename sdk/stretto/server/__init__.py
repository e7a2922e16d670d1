"""The HTTP interface as an ASGI application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp

from stretto.server.app import MAX_BYTES, MAX_ROWS, make_app
from stretto.transports.base import Transport
from stretto.transports.connect import connect


def asgi(
    target: Any,
    *,
    tokens: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
    max_rows: int = MAX_ROWS,
    timeout: float | None = None,
) -> ASGIApp:
    """Return the HTTP interface of a pipeline, or of what a client reaches, as an ASGI application.

    It runs under uvicorn, or mounted in FastAPI or starlette. With `tokens`, requests need one of them as their bearer
    token. `max_bytes` and `max_rows` bound a request; `timeout` is the budget in seconds of one that names none.

    Raises:
        PipelineError: the pipeline is built wrong.

    >>> app = asgi(lambda x: 2 * x)
    """
    given: Any = getattr(target, "transport", None)
    if isinstance(given, Transport):
        return make_app(given, tokens=tokens, max_bytes=max_bytes, max_rows=max_rows, timeout=timeout)
    transport = connect(target)
    return make_app(lambda: transport, tokens=tokens, max_bytes=max_bytes, max_rows=max_rows, timeout=timeout)


__all__ = ["asgi", "make_app"]
