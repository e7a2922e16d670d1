"""The URLs at which one pipeline answers: which of them to ask now, which are away, and which are new."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from stretto.engine.context import Context, now
from stretto.engine.per_loop import PerLoop
from stretto.errors import ConnectionFailed, PipelineError, StrettoError
from stretto.transports.base import Token
from stretto.transports.http_connection import Connection
from stretto.wire import JSON

MOST: Final = 64
"""The most URLs that are learned."""
AWAY: Final = 1.0
"""Seconds, on average, between two looks at a URL that is away."""
LOOK: Final = 2.0
"""Seconds that such a look may take."""

_WATCH: Final = "stretto-addresses"
"""The name of the task that looks: there is one in an event loop."""


class Addresses:
    """The connections to one pipeline: those of the URLs that the caller named, in order, then those learned.

    The first that is not away is asked. One that is away is looked at in the background until it is there again, so
    that no call has to try it.

    Raises:
        PipelineError: no URL was named.
        ConnectionFailed: a URL can't be that of a server.
    """

    def __init__(self, urls: Sequence[str], token: Token | None, headers: Mapping[str, str]) -> None:
        if not urls:
            raise PipelineError("an empty list of URLs: name one at least")
        self._token, self._headers = token, headers
        self._made = {url: Connection(url, token, headers) for url in urls}
        self._named = list(self._made.values())
        self._learned: list[Connection] = []
        self._away: dict[Connection, float] = {}
        self._work = PerLoop(set[asyncio.Task[None]])

    @property
    def named(self) -> Connection:
        """The connection to the URL that was named first."""
        return self._named[0]

    @property
    def best(self) -> Connection:
        """The connection to ask now: where all are away, the one that was tried the longest ago."""
        if not self._away:
            return self._named[0]
        there = (each for each in self._all() if each not in self._away)
        return next(there, None) or min(self._away, key=lambda each: self._away[each])

    def failed(self, connection: Connection) -> None:
        """Record that a server did not answer; where there are others, these are asked until it does again."""
        if len(self._all()) == 1:
            return
        self._away[connection] = now()
        if not any(each.get_name() == _WATCH for each in self._work.here()):
            self.start(self._watch(), _WATCH)

    def answered(self, connection: Connection) -> None:
        """Record that a server answered."""
        if self._away:
            self._away.pop(connection, None)

    @property
    def trusted(self) -> Connection | None:
        """The first connection that the caller named and that is not away: what others are there is for it to say."""
        return next((each for each in self._named if each not in self._away), None)

    def others(self, urls: Iterable[str]) -> list[Connection]:
        """Return the connections to the URLs that a trusted server names beside its own, as far as they may be asked.

        Where the caller named one by https, only others by https get the rows and the token. And a server that is not
        on this machine has nothing to say of what listens here.
        """
        secure = any(each.url.startswith("https:") for each in self._named)
        here = any(_is_local(each.url) for each in self._named)
        others: list[Connection] = []
        for url in dict.fromkeys(urls):
            if url in (each.url for each in self._named) or (secure and not url.startswith("https:")):
                continue
            with suppress(ConnectionFailed):
                connection = self._made.get(url) or Connection(url, self._token, self._headers)
                if here or not _is_local(url):
                    others.append(connection)
            if len(others) == MOST:
                break
        return others

    def learn(self, learned: list[Connection]) -> None:
        """Take these connections for those to ask while the ones that the caller named are away."""
        gone = set(self._learned).difference(learned)
        self._learned = learned
        self._made |= {each.url: each for each in learned}
        for each in gone:
            self._away.pop(each, None)
            if self._made.get(each.url) is each:
                del self._made[each.url]
            self.start(each.aclose())

    def knows(self, connection: Connection) -> bool:
        """Return whether a connection was learned before."""
        return connection in self._learned

    def start(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Do something in the background, until this is closed."""
        tasks = self._work.here()
        tasks.add(task := asyncio.get_running_loop().create_task(work, name=name))
        task.add_done_callback(tasks.discard)

    async def aclose(self) -> None:
        """End what is done in the background, and close the connections."""
        tasks = list(self._work.here())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in self._all():
            await each.aclose()

    def _all(self) -> list[Connection]:
        return [*self._named, *self._learned]

    async def _watch(self) -> None:
        while self._away:
            await asyncio.sleep(AWAY * random.uniform(0.5, 1.5))
            await asyncio.gather(*map(self._look, list(self._away)))

    async def _look(self, connection: Connection) -> None:
        with suppress(StrettoError):
            await connection.send("GET", "/health/ready", b"", Context.starting(LOOK), JSON)
            self.answered(connection)


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified
