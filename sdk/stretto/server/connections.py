"""Connections of uvicorn's that no stranger keeps for nothing: bounded in number, in headers and in time.

uvicorn bounds neither the headers that httptools reads nor how long a client takes to send them, and closes a
connection only once it has had an answer. With h11, which bounds its headers, throughput is half of what it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None

MAX_HEAD: Final = 2**16
"""The most bytes of a request that are no body: its line, its headers, and what stands around the pieces of a body."""
PATIENCE: Final = 20.0
"""Seconds in which a client sends a request, or takes some of its answer. It is looked at as often: twice at most."""
SLOWEST: Final = 4096
"""The bytes a second that a longer request has to come at."""
HALF_CLOSED: Final = 1.0
"""Seconds in which a client that has closed its side gets an answer: most that do so have gone."""
MAX_CONNECTIONS: Final = 10_000
SPARE_FILES: Final = 100
"""File descriptors that are left for everything but connections."""
BACKLOG: Final = 2048
DRAIN: Final = 10
"""Seconds in which a server that is told to stop answers what it has taken."""
_log = logging.getLogger("stretto.server")


def most_connections() -> int:
    """Return how many connections this process may have: without descriptors, all are refused, and silently."""
    if resource is None:
        return MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(files - SPARE_FILES, MAX_CONNECTIONS)) if files != resource.RLIM_INFINITY else MAX_CONNECTIONS


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is closed if its client sends too much beside a body, or too slowly, or takes no answer.

    Where there are too many, one that waits for a request is closed for each new one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._messages = self._body = self._beside = 0  # the requests that are complete; the bytes of the next one
        self._rounds = self._unsent = 0
        self._seen: int | None = 0  # how many were complete when the next one was waited for, at the last look
        self._check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a new connection, in place of an idle one where there are too many."""
        if len(self.connections) >= most_connections() and not self._made_room():
            _log.warning("a connection is refused: all %d are answering requests", len(self.connections))
            transport.write(_told("503 Service Unavailable", "too many connections"))
            transport.close()
        super().connection_made(transport)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what the client has sent."""
        self._beside += len(data)
        super().data_received(data)
        if self._beside > MAX_HEAD:
            self._refuse("431 Request Header Fields Too Large", f"more than {MAX_HEAD} bytes of headers")

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._beside = 0
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._beside = self._body = 0
        self._messages += 1
        super().on_message_complete()

    def eof_received(self) -> bool | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Leave a client that has closed its side some time for its answer.

        Whether it has gone altogether can't be told, and work for those who have is to end.
        """
        if self.is_idle or self.is_sending:
            return None
        last = self.pipeline[0][0] if self.pipeline else self.cycle
        last.keep_alive = False
        self.loop.call_later(HALF_CLOSED, self.transport.close)
        return True

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    @property
    def is_sending(self) -> bool:
        """Whether the client is to send a request, or the rest of it."""
        return bool(self._body or self._beside or not self._messages)

    def _made_room(self) -> bool:
        idle = [each for each in self.connections if isinstance(each, BoundedProtocol) and each.is_idle]
        if idle:
            # Those that have never had a request before those that a client keeps for its next one, and old ones first.
            min(idle, key=lambda each: (each._messages > 0, each._due)).transport.abort()
        return bool(idle)

    def _look_later(self) -> None:
        self._due = time.monotonic() + PATIENCE
        self._check = self.loop.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        """Close the connection if its client has been too slow."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        self._unsent = unsent
        if unsent and unsent == before:
            self.transport.abort()
        elif self.flow.read_paused or time.monotonic() - self._due > 1.0:
            self._rounds = 0  # nobody read what it sent: the event loop was busy, or the request before is
        elif self.is_sending and self._seen == self._messages:
            self._rounds += 1
            if self._rounds * PATIENCE > (self._body + self._beside) / SLOWEST:
                self._refuse("408 Request Timeout", "the request came too slowly")
        else:
            self._rounds = 0
        self._seen = self._messages if self.is_sending else None
        self._look_later()

    def _refuse(self, status: str, reason: str) -> None:
        if not self.transport.is_closing():
            if self._beside + self._body and (self.cycle is None or not self.cycle.response_started):  # pyright: ignore[reportUnnecessaryComparison]
                self.transport.write(_told(status, reason))
            self.transport.close()


def _told(status: str, reason: str) -> bytes:
    headers = f"content-type: text/plain\r\ncontent-length: {len(reason)}\r\nconnection: close"
    return f"HTTP/1.1 {status}\r\n{headers}\r\n\r\n{reason}".encode()


SETTINGS: Final[dict[str, Any]] = {"http": BoundedProtocol, "ws": "none", "access_log": False, "log_level": "warning"}
"""The settings of uvicorn under which an application is served."""
