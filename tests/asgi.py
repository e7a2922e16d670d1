"""HTTP without a socket: a transport that speaks to the ASGI application directly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np

from stretto import Client, Metadata, Pipeline, Trace
from stretto.batch.frames import Frame
from stretto.engine.context import Context
from stretto.server import asgi
from stretto.transports import Transport
from stretto.wire import from_problem


class AsgiTransport(Transport):
    """Asks the HTTP interface in JSON, as a program in another language would."""

    def __init__(self, pipeline: Pipeline[Any, Any]) -> None:
        # The server's end of life, which closes the pipeline, is no request: it is brought about in `aclose`.
        self.pipeline: Client[Any, Any] = Client(pipeline)
        transport = httpx.ASGITransport(asgi(self.pipeline), raise_app_exceptions=True)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")

    async def outcomes(self, rows: Sequence[Any], context: Context, step: str | None = None) -> Sequence[Any]:
        """Return an outcome for each of `rows`."""
        body = b"[" + b",".join(_json(row) for row in rows) + b"]"
        response = await self.client.post("/batch", content=body, params={"step": step} if step else {})
        said = _answer(response)
        return [from_problem(each["error"]) if "error" in each else each["answer"] for each in said["outcomes"]]

    async def predict(self, row: Any, context: Context) -> Any:
        """Return the answer for one row, or raise its error."""
        headers = {} if context.budget is None else {"x-stretto-timeout": str(context.budget)}
        return _answer(await self.client.post("/", content=_json(row), headers=headers))

    async def trace(self, row: Any, context: Context) -> Trace:
        """Refuse: the matrix asks for answers."""
        raise AssertionError("not asked for")

    async def metadata(self) -> Metadata:
        """Refuse: the matrix asks for answers."""
        raise AssertionError("not asked for")

    async def ready(self) -> bool:
        """Ask whether it is ready."""
        return (await self.client.get("/health/ready")).status_code == 200

    async def aclose(self) -> None:
        """Close the client, then what answers it."""
        await self.client.aclose()
        await self.pipeline.aclose()


def _answer(response: httpx.Response) -> Any:
    if response.headers["content-type"] == "application/problem+json":
        raise from_problem(response.json())
    return response.json()


def _json(value: Any) -> bytes:
    # JSON knows no NaN and no arrays: NaN is null there, which models take as missing too.
    if isinstance(value, Frame):
        value = value[0]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        value = {key: None if each != each else each for key, each in value.items()}
    return json.dumps(value, default=str).encode()  # a date is text in JSON
