"""A pipeline in this process."""

from __future__ import annotations

from stretto.engine.engine import Engine
from stretto.transports.base import Transport


class LocalTransport(Engine, Transport):
    """Reaches a compiled plan in this process: the engine itself, with nothing between."""

    @property
    def where(self) -> str:
        """The pipeline's text."""
        return self.text
