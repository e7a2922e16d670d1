"""How a client reaches a pipeline.

Authors of transports derive from `Transport`. ``Client(HttpTransport(url, max_queued=100))`` uses a transport
configured by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stretto.transports.base import Transport

if TYPE_CHECKING:
    from stretto.transports.http import HttpTransport

__all__ = ["HttpTransport", "Transport"]


def __getattr__(name: str) -> Any:
    if name != "HttpTransport":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stretto.transports.http import HttpTransport  # imports aiohttp

    return HttpTransport
