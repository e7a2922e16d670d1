"""Malformed requests to a server, and malformed answers to a client: thousands of mutations of what is right."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

import aiohttp

from stretto import Client
from stretto.errors import StrettoError
from stretto.testing import serving
from stretto.wire import JSON, MSGPACK, MSGPACK_PARTS, encode_row, encode_rows
from tests.benchmarks.programs.ensemble import ensemble
from tests.chaos.load import Ask, Load, at_a_rate
from tests.chaos.replicas import rows_and_answers
from tests.chaos.report import Found
from tests.chaos.settings import Settings
from tests.echo import read_request, response, speaking

REQUESTS = 20_000
AT_ONCE = 16
DESIGNED = {200, 400, 404, 405, 408, 411, 413, 415, 422, 431}
"""The statuses that a stranger's request may have; no server error is among them."""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return the content with a few bytes changed, cut, doubled or moved."""
    made = bytearray(content)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(made) + 1)
        match rng.randrange(5):
            case 0 if at < len(made):
                made[at] = rng.randrange(256)
            case 1:
                made[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 2:
                del made[at : at + rng.randrange(1, 9)]
            case 3:
                made += made[at : at + 64]
            case _:
                made[at : at + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"1e99", b"null", b"\xdf\xff\xff\xff"))
    return bytes(made)


async def fuzzed(settings: Settings) -> AsyncGenerator[Found]:
    """Send mutated requests, and answer with mutated answers; beside them a caller is answered as ever."""
    for way, run in (("requests", _requests), ("answers", _answers)):
        if settings.ways(way):
            yield await run(settings)


async def _requests(settings: Settings) -> Found:
    rows, right = rows_and_answers()
    rng = random.Random(0)
    bodies = [
        *((path, JSON, json.dumps(rows[0]).encode()) for path in ("/", "/trace", "/steps/svm")),
        *((path, MSGPACK, encode_row(rows[0])) for path in ("/", "/trace", "/batch?step=svm")),
        ("/batch", MSGPACK, encode_rows([encode_row(row) for row in rows[:5]])),
        ("/batch", JSON, json.dumps(rows[:5]).encode()),
    ]
    statuses: Counter[int] = Counter()
    async with serving(ensemble()) as url, aiohttp.ClientSession() as session, Client(url) as client:

        async def send() -> None:
            path, media, body = rng.choice(bodies)
            headers = {"content-type": media, "accept": rng.choice((media, JSON, MSGPACK_PARTS))}
            with suppress(aiohttp.ClientError):
                async with session.post(url + path, data=mutated(body, rng), headers=headers) as reply:
                    await reply.read()
                    statuses[reply.status] += 1

        async def ask(number: int) -> bool:
            return await client.predict(rows[number % len(rows)], timeout=10.0) == right[number % len(rows)]

        load = await _beside(settings, send, ask)
    odd = {status: count for status, count in statuses.items() if status not in DESIGNED}
    return Found(f"9: {statuses.total():,} requests, others than designed: {odd or 'none'}", "requests", load)


async def _answers(settings: Settings) -> Found:
    rows, right = rows_and_answers()
    rng = random.Random(0)
    outcomes: Counter[str] = Counter()
    good = [encode_row(answer) for answer in right[:3]] + [encode_rows([encode_row(each) for each in right[:3]])]

    async def say(reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await read_request(reader)
            media = rng.choice((MSGPACK, MSGPACK_PARTS, JSON))
            said = response(rng.choice(good), rng.choice(("200 OK", "200 OK", "422 No", "503 No")), media)
            writer.write(mutated(said, rng))
            await writer.drain()

    async with (
        speaking(say) as hostile,
        Client(hostile, retries=0) as misled,
        serving(ensemble()) as url,
        Client(url) as client,
    ):

        async def send() -> None:
            try:
                await misled.predict_many(rows[:3], timeout=2.0, on_error="return")
                outcomes["answer"] += 1
            except StrettoError as error:
                outcomes[type(error).__name__] += 1
            except Exception as error:
                outcomes[f"undesigned {type(error).__name__}"] += 1

        async def ask(number: int) -> bool:
            return await client.predict(rows[number % len(rows)], timeout=10.0) == right[number % len(rows)]

        load = await _beside(settings, send, ask)
    odd = {name: count for name, count in outcomes.items() if name.startswith("undesigned")}
    return Found(f"9: {outcomes.total():,} answers, errors that are not ours: {odd or 'none'}", "answers", load)


async def _beside(settings: Settings, send: Callable[[], Awaitable[object]], ask: Ask) -> Load:
    load = Load()
    left = itertools.count()

    async def sender() -> None:
        while next(left) < settings.of(REQUESTS):
            await send()

    load.begins("before")
    await at_a_rate(load, ask, 100.0, settings.calm)
    load.begins("during")
    sending = asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    while not sending.done():
        await at_a_rate(load, ask, 100.0, 0.5)
    await sending
    load.begins("after")
    await at_a_rate(load, ask, 100.0, settings.after)
    return load
