"""A pipeline in this process."""

from __future__ import annotations

from typing import Any

from stretto.compiler import compile_plan
from stretto.engine.engine import Engine
from stretto.engine.inline import InlineBackend
from stretto.pipeline import as_pipeline
from stretto.transports.base import Transport


class LocalTransport(Engine, Transport):
    """Reaches a compiled plan in this process: the engine itself, with nothing in between."""

    @property
    def where(self) -> str:
        """The pipeline's text."""
        return self.text


def local(part: Any, *, max_batch: int | None = None) -> LocalTransport:
    """Return the transport to a pipeline, or a part of one, compiled for this process."""
    pipeline = as_pipeline(part)
    backend = InlineBackend() if max_batch is None else InlineBackend(max_batch=max_batch)
    return LocalTransport(compile_plan(pipeline.plan()), backend, name=pipeline.label, text=pipeline.text)
