"""Long bodies: how many bytes of them there may be, and where they are decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from stretto.engine.threads import Threads
from stretto.errors import Overloaded
from stretto.server.limits import Limits

LONG: Final = 2**16
"""The bytes from which on a body is long. Shorter ones are as many as there are connections."""
_AT_A_TIME: Final = 2


class Bodies:
    """The long bodies of a server's requests: from when they are read until they are answered."""

    def __init__(self, limits: Limits) -> None:
        self._room = limits.max_pending
        # Decoding takes many times the memory of a body, and seconds, in which the event loop would answer nobody.
        self._threads = Threads(_AT_A_TIME)

    def hold(self, before: int, size: int) -> int:
        """Return the size of a body of which `before` bytes were counted, now that it has `size`.

        Raises:
            Overloaded: there is no room for it.
        """
        if size - before > self._room:
            raise Overloaded("the server has as many bytes of requests as it takes; try again later")
        self._room -= size - before
        return size

    def release(self, size: int) -> None:
        """Count a body no longer."""
        self._room += size

    async def decoded(self, decode: Callable[[bytes], Any], body: bytes) -> Any:
        """Return the value in a body, decoded in a thread."""
        return await self._threads.run(decode, body)
