"""Steps that hang, block the event loop, or end their process: the rows beside theirs, under ``stretto serve``."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from stretto import Client
from stretto.errors import StrettoError
from tests.chaos.load import under_load
from tests.chaos.replicas import CALLERS, DEADLINE
from tests.chaos.report import Found
from tests.chaos.settings import Settings

RIGHT = range(1000)
WORKERS = 2
EVERY = 2.0
"""Seconds between two rows that are poison."""

APP = """
import asyncio, os, time
from stretto import step

async def answer(row):
    match row:
        case "hangs":
            await asyncio.Event().wait()
        case "blocks the event loop":
            time.sleep(1)
        case "ends its process":
            os._exit(3)
        case "kills its process":
            os.kill(os.getpid(), 11)
        case "takes memory":
            bytearray(2**29)
    return row

app = step(answer, name="answer")
"""
POISON: Mapping[str, str] = {
    "hangs": "hangs for good",
    "blocks the event loop": "blocks the event loop for 1 s",
    "ends its process": "calls os._exit",
    "kills its process": "crashes with SIGSEGV",
    "takes memory": "takes 512 MiB",
}


@contextmanager
def _workers() -> Generator[str]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(APP)
        command = [sys.executable, "-m", "stretto", "serve", "app:app", "--port", str(port), "--workers", str(WORKERS)]
        server = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


@asynccontextmanager
async def _served() -> AsyncGenerator[str]:
    with _workers() as url:
        async with Client(url) as client, asyncio.timeout(60):
            while not await client.ready():
                await asyncio.sleep(0.1)
        yield url


async def poisoned(settings: Settings) -> AsyncGenerator[Found]:
    """Send a row that is poison every two seconds, by a client of its own, beside those of 32 callers."""
    for row, what in POISON.items():
        if what not in settings.ways(*POISON.values()):
            continue
        async with _served() as url, Client(url) as client, Client(url, retries=0) as other:

            async def ask(number: int, client: Client[Any, Any] = client) -> Any:
                return await client.predict(number % len(RIGHT), timeout=DEADLINE)

            async with under_load(ask, RIGHT, CALLERS) as load:
                await asyncio.sleep(settings.calm)
                load.begins("during")
                asked = await _poison(other, row, settings.seconds)
                load.begins("after")
                await asyncio.sleep(settings.after)
        yield Found(f"8: {asked} rows of a step that", what, load)


async def _poison(client: Client[Any, Any], row: str, seconds: float) -> int:
    end = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as tasks:
        for asked in itertools.count(1):
            tasks.create_task(_asked(client, row, max(1.0, end - time.perf_counter())))
            await asyncio.sleep(EVERY)
            if time.perf_counter() > end:
                return asked
    raise AssertionError


async def _asked(client: Client[Any, Any], row: str, seconds: float) -> None:
    with suppress(StrettoError):  # whose fault it is
        await client.predict(row, timeout=seconds)
