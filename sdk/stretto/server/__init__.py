"""The HTTP interface as an ASGI application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp

from stretto.server.app import make_app
from stretto.server.limits import MAX_BYTES, MAX_ROWS, Limits
from stretto.transports.base import Transport
from stretto.transports.connect import connect


def asgi(
    target: Any,
    *,
    tokens: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
    max_rows: int = MAX_ROWS,
    timeout: float | None = None,
    name: str = "",
) -> ASGIApp:
    """Return the HTTP interface of a pipeline, or of what a client reaches, as an ASGI application.

    It runs under uvicorn, or mounted in FastAPI or starlette. With `tokens`, every request needs one of them as its
    bearer token. `max_bytes` and `max_rows` bound a request, and `timeout` is the most seconds that it has,
    also where it names more or none. `name` is the model's in the Open Inference Protocol; the pipeline's by default.

    Raises:
        PipelineError: the pipeline is built wrong.

    >>> app = asgi(lambda x: 2 * x)
    """
    limits = Limits(max_bytes, max_rows, timeout, tokens)
    own: Any = getattr(target, "transport", None)
    if isinstance(own, Transport):
        return make_app(own, limits, name)
    transport = connect(target)
    return make_app(lambda: transport, limits, name)


__all__ = ["asgi", "make_app"]
