"""The programs that answer over HTTP by themselves, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.benchmarks.peers import peer
from tests.benchmarks.processes import free_port, server
from tests.benchmarks.programs.iris import ROW, answer, fit

PROGRAMS = "tests.benchmarks.programs"


def expected() -> dict[str, str]:
    """Return the answer that every program must give to the request."""
    return answer(*(fitted.predict([list(ROW.values())]) for fitted in fit()))


@asynccontextmanager
async def stretto_alone() -> AsyncGenerator[str]:
    """Serve the ensemble's ASGI application under uvicorn, and give its URL."""
    port = free_port()
    async with server(_uvicorn(f"{PROGRAMS}.ensemble:app", port, "--factory"), port, "/", ROW, expected()) as url:
        yield url


@asynccontextmanager
async def fastapi() -> AsyncGenerator[str]:
    """Serve the FastAPI application under uvicorn, and give its URL; ``/inline`` is below it."""
    port = free_port()
    async with server(_uvicorn(f"{PROGRAMS}.fastapi_app:app", port), port, "/", ROW, expected()) as url:
        yield url


@asynccontextmanager
async def litserve() -> AsyncGenerator[str]:
    """Serve with LitServe, and give its URL."""
    port = free_port()
    python = await peer("litserve")
    async with server([str(python), "-m", f"{PROGRAMS}.lit", str(port)], port, "/predict", ROW, expected()) as url:
        yield url


@asynccontextmanager
async def bentoml() -> AsyncGenerator[str]:
    """Serve with BentoML, and give its URL; it takes the row under ``payload``."""
    port = free_port()
    python = await peer("bentoml")
    command = [str(python), "-m", "bentoml", "serve", f"{PROGRAMS}.bento:Ensemble"]
    env = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(python.parents[1] / "home")}
    options = ["--host", "127.0.0.1", "--port", str(port)]
    async with server([*command, *options], port, "/predict", {"payload": ROW}, expected(), env=env) as url:
        yield url


def _uvicorn(app: str, port: int, *options: str) -> list[str]:
    # The same loop, parser and silence for everybody.
    quiet = ["--log-level", "warning", "--no-access-log"]
    return [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), *quiet, *options]
