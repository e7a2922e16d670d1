"""What is at each path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, cast
from urllib.parse import parse_qs

import msgspec

from stretto.batch.arrays import is_array, size
from stretto.batch.frames import Frame
from stretto.errors import InputError, NotFound, StrettoError
from stretto.server.limits import Limits
from stretto.server.messages import MethodNotAllowedError, Request, Response
from stretto.server.openapi import describe
from stretto.server.streamed import Streamed, lines, packed
from stretto.transports.base import Transport
from stretto.wire import JSON_LINES, MSGPACK, MSGPACK_PARTS, encode_json, encode_outcomes, encode_outcomes_json, problem

Handler: TypeAlias = Callable[[Request], Awaitable[Response | Streamed]]
LIVE = "/health/live"
STEPS = "/steps/"
_KINDS: dict[type, str] = {dict: "one object", str: "text", type(None): "null"}


class Route(NamedTuple):
    """The handler at a path, and the methods it takes."""

    handler: Handler
    methods: tuple[str, ...]


class Routes:
    """The handlers of the HTTP interface, over the transport that `transport` returns."""

    def __init__(self, transport: Callable[[], Transport], limits: Limits) -> None:
        self._transport = transport
        self._limits = limits
        self._routes = {
            "/": Route(self.predict, ("POST", "GET", "HEAD")),
            "/batch": Route(self.batch, ("POST",)),
            STEPS: Route(self.step, ("POST",)),
            "/trace": Route(self.trace, ("POST",)),
            "/metadata": Route(self.metadata, ("GET", "HEAD")),
            LIVE: Route(self.live, ("GET", "HEAD")),
            "/health/ready": Route(self.ready, ("GET", "HEAD")),
            "/openapi.json": Route(self.openapi, ("GET", "HEAD")),
        }

    def find(self, root: str, path: str, method: str) -> Handler:
        """Return the handler of a request.

        Raises:
            NotFound: there is nothing at `path`; the message lists the routes.
            MethodNotAllowedError: the route takes other methods.
        """
        route = self._routes.get(path) or self._routes.get(STEPS if path.startswith(STEPS) else "")
        if route is None:
            routes = ", ".join(f"{route.methods[0]} {at}" for at, route in self._routes.items())
            under = f" under {root}" if root else ""
            routes = routes.replace(STEPS, STEPS + "{name}")
            raise NotFound(f"there is nothing at {path}; the routes{under} are {routes}")
        if method not in route.methods:
            raise MethodNotAllowedError(sorted(route.methods))
        return route.handler

    async def predict(self, request: Request) -> Response:
        """Return the answer to one row, of a POST, or of a GET with a body as by ``requests.get(url, json=row)``."""
        return request.answered(await self._transport().predict(request.value(), request.context))

    async def batch(self, request: Request) -> Response | Streamed:
        """Return an outcome for each of many rows, of one step alone if the query names it as ``step``.

        Who accepts lines of JSON gets each as soon as it is ready, in any order.
        """
        rows = _rows(request.value(), self._limits)
        step = parse_qs(request.scope["query_string"].decode("latin-1")).get("step", [None])[0]
        accepted = request.accept if size(rows) and step is None else ""
        if accepted == MSGPACK_PARTS and request.packed:
            return await packed(self._transport().parts(rows, request.context), size(rows))
        if accepted == JSON_LINES:
            return await lines(self._transport().parts(rows, request.context))
        outcomes = await self._transport().outcomes(rows, request.context, step) if size(rows) else []
        if request.packed:
            return Response(encode_outcomes(outcomes), MSGPACK)
        return Response(encode_outcomes_json(outcomes))

    async def step(self, request: Request) -> Response:
        """Return the answer of a named step alone to one row."""
        name = request.path.removeprefix(STEPS)
        (outcome,) = await self._transport().outcomes([request.value()], request.context, name)
        if isinstance(outcome, Exception):
            raise outcome
        return request.answered(outcome)

    async def trace(self, request: Request) -> Response:
        """Return the answer for one row, or its error, with the spans of its steps."""
        trace = await self._transport().trace(request.value(), request.context)
        outcome = {"answer": trace.answer} if trace.error is None else {"error": problem(trace.error)}
        spans = [msgspec.to_builtins(span) for span in trace.spans]
        return request.answered(outcome | {"handle_calls": trace.handle_calls, "spans": spans})

    async def metadata(self, _: Request) -> Response:
        """Return what the pipeline is."""
        return Response(encode_json(await self._transport().metadata()))

    async def live(self, _: Request) -> Response:
        """Respond, and thus show that the process does."""
        return Response(b'{"status":"live"}')

    async def ready(self, _: Request) -> Response:
        """Return whether a prediction would be answered now."""
        reason = "a part of it does not answer"
        try:
            if await self._transport().ready():
                return Response(b'{"status":"ready"}')
        except StrettoError as error:
            reason = str(error)
        return Response(encode_json({"status": "not ready", "reason": reason}), status=503)

    async def openapi(self, request: Request) -> Response:
        """Return the description of the interface."""
        metadata = await self._transport().metadata()
        return Response(encode_json(describe(metadata, request.root, secured=bool(self._limits.tokens))))


def _rows(value: Any, limits: Limits) -> Sequence[Any]:
    if isinstance(value, list | Frame) or (is_array(value) and value.ndim):
        limits.check_rows(size(value))
        return cast("Sequence[Any]", value)
    if isinstance(value, dict):
        return _of_table(cast("dict[Any, Any]", value), limits)
    kind = type(cast("object", value))
    words = _KINDS.get(kind, f"a {kind.__name__}")
    raise InputError(f"many rows come as an array, not as {words}", expected="an array with a row in each place")


def _of_table(value: dict[Any, Any], limits: Limits) -> Sequence[Any]:
    """Return the rows of a table: of columns by name, in the split form of pandas, or as MLflow's servers take it."""
    match value:
        case {"dataframe_split": dict() as table} | {"inputs": dict() as table}:
            return _of_table(cast("dict[Any, Any]", table), limits)
        case {"dataframe_records": list() as rows} | {"instances": list() as rows} | {"inputs": list() as rows}:
            return _rows(rows, limits)
        case {"columns": list() as columns, "data": list() as data}:
            rows = _rows(data, limits)
            for i, row in enumerate(rows):
                if not isinstance(row, list) or len(cast("list[Any]", row)) != len(columns):
                    raise InputError(f"row {i} of data does not have {len(columns)} values", "data", "a value a column")
            return [dict(zip(columns, row, strict=True)) for row in rows]
        case _:
            lists = list(value.values())
            if not lists or not all(isinstance(each, list) for each in lists) or len(set(map(len, lists))) > 1:
                raise InputError(
                    "many rows come as an array, or as an object of columns of one length",
                    expected="an array with a row in each place, or an object with a list for each feature",
                )
            limits.check_rows(len(lists[0]))
            return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
