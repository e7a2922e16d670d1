"""Processes of the benchmark's own: started, waited for, and ended whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
"""The most seconds that a server may take until it answers."""


@asynccontextmanager
async def running(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, patience: float = 10.0
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, Path]]:
    """Run a command for the block, in a session of its own, so that all it starts ends with it.

    It gives the process, and the file with all it prints. `patience` is how long it may take to end by itself.
    """
    with tempfile.NamedTemporaryFile(prefix="stretto-benchmark-", suffix=".log") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=os.environ | dict(env or {}), stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process, Path(log.name)
        finally:
            await asyncio.shield(_end(process, patience))


async def _end(process: asyncio.subprocess.Process, patience: float) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), patience)
    # The session may outlive its leader: BentoML's workers do for a moment.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@asynccontextmanager
async def server(
    command: Sequence[str], port: int, path: str, body: Any, expected: Any, *, env: Mapping[str, str] | None = None
) -> AsyncGenerator[str]:
    """Run a server for the block, and give its URL once it answers `body` as expected.

    Raises:
        RuntimeError: it ended, answered something else, or did not answer in time.
    """
    url = f"http://127.0.0.1:{port}{path}"
    async with running(command, env=env) as (process, log):
        deadline = time.monotonic() + PATIENCE
        while (said := await _asked(url, body)) is None:
            if process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} does not answer: {log.read_text()[-2000:]}")
            await asyncio.sleep(0.1)
        if said != expected:
            raise RuntimeError(f"{url} answers {said!r} and not {expected!r}")
        yield url


async def _asked(url: str, body: Any) -> Any:
    try:
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            return await response.json() if response.status == 200 else None
    except (OSError, aiohttp.ClientError):
        return None


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
