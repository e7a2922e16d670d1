"""Programs under load: callers in this event loop, or wrk from outside."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stretto._demo.measure import measure
from tests.benchmarks.programs.iris import ROW
from tests.benchmarks.rounds import Contender, Figures

POST = Path(__file__).parent / "programs" / "post.lua"
LONGEST = 30.0
"""The seconds past which a program under wrk is not given more."""


@dataclass(frozen=True, slots=True)
class Program:
    """Something that answers: `load` has so many callers ask it for so many seconds, and gives what they saw."""

    name: str
    load: Callable[[int, float], Awaitable[Figures]]

    def asked_by(self, callers: int, seconds: float) -> Contender:
        """Return a contender with so many callers."""
        return Contender(self.name, lambda: self.load(callers, seconds))


def in_loop(name: str, call: Callable[[], Awaitable[Any]]) -> Program:
    """Return a program that callers of this event loop ask."""

    async def load(callers: int, seconds: float) -> Figures:
        rate = await measure(call, callers, seconds)
        return {"per_second": rate.per_second, "p50_ms": rate.p50_ms, "p99_ms": rate.p99_ms}

    return Program(name, load)


def by_wrk(name: str, url: str, body: Any = None) -> Program:
    """Return a program at a URL that wrk asks, from a process of its own with a connection a caller."""

    async def load(callers: int, seconds: float) -> Figures:
        return await _wrk(url, callers, seconds, json.dumps(ROW if body is None else body))

    return Program(name, load)


async def _wrk(url: str, connections: int, seconds: float, body: str) -> Figures:
    """Run wrk; only what was answered with 2xx or 3xx counts.

    Where fewer were answered than asked, the median would be that of the lucky: then it runs again, four times as long.

    Raises:
        RuntimeError: wrk is not installed, failed, or got too few answers in a minute.
    """
    while True:
        seconds = max(1, round(seconds))
        said = await _wrk_once(url, connections, seconds, body)
        answered = said["requests"] - said["refused"]
        if answered >= connections:
            break
        if seconds > LONGEST:
            raise RuntimeError(f"{connections} connections got only {answered} answers at {url}: {said}")
        seconds *= 4
    return {
        "per_second": answered / said["duration"] * 1e6,
        "p50_ms": said["p50"] / 1e3,
        "p99_ms": said["p99"] / 1e3,
        "refused": said["refused"],
        "lost": said["lost"],
    }


async def _wrk_once(url: str, connections: int, seconds: float, body: str) -> dict[str, Any]:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("the rows over HTTP need wrk: apt-get install wrk")
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(POST), url]
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | {"BODY": body}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds + 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = out.decode().strip().splitlines()
    if process.returncode or not lines:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {err.decode()[-500:]}")
    return json.loads(lines[-1])
