"""The HTTP interface on a socket of this machine, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from stretto.pipeline import Pipeline


@asynccontextmanager
async def serving(pipeline: Pipeline[Any, Any]) -> AsyncGenerator[str]:
    """Serve a pipeline over HTTP on a free port of 127.0.0.1 during the block; the value is its URL."""
    import uvicorn

    from stretto.server import asgi
    from stretto.server.connections import SETTINGS

    config = uvicorn.Config(asgi(pipeline), host="127.0.0.1", port=0, lifespan="on", **SETTINGS)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
