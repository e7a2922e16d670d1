"""The seam between a client and whatever answers it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from stretto.engine.results import Metadata, Trace


class Transport(ABC):
    """How a client reaches a plan. Rows go in, outcomes come out, in order.

    An outcome is the row's answer, or the `StrettoError` it failed with: `outcomes` raises only for what befalls
    the whole call, such as `ConnectionFailed`. `timeout` is what is left of the request's budget, in seconds.
    """

    @property
    def where(self) -> str:
        """What it reaches, in words for a person."""
        return type(self).__name__

    @property
    def url(self) -> str:
        """Where it is reached over HTTP, or the empty string."""
        return ""

    @property
    def direct_url(self) -> str:
        """Where a replica on Ray Serve answers HTTP itself, beside Serve's proxy, or the empty string."""
        return ""

    @abstractmethod
    async def outcomes(self, rows: Sequence[Any], timeout: float | None, step: str = "") -> Sequence[Any]:
        """Return an outcome for each of `rows` (a list, or an array of rows), from one `step` alone if named."""

    @abstractmethod
    async def predict(self, row: Any, timeout: float | None) -> Any:
        """Return the answer for one row, or raise its error. Concurrent calls may travel together."""

    @abstractmethod
    async def trace(self, row: Any, timeout: float | None) -> Trace:
        """Answer one row alone, noting what happened on the way."""

    @abstractmethod
    async def metadata(self) -> Metadata:
        """Return what is at the other end."""

    @abstractmethod
    async def ready(self) -> bool:
        """Return whether the other end would answer now."""

    async def aclose(self) -> None:  # noqa: B027  a transport may well hold nothing
        """Let go of what this side holds; calls under way are cancelled."""
