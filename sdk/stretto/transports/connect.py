"""From what a user names to the transport that reaches it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from pkgutil import resolve_name
from typing import Any, cast

from stretto.compiler import compile_plan
from stretto.engine.engine import Engine
from stretto.engine.inline import InlineBackend
from stretto.errors import PipelineError
from stretto.pipeline import as_pipeline
from stretto.transports.base import Transport

SCHEMES = {
    "http": "stretto.transports.http:HttpTransport",
    "https": "stretto.transports.http:HttpTransport",
    "serve": "stretto.serve.transport:HandleTransport",
}
"""The transport for each scheme of an address, imported when needed, since its module imports aiohttp or Ray."""


class LocalTransport(Engine, Transport):
    """Reaches a compiled plan in this process: the engine itself, with nothing in between."""

    @property
    def where(self) -> str:
        """The pipeline's text."""
        return self.text


def connect(target: Any, **options: Any) -> Transport:
    """Return the transport that reaches `target`: a pipeline or a part of one, an address, a Serve handle, or itself.

    `options` are arguments of the transport; one that is None has its default.

    Raises:
        PipelineError: the target is none of these, the pipeline is built wrong, or the target can't use an option.
    """
    options = {name: value for name, value in options.items() if value is not None}
    opened = _transport(target)
    accepted = signature(opened).parameters
    for name in options:
        if name not in accepted:
            what = "a configured transport" if isinstance(target, Transport) else f"target {target!r}"
            raise PipelineError(f"{name}= can't be used with {what}: leave it out, or connect by 'http://HOST:PORT'")
    if options.get("max_batch", 1) < 1:
        raise PipelineError(f"max_batch={options['max_batch']}: a batch has at least 1 row")
    return opened(**options)


def _transport(target: Any) -> Callable[..., Transport]:
    """Return the function that creates the transport; its parameters are the options that the target can use."""
    if isinstance(target, Transport):
        return lambda: target
    if isinstance(target, str):
        scheme, _, rest = target.partition("://")
        if scheme not in SCHEMES or not rest:
            raise PipelineError(
                f"{target!r} is no target: a Client takes a pipeline, 'http://HOST:PORT/ROUTE', 'serve://APP' or a "
                "Serve handle"
            )
        return partial(resolve_name(SCHEMES[scheme]), target)
    if isinstance(target, list) and all(
        isinstance(url, str) and url.startswith("http") for url in cast("list[Any]", target)
    ):
        return partial(resolve_name(SCHEMES["http"]), target)
    if type(target).__module__.startswith("ray.serve"):
        return partial(resolve_name(SCHEMES["serve"]), target)
    return partial(_local, target)


def _local(part: Any, *, max_batch: int | None = None) -> LocalTransport:
    pipeline = as_pipeline(part)
    backend = InlineBackend() if max_batch is None else InlineBackend(max_batch=max_batch)
    return LocalTransport(compile_plan(pipeline.plan()), backend, name=pipeline.label, text=pipeline.text)
