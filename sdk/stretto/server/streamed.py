"""Responses of many rows whose outcomes are sent as they are ready, so that a slow row holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from starlette.types import Send

from stretto.engine.as_ready import Ready
from stretto.server.messages import Response
from stretto.wire import JSON_LINES, MSGPACK, MSGPACK_PARTS, encode_line, encode_outcomes, encode_part

BEAT = 1.0
"""Seconds after which something is sent while nothing is ready, so that the client knows that somebody is there."""


class Streamed:
    """A response whose body is sent part by part, the first of which is at hand."""

    def __init__(self, first: Ready, rest: _Beating, encode: Callable[[Ready], bytes], media: str) -> None:
        self._first, self._rest, self._encode, self._media = first, rest, encode, media

    async def send(self, send: Send) -> None:
        """Send all of it."""
        try:
            headers = [(b"content-type", self._media.encode()), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            part: Ready | None = self._first
            while part is not None:
                await send({"type": "http.response.body", "body": self._encode(part), "more_body": True})
                part = await self._rest.next()
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._rest.aclose()


async def packed(parts: AsyncGenerator[Ready], count: int) -> Response | Streamed:
    """Return the response of `count` outcomes for Stretto's client: in one piece where all are ready at once."""
    first, rest = await _begun(parts)
    if len(first) < count:
        return Streamed(first, rest, encode_part, MSGPACK_PARTS)
    await rest.aclose()
    outcomes: list[Any] = [None] * count
    for at, outcome in first:
        outcomes[at] = outcome
    return Response(encode_outcomes(outcomes), MSGPACK)


async def lines(parts: AsyncGenerator[Ready]) -> Streamed:
    """Return the response of outcomes as lines of JSON; an empty line is none."""
    first, rest = await _begun(parts)
    return Streamed(first, rest, lambda part: b"".join(encode_line(*each) for each in part) or b"\n", JSON_LINES)


async def _begun(parts: AsyncGenerator[Ready]) -> tuple[Ready, _Beating]:
    rest = _Beating(parts)
    try:
        return await rest.next() or (), rest
    except BaseException:
        await rest.aclose()
        raise


class _Beating:
    """Parts, with an empty one after each `BEAT` in which there was none."""

    def __init__(self, parts: AsyncGenerator[Ready]) -> None:
        self._parts = parts
        self._coming: asyncio.Future[Ready | None] | None = None

    async def next(self) -> Ready | None:
        """Return the next part, or None at the end."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(_next(self._parts))
        done, _ = await asyncio.wait([self._coming], timeout=BEAT)
        if not done:
            return ()
        coming, self._coming = self._coming, None
        return coming.result()

    async def aclose(self) -> None:
        """Cancel what is under way."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait([self._coming])
        await self._parts.aclose()


async def _next(parts: AsyncGenerator[Ready]) -> Ready | None:
    return await anext(parts, None)
