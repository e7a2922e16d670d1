"""When a call that failed is made again: exponential backoff with full jitter, within a budget that all calls share.

Written here since no library at hand has the three things together that it takes (tenacity and stamina were looked at):
a budget, the server's own `Retry-After`, and a deadline that is a caller's. The budget is that of Finagle's
``RetryBudget``: retries are a share of the calls, and a few a second, so that a server in trouble gets no storm.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

import aiohttp

from stretto.engine.context import Context, now
from stretto.errors import ConnectionFailed, DeadlineExceeded, NotFound, Overloaded, StrettoError

RETRIES: Final = 12
"""How often a call is made again at most: for eight seconds, on average."""
STRANGER: Final = 2
"""The same, where the server has never answered: its URL is probably wrong."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0
"""Seconds that a pause lasts at most: the first time, and after it has doubled each time."""
SHARE: Final = 0.2
"""Retries for each call that was answered."""
PER_SECOND: Final = 10.0
"""Retries that there are in any case."""
RESERVE: Final = 100.0
"""Retries that are saved up."""
LONGEST_ASKED: Final = 30.0
"""Seconds that a server may ask to wait."""


class GatewayError(Exception):
    """A proxy answered instead of the server, with a status that says that this one could not."""


class Retries:
    """Whether calls of one server are made again.

    `most` is how often each is; 0 is never.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._saved = RESERVE
        self._since = 0.0
        self._known = False

    def answered(self) -> None:
        """Record that the server answered a call."""
        self._known = True
        self._saved = min(RESERVE, self._saved + SHARE)

    async def pause(self, attempt: int, error: StrettoError, context: Context) -> bool:
        """Wait, and return True where a call is to be made again that failed with `error`, `attempt` times before."""
        if not (is_passing(error) or (self._known and (is_restarting(error) or is_garbled(error)))):
            return False
        if attempt >= (self._most if self._known else min(self._most, STRANGER)):
            return False
        at = now()
        self._saved, self._since = min(RESERVE, self._saved + PER_SECOND * (at - self._since)), at
        seconds = random.uniform(0.0, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempt))
        if isinstance(error, Overloaded):
            seconds += min(LONGEST_ASKED, max(0.0, error.retry_after))
        if self._saved < 1 or (context.budget is not None and seconds >= context.budget):
            return False
        self._saved -= 1
        await asyncio.sleep(seconds)
        return True


def is_passing(error: StrettoError) -> bool:
    """Return whether a call that failed with `error` may well be answered when it is made again."""
    if isinstance(error, Overloaded):
        return True
    if not isinstance(error, ConnectionFailed | DeadlineExceeded):
        return False
    cause = error.__cause__
    if isinstance(error, DeadlineExceeded):
        return isinstance(cause, GatewayError)
    unlucky = aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | TimeoutError | GatewayError
    return isinstance(cause, unlucky) and not isinstance(cause, aiohttp.ClientSSLError)


def is_restarting(error: StrettoError) -> bool:
    """Return whether a proxy knows no such route, as Ray Serve's does for a while after it was started again."""
    return isinstance(error, NotFound) and isinstance(error.__cause__, GatewayError)


def is_garbled(error: StrettoError) -> bool:
    """Return whether what came is no HTTP: a server that has answered before does not send that."""
    return isinstance(error, ConnectionFailed) and isinstance(error.__cause__, aiohttp.ClientResponseError)


def is_away(error: StrettoError, attempt: int) -> bool:
    """Return whether to ask another address of the same pipeline: this one does not answer, or is a proxy that can't.

    A connection that broke may be that of one replica of several behind the address: it is asked once more.
    """
    if isinstance(error, Overloaded) or not (is_passing(error) or is_restarting(error) or is_garbled(error)):
        return False
    broken = aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError
    return attempt > 0 or is_unsent(error) or not isinstance(error.__cause__, broken)


def is_unsent(error: StrettoError) -> bool:
    """Return whether a call that failed with `error` has certainly reached no step."""
    refused = aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError
    return isinstance(error, Overloaded | NotFound) or isinstance(error.__cause__, refused)
