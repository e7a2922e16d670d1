"""A Stretto server, reached over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import msgspec
import numpy as np

from stretto.engine.batching import Coalescer
from stretto.engine.context import Span, late
from stretto.engine.results import Metadata, Trace
from stretto.errors import ConnectionFailed, DeadlineExceeded, InputError, NotFound, StrettoError, TooLarge
from stretto.transports.base import Transport
from stretto.transports.http_connection import Connection
from stretto.wire import JSON, MSGPACK, decode_msgpack, decode_outcomes, encode_row, encode_rows, from_problem

LANES = 4
"""Requests under way at a time on behalf of `predict`: enough that a slow one does not hold up the others."""


class HttpTransport(Transport):
    """Asks the Stretto server at `url`.

    Concurrent calls of `predict` share requests, each of `max_batch` rows at most; `max_queued` bounds the rows that
    wait for that. `token` is the server's bearer token, and `headers` go along with every request. It may be made
    outside of an event loop, and used in one loop after another.

    Raises:
        ConnectionFailed: `url` is not one that a server can have.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        max_batch: int = 256,
        max_queued: int = 10_000,
    ) -> None:
        self._connection = Connection(url, token, headers or {})
        self._queue: Coalescer[_Waiting, Any] = Coalescer(
            self._answers, lanes=LANES, max_batch=max_batch, max_queued=max_queued, name=url
        )

    @property
    def where(self) -> str:
        """The server's URL."""
        return self._connection.url

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._connection.url

    async def predict(self, row: Any, timeout: float | None) -> Any:
        """Return the answer for one row, or raise its error."""
        future = self._queue.submit(_Waiting(encode_row(row), _deadline(timeout)))
        if timeout is None:
            return await future
        try:
            async with asyncio.timeout(timeout):
                return await future
        except StrettoError:
            raise
        except TimeoutError:
            raise late(f"({timeout:g} s) waiting for {self.where}") from None

    async def outcomes(self, rows: Sequence[Any] | np.ndarray, timeout: float | None, step: str = "") -> Sequence[Any]:
        """Return an outcome for each of `rows`, from one `step` alone if named."""
        deadline = _deadline(timeout)
        if isinstance(rows, np.ndarray) and rows.dtype != object:
            return await self._ask_many(rows, deadline, step)
        packed = [_packed(row) for row in cast("Sequence[Any]", rows)]
        answers = iter(await self._ask_many([each for each in packed if isinstance(each, bytes)], deadline, step))
        return [next(answers) if isinstance(each, bytes) else each for each in packed]

    async def trace(self, row: Any, timeout: float | None) -> Trace:
        """Answer one row alone, noting what happened on the way."""
        body = await self._connection.send("POST", "/trace", encode_row(row), _deadline(timeout), MSGPACK)
        with self._expecting("a trace"):
            told = decode_msgpack(body)
            error = from_problem(told["error"]) if "error" in told else None
            return Trace(told.get("answer"), error, msgspec.convert(told["spans"], tuple[Span, ...]))

    async def metadata(self) -> Metadata:
        """Return what is at the other end."""
        body = await self._connection.send("GET", "/metadata", b"", _deadline(30.0), JSON)
        with self._expecting("metadata"):
            return msgspec.json.decode(body, type=Metadata)

    async def ready(self) -> bool:
        """Return whether the server is there and would answer now."""
        try:
            await self._connection.send("GET", "/health/ready", b"", _deadline(5.0), JSON)
        except (ConnectionFailed, DeadlineExceeded, NotFound):
            return False
        return True

    async def aclose(self) -> None:
        """Cancel calls under way and close the connections."""
        await self._queue.aclose()
        await self._connection.aclose()

    async def _answers(self, batch: list[_Waiting]) -> Sequence[Any]:
        deadlines = [each.deadline for each in batch if each.deadline is not None]
        # The request lasts as long as its most patient row; the others are left behind by their own callers.
        deadline = max(deadlines) if len(deadlines) == len(batch) else None
        try:
            if len(batch) == 1:
                return [await self._ask(batch[0].row, deadline)]
            return [_anywhere(each) for each in await self._ask_many([each.row for each in batch], deadline)]
        except StrettoError as error:
            # Each caller gets an error of its own, to which its own traceback is attached.
            return [error.copy() for _ in batch]

    async def _ask(self, row: bytes, deadline: float | None) -> Any:
        body = await self._connection.send("POST", "", row, deadline, MSGPACK)
        with self._expecting("an answer"):
            return decode_msgpack(body)

    async def _ask_many(self, rows: list[bytes] | np.ndarray, deadline: float | None, step: str = "") -> list[Any]:
        if not len(rows):
            return []
        path = f"/batch?step={quote(step, safe='')}" if step else "/batch"
        packed = encode_rows(rows) if isinstance(rows, list) else encode_row(rows)
        try:
            body = await self._connection.send("POST", path, packed, deadline, MSGPACK)
        except TooLarge as error:
            # The bound is the server's on a request, and says nothing about a row until that is sent alone.
            if len(rows) == 1:
                return [error]
            middle = len(rows) // 2
            first = await self._ask_many(rows[:middle], deadline, step)
            return first + await self._ask_many(rows[middle:], deadline, step)
        with self._expecting(f"{len(rows)} outcomes"):
            outcomes = decode_outcomes(body)
            if len(outcomes) != len(rows):
                raise ValueError(f"it gave {len(outcomes)}")
            return outcomes

    @contextmanager
    def _expecting(self, what: str) -> Generator[None]:
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"{self.where} did not give {what} as this version of Stretto writes it: {error}"
            raise ConnectionFailed(message) from error


class _Waiting(NamedTuple):
    row: bytes
    deadline: float | None


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _packed(row: Any) -> bytes | InputError:
    try:
        return encode_row(row)
    except InputError as error:
        return error


def _anywhere(outcome: Any) -> Any:
    """Return an outcome that does not say which row it had in a request that its caller knows nothing of."""
    if isinstance(outcome, StrettoError):
        outcome.row = None
    return outcome
