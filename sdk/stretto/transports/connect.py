"""From what a user names to the transport that reaches it."""

from __future__ import annotations

from typing import Any

from stretto.compiler import compile_plan
from stretto.errors import PipelineError
from stretto.pipeline import as_pipeline
from stretto.transports.base import Transport
from stretto.transports.local import LocalTransport


def connect(target: Any, token: str | None = None) -> Transport:
    """Return the transport that reaches `target`: a pipeline or a part of one, an address, a Serve handle, or itself.

    Raises:
        PipelineError: the target is none of these, or the pipeline is built wrong.
    """
    if isinstance(target, Transport):
        return target
    if isinstance(target, str):
        return _by_address(target, token)
    if type(target).__module__.startswith("ray.serve"):
        from stretto.serve.transport import HandleTransport

        return HandleTransport(target)
    pipeline = as_pipeline(target)
    return LocalTransport(compile_plan(pipeline.plan()), name=pipeline.label, text=pipeline.text)


def _by_address(target: str, token: str | None) -> Transport:
    scheme, _, rest = target.partition("://")
    if scheme in ("http", "https") and rest:
        from stretto.transports.http import HttpTransport

        return HttpTransport(target, token=token)
    if scheme == "serve" and rest:
        from stretto.serve.transport import HandleTransport

        return HandleTransport(rest)
    raise PipelineError(
        f"{target!r} is no target: a Client takes a pipeline, 'http://HOST:PORT/ROUTE', 'serve://APP' or a Serve handle"
    )
