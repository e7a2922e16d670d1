"""A Stretto server, reached over HTTP."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any, TypeAlias, cast
from urllib.parse import quote

import anyio
import msgspec
import numpy as np

from stretto.batch.arrays import is_array, size
from stretto.batch.frames import Frame
from stretto.batch.isolate import each_row, isolate
from stretto.engine.as_ready import Ready
from stretto.engine.batching import Coalescer
from stretto.engine.context import Context, Span, latest, now
from stretto.engine.results import Metadata, Trace
from stretto.errors import ConnectionFailed, DeadlineExceeded, NotFound, PipelineError, StrettoError, TooLarge
from stretto.transports.addresses import Addresses
from stretto.transports.base import Token, Transport
from stretto.transports.http_connection import SILENT_ONCE, Connection, decoded
from stretto.transports.retries import RETRIES, Retries, is_away, is_passing, is_unsent
from stretto.wire import JSON, MSGPACK, decode_msgpack, decode_outcomes, encode_row, encode_rows, from_problem

Waiting: TypeAlias = tuple[bytes, float | None]
"""A packed row, with its deadline."""

LANES = 4
"""Requests under way at a time for `predict`, on which rows gather."""
DEFAULT_TIMEOUT = 60.0
"""Seconds in which a request is answered whose caller names no limit: nobody waits for ever."""
LOOKED_UP = 2.0
"""Seconds in which a server says whether its pipeline may be asked again, and where else it answers."""
RELEARNED = 30.0
"""Seconds after which it is asked that again."""
SPARE = 60
"""Requests beside these that take unusually long: with them the connections of a session are all in use."""


class HttpTransport(Transport):
    """Reaches the Stretto server at `url`.

    Args:
        url: The server's address with the route, such as ``"http://127.0.0.1:8000/iris"``; or a list of such addresses
            of one pipeline, of which the first that answers is asked.
        token: The bearer token, or a function that returns it. The function may be ``async``, and is called for every
            request, so that it can refresh a token that expires.
        headers: Headers to send with every request.
        retries: How often a call is made again at most, after failures that pass: no connection, a connection that
            broke, an overloaded server, a proxy that does not reach it. A server that has never answered is asked
            twice again at most, and a pipeline with a step of ``step(..., idempotent=False)`` only where the request
            can't have reached it.
        learn: Whether other addresses of the pipeline are asked while these do not answer: those that its server names,
            as Ray Serve's proxies and replicas do. They get the rows, the headers and the token too.
        timeout: The limit, in seconds, on a request whose caller names none. ``math.inf`` is no limit.
        max_batch: The most rows of concurrent `predict` calls that share a request.
        max_queued: The most rows that wait for that.

    It may be created outside of an event loop, and used in one loop after another.

    Raises:
        ConnectionFailed: `url` can't be the URL of a server.
        PipelineError: a header can't be sent, or `retries` or `timeout` is none.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
        retries: int = RETRIES,
        learn: bool = True,
        timeout: float = DEFAULT_TIMEOUT,
        max_batch: int = 256,
        max_queued: int = 10_000,
    ) -> None:
        self._addresses = Addresses([url] if isinstance(url, str) else url, token, headers or {})
        self._learns = learn
        self._learned_at = -math.inf
        self._retries = Retries(_count(retries))
        self._timeout = _seconds(timeout)
        self._idempotent: bool | None = None
        self._queue: Coalescer[Waiting, Any] = Coalescer(
            self._answers, workers=LANES, spare=SPARE, max_batch=max_batch, max_queued=max_queued, name=self.url
        )

    @property
    def url(self) -> str:
        """The server's URL, the first of those that were named."""
        return self._addresses.named.url

    async def predict(self, row: Any, context: Context) -> Any:
        """Return the answer for one row, or raise its error."""
        future = self._queue.submit((encode_row(row), context.deadline))
        if context.deadline is None:
            return await future
        try:
            with anyio.move_on_after(context.budget):
                return await future
        except DeadlineExceeded as error:
            # The request that rows share may run out of time a moment before its caller, whose limit it does not know.
            raise error if error.seconds is not None else context.exceeded(error.where) from None
        raise context.exceeded(self.where)

    async def outcomes(
        self, rows: Sequence[Any] | np.ndarray, context: Context, step: str | None = None
    ) -> Sequence[Any]:
        """Return an outcome for each of `rows`, of one `step` alone if named."""
        if isinstance(rows, Frame) or (is_array(rows) and cast("np.ndarray", rows).dtype != object):
            return await self._ask_many(cast("Frame", rows), context, step)
        packed: list[bytes | Exception] = each_row(rows, encode_row).as_list()
        answers = iter(await self._ask_many([each for each in packed if isinstance(each, bytes)], context, step))
        return [next(answers) if isinstance(each, bytes) else each for each in packed]

    async def trace(self, row: Any, context: Context) -> Trace:
        """Return the outcome of one row with the spans of its steps."""
        body = await self._sent("/trace", encode_row(row), self._limited(context))
        with self._expecting("a trace"):
            members = await decoded(decode_msgpack, body, context, self.where)
            error = from_problem(members["error"]) if "error" in members else None
            return Trace(members.get("answer"), error, msgspec.convert(members["spans"], tuple[Span, ...]))

    async def metadata(self) -> Metadata:
        """Return what the server knows of its pipeline."""
        return await self._metadata(30.0)

    async def _metadata(self, timeout: float, connection: Connection | None = None) -> Metadata:
        connection = connection or self._addresses.best
        body = await connection.send("GET", "/metadata", b"", Context.starting(timeout), JSON)
        with self._expecting("metadata"):
            return msgspec.json.decode(body, type=Metadata)

    async def ready(self) -> bool:
        """Return whether the server is there and would answer now."""
        try:
            await self._addresses.best.send("GET", "/health/ready", b"", Context.starting(5.0), JSON)
        except (ConnectionFailed, DeadlineExceeded, NotFound):
            return False
        return True

    async def aclose(self) -> None:
        """Cancel calls under way and close the connections."""
        await self._queue.aclose()
        await self._addresses.aclose()

    def _answers(self, batch: list[Waiting]) -> AsyncGenerator[Ready]:
        # A single row is sent in this way too, at the same cost: its server shows that it is there while it computes.
        context = self._limited(Context(latest(deadline for _, deadline in batch)))
        return self._ask_together([row for row, _ in batch], context)

    async def _sent(self, path: str, body: bytes, context: Context) -> bytes:
        """Return what the server answers to a POST, which is made again after failures that pass."""
        attempt = 0
        while True:
            connection = self._addresses.best
            try:
                answer = await connection.send("POST", path, body, context, MSGPACK)
            except StrettoError as error:
                if not await self._passes(error, attempt, context, connection):
                    raise
                attempt += 1
            else:
                self._answered(connection)
                return answer

    def _answered(self, connection: Connection) -> None:
        self._retries.answered()
        self._addresses.answered(connection)
        if self._learns and now() - self._learned_at > RELEARNED:
            self._learned_at = now()
            self._addresses.start(self._learn())

    async def _learn(self) -> None:
        trusted = self._addresses.trusted
        if trusted is None:
            return
        with suppress(StrettoError):
            metadata = await self._metadata(LOOKED_UP, trusted)
            self._idempotent = metadata.idempotent

            async def is_same(other: Connection) -> bool:
                with suppress(StrettoError):
                    return _what(await self._metadata(LOOKED_UP, other)) == _what(metadata)
                return self._addresses.knows(other)  # it may be away for a while

            others = self._addresses.others(metadata.addresses)
            same = await asyncio.gather(*map(is_same, others))
            self._addresses.learn([each for each, is_it in zip(others, same, strict=True) if is_it])
            for each, is_it in zip(others, same, strict=True):
                if not is_it:
                    await each.aclose()

    async def _passes(self, error: StrettoError, attempt: int, context: Context, connection: Connection) -> bool:
        """Return whether to make a call again, once it is time to."""
        if is_away(error, attempt):
            self._addresses.failed(connection)
            self._learned_at = -math.inf
        if not await self._retries.pause(attempt, error, context):
            return False
        if is_unsent(error):
            return True
        if self._idempotent is None:
            try:
                self._idempotent = (await self._metadata(LOOKED_UP)).idempotent
            except StrettoError as unknown:
                if is_passing(unknown) or isinstance(unknown, DeadlineExceeded):
                    return await self._passes(error, attempt + 1, context, connection)
                self._idempotent = True  # whatever it is, it says nothing else
        return self._idempotent

    def _limited(self, context: Context) -> Context:
        return Context.starting(self._timeout) if context.deadline is None else context

    async def _ask_together(self, rows: list[bytes], context: Context) -> AsyncGenerator[Ready]:
        """Yield the outcomes of the rows of several callers as they are ready: a slow one holds up no other."""
        left = dict(enumerate(rows))
        attempt = 0
        while left:
            places = list(left)
            connection = self._addresses.best
            try:
                async with aclosing(self._parts(connection, list(left.values()), context)) as parts:
                    async for part in parts:
                        yield [(places[at], outcome) for at, outcome in part]
                        for at, _ in part:
                            del left[places[at]]
                self._answered(connection)
            except StrettoError as error:
                if await self._passes(error, attempt, context, connection):
                    attempt += 1
                    continue
                # Each caller gets an error of its own, to which its own traceback is attached.
                yield [(at, error.copy()) for at in left]
                return

    async def _parts(self, connection: Connection, rows: list[bytes], context: Context) -> AsyncGenerator[Ready]:
        left = set(range(len(rows)))
        silent = SILENT_ONCE if self._idempotent is False else None
        with self._expecting(_outcomes(len(rows))):
            try:
                async with aclosing(connection.parts("/batch", encode_rows(rows), context, silent)) as parts:
                    async for part in parts:
                        places = {at for at, _ in part}
                        if len(places) < len(part) or not places <= left:
                            raise ValueError("it returned others")
                        left -= places
                        for _, outcome in part:
                            if isinstance(outcome, StrettoError):
                                outcome.row = None  # its caller sent one row, and knows nothing of the others
                        yield part
            except TooLarge:  # of all rows together
                rest = sorted(left)
                yield list(zip(rest, await self._ask_many([rows[at] for at in rest], context), strict=True))
                return
            if left:
                raise ValueError(f"it returned {len(rows) - len(left)}")

    async def _ask_many(
        self, rows: list[bytes] | np.ndarray | Frame, context: Context, step: str | None = None
    ) -> list[Any]:
        path = "/batch" if step is None else f"/batch?step={quote(step, safe='')}"
        context = self._limited(context)

        async def ask(positions: Sequence[int]) -> list[Any]:
            part = rows[positions[0] : positions[-1] + 1]
            packed = encode_rows(part) if isinstance(part, list) else encode_row(part)
            body = await self._sent(path, packed, context)
            with self._expecting(_outcomes(size(part))):
                outcomes = await decoded(decode_outcomes, body, context, self.where)
                if len(outcomes) != size(part):
                    raise ValueError(f"it returned {len(outcomes)}")
                return outcomes

        # The server's limit is on a request, and the client's on an answer: whether a row is too large shows when it is
        # sent alone.
        answers = await isolate(size(rows), ask, TooLarge) if size(rows) else []
        return [each for _, answer in answers for each in (answer if isinstance(answer, list) else [answer])]

    @contextmanager
    def _expecting(self, what: str) -> Generator[None]:
        try:
            yield
        except (DeadlineExceeded, TooLarge):
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"{self.where} did not return {what} as this version of Stretto writes it: {error}"
            raise ConnectionFailed(message) from error


def _count(retries: int) -> int:
    if type(retries) is not int or retries < 0:
        raise PipelineError(f"retries={retries!r}: it is how often a call is made again, 0 or more")
    return retries


def _seconds(timeout: float) -> float | None:
    if not timeout > 0:
        raise PipelineError(f"timeout={timeout!r}: it is a number of seconds above 0; math.inf is no limit")
    return None if timeout == math.inf else float(timeout)


def _what(metadata: Metadata) -> tuple[object, ...]:
    """Return what is equal for the servers of one pipeline, and of its next version too."""
    return metadata.name, metadata.steps, metadata.features


def _outcomes(count: int) -> str:
    return f"{count} outcome{'' if count == 1 else 's'}"
