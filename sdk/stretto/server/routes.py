"""What is at each route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs

import msgspec
import numpy as np

from stretto.engine.context import Context
from stretto.errors import InputError, StrettoError, TooLarge
from stretto.server.messages import Reply, Request
from stretto.server.openapi import describe
from stretto.transports.base import Transport
from stretto.wire import MSGPACK, encode_json, encode_outcomes, encode_outcomes_json, problem

Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Routes:
    """The handlers of the HTTP interface, over the transport that `transport` gives."""

    transport: Callable[[], Transport]
    max_rows: int
    secured: bool = False

    def table(self) -> dict[str, tuple[tuple[str, ...], Handler]]:
        """Return each path, relative to the route, with its methods and its handler."""
        return {
            "/": (("POST", "GET"), self.predict),
            "/batch": (("POST",), self.batch),
            "/steps/{name:path}": (("POST",), self.step),
            "/trace": (("POST",), self.trace),
            "/metadata": (("GET",), self.metadata),
            "/health/live": (("GET",), self.live),
            "/health/ready": (("GET",), self.ready),
            "/openapi.json": (("GET",), self.openapi),
        }

    async def predict(self, request: Request) -> Reply:
        """Answer one row. A GET with a body is what ``requests.get(url, json=row)`` sends."""
        return request.reply(await self.transport().predict(request.value(), Context.starting(request.timeout)))

    async def batch(self, request: Request) -> Reply:
        """Return an outcome for each of many rows, from one step alone where the query names it as ``step``."""
        rows = self._rows(request.value())
        step = parse_qs(request.scope["query_string"].decode("latin-1")).get("step", [None])[0]
        outcomes = await self.transport().outcomes(rows, Context.starting(request.timeout), step) if len(rows) else []
        if request.packed:
            return Reply(encode_outcomes(outcomes), MSGPACK)
        return Reply(encode_outcomes_json(outcomes))

    async def step(self, request: Request) -> Reply:
        """Answer one row from a named step alone."""
        name = request.scope["path_params"]["name"]
        (outcome,) = await self.transport().outcomes([request.value()], Context.starting(request.timeout), name)
        if isinstance(outcome, Exception):
            raise outcome
        return request.reply(outcome)

    async def trace(self, request: Request) -> Reply:
        """Answer one row, and tell the spans of its steps; an error it ended in is told the same way."""
        trace = await self.transport().trace(request.value(), Context.starting(request.timeout))
        said = {"answer": trace.answer} if trace.error is None else {"error": problem(trace.error)}
        spans = [msgspec.to_builtins(span) for span in trace.spans]
        return request.reply(said | {"handle_calls": trace.handle_calls, "spans": spans})

    async def metadata(self, _: Request) -> Reply:
        """Return what the pipeline is."""
        return Reply(encode_json(await self.transport().metadata()))

    async def live(self, _: Request) -> Reply:
        """Say that the process answers."""
        return Reply(b'{"status":"live"}')

    async def ready(self, _: Request) -> Reply:
        """Return whether a prediction would be answered now."""
        try:
            ready = await self.transport().ready()
        except StrettoError:
            ready = False
        return Reply(b'{"status":"ready"}') if ready else Reply(b'{"status":"not ready"}', status=503)

    async def openapi(self, request: Request) -> Reply:
        """Describe the interface."""
        metadata = await self.transport().metadata()
        return Reply(encode_json(describe(metadata, request.scope.get("root_path", ""), secured=self.secured)))

    def _rows(self, value: Any) -> Sequence[Any]:
        if not isinstance(value, list | np.ndarray) or (isinstance(value, np.ndarray) and not value.ndim):
            raise InputError(
                f"many rows come as an array, not as {_kind(value)}", "", "an array with a row in each place"
            )
        rows = cast("Sequence[Any]", value)
        if len(rows) > self.max_rows:
            allowed = f"at most {self.max_rows} rows"
            raise TooLarge(f"{len(rows)} rows are more than this server takes in a request", "", allowed)
        return rows


def _kind(value: Any) -> str:
    return {dict: "one object", str: "text", type(None): "null"}.get(type(value), f"a {type(value).__name__}")
