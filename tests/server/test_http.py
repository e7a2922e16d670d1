"""The HTTP interface, from both sides: the server over ASGI and over a socket, and the transport that asks it."""

import asyncio
import gc
import json
import math
import socket
import warnings
from contextlib import asynccontextmanager

import aiohttp
import httpx
import numpy as np
import pytest
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from stretto import errors
from stretto.engine.context import UNLIMITED, Context, Span
from stretto.engine.results import Metadata, Trace
from stretto.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    NotFound,
    Overloaded,
    StepError,
    StrettoError,
    TooLarge,
    Unauthorized,
)
from stretto.server.app import make_app
from stretto.server.limits import Limits
from stretto.transports.base import Transport
from stretto.transports.http import LANES, HttpTransport
from stretto.wire import MSGPACK, PROBLEM, decode_msgpack, decode_outcomes, encode_row, from_problem

every_error = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, StrettoError) and cls is not errors.BadRows
]
ROW = {"a": 1.5, "b": [2, None]}
within = Context.starting


class Echo(Transport):
    """Answers a row with itself, fails on ``{"fail": MESSAGE}``, and never answers ``"wait"`` until told to go on."""

    def __init__(self):
        self.calls = []
        self.budgets = []
        self.go_on = asyncio.Event()
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.closed = False
        self.is_ready = True

    async def outcomes(self, rows, context, step=None):
        self.calls.append(len(rows))
        self.budgets.append(context.seconds)
        if step not in (None, "double", "a/b"):
            raise NotFound(f"there is no step {step!r}; the steps are 'double'")
        found = [await self._answer(row) for row in rows]
        return [2 * each for each in found] if step else found

    async def predict(self, row, context):
        self.calls.append(1)
        self.budgets.append(context.seconds)
        answer = await self._answer(row)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def trace(self, row, context):
        answer = await self._answer(row)
        spans = (Span("echo", "step", 1.0, 2.5), Span("far", "handle", 1.0, 2.0, 3, "there"))
        return Trace(None, answer, spans) if isinstance(answer, Exception) else Trace(answer, None, spans)

    async def metadata(self):
        return Metadata("echo", "Pipeline(echo)", "plan", ("double",), ("a", "b"), {"stretto": "1"})

    async def ready(self):
        return self.is_ready

    async def aclose(self):
        self.closed = True

    async def _answer(self, row):
        if isinstance(row, dict) and "fail" in row:
            return StepError("echo", "ValueError", row["fail"])
        if isinstance(row, str) and row == "wait":
            self.began.set()
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return row


class Failing(Echo):
    """Fails on everything."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    async def predict(self, row, context):
        raise self.error


@asynccontextmanager
async def over_asgi(transport, **options):
    app = make_app(transport, Limits(**options))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@asynccontextmanager
async def served(app, port=0):
    """Serve an ASGI application on a socket that listens already, so that nobody has to wait for it."""
    # asyncio sends small writes at once (TCP_NODELAY) only where the socket says that it is TCP.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, ws="none"))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listening.close()


@asynccontextmanager
async def asking(url, **options):
    transport = HttpTransport(url, **options)
    try:
        yield transport
    finally:
        await transport.aclose()


@asynccontextmanager
async def echoing(**options):
    """Return a transport to a server on a socket, and the fake that answers there."""
    echo = Echo()
    async with served(make_app(echo, Limits(**options))) as url, asking(url) as transport:
        try:
            yield transport, echo
        finally:
            echo.go_on.set()


@asynccontextmanager
async def speaking(handle):
    """Serve whatever `handle` writes to a connection."""

    async def connected(reader, writer):
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return head, await reader.readexactly(int(lengths[0]) if lengths else 0)


def response(body, status="200 OK", media=MSGPACK, more=""):
    return f"HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body


def scope_of(path="/", root_path="", method="POST", headers=()):
    scope = {"type": "http", "http_version": "1.1", "asgi": {"version": "3.0"}, "scheme": "http", "method": method}
    return scope | {"path": path, "root_path": root_path, "query_string": b"", "headers": list(headers)}


async def called(app, scope, *messages):
    """Return the status and body that an application answers with, and how many of the messages it took."""
    sent, left = [], list(messages)

    async def receive():
        return left.pop(0) if left else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], sent[1]["body"], len(messages) - len(left)


def body_of(value, more=False):
    return {"type": "http.request", "body": json.dumps(value).encode(), "more_body": more}


def error_of(response):
    """Return the error that a response tells of, having checked that it is told as RFC 9457 says."""
    assert response.headers["content-type"] == PROBLEM
    assert "Traceback" not in response.text
    assert response.json()["status"] == response.status_code
    return from_problem(response.json())


class TestRoutes:
    @pytest.mark.parametrize("method", ["POST", "GET"])
    @pytest.mark.parametrize("row", [ROW, [1, 2], "text", None, 3])
    async def test_a_row_in_the_body_is_answered_in_json(self, method, row):
        async with over_asgi(Echo()) as client:
            answer = await client.request(method, "/", content=json.dumps(row))
            assert (answer.status_code, answer.json()) == (200, row)
            assert answer.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        "media", ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"]
    )
    async def test_json_is_read_whatever_it_calls_itself(self, media):
        async with over_asgi(Echo()) as client:
            assert (await client.post("/", content=b'{"a": 1}', headers={"content-type": media})).json() == {"a": 1}

    async def test_msgpack_is_answered_in_msgpack(self):
        async with over_asgi(Echo()) as client:
            row = {"x": (1, np.float32(2)), 3: {4}}
            answer = await client.post("/", content=encode_row(row), headers={"content-type": MSGPACK})
            assert answer.headers["content-type"] == MSGPACK
            assert decode_msgpack(answer.content) == row

    @pytest.mark.parametrize(
        ("path", "root"),
        [
            ("/", ""),
            ("", ""),
            ("/iris", "/iris"),
            ("/iris/", "/iris"),
            ("/", "/iris"),
            ("/iris/", "/iris/"),
            ("/iris", "/iris/"),
        ],
    )
    async def test_the_route_is_found_wherever_the_application_is_mounted(self, path, root):
        app = make_app(Echo())
        assert await called(app, scope_of(path, root), body_of(ROW)) == (
            200,
            json.dumps(ROW, separators=(",", ":")).encode(),
            1,
        )
        under = f"{path.rstrip('/')}/batch"
        assert (await called(app, scope_of(under, root), body_of([1])))[:2] == (200, b'{"outcomes":[{"answer":1}]}')
        assert (await called(app, scope_of(f"{under}/", root), body_of([1])))[0] == 200
        status, body, _ = await called(app, scope_of(f"{path.rstrip('/')}x", root), body_of(1))
        assert (status, b"POST /batch" in body) == (404, True)

    async def test_it_can_be_mounted_in_another_application(self):
        async def never(request, error):
            raise AssertionError(error)

        outer = Starlette(
            routes=[Mount("/iris", make_app(Echo()))], exception_handlers={ValueError: never, LookupError: never}
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://test") as client:
            assert (await client.post("/iris/", json=ROW)).json() == ROW
            assert (await client.post("/iris/batch", json=[1])).json() == {"outcomes": [{"answer": 1}]}
            assert type(error_of(await client.post("/iris/batch", json=1))) is InputError
            assert type(error_of(await client.get("/iris/nowhere"))) is NotFound
            assert (await client.get("/iris/batch")).headers["content-type"] == PROBLEM
            assert (await client.get("/iris/openapi.json")).json()["servers"] == [{"url": "/iris"}]

    async def test_many_rows_give_an_outcome_each(self):
        async with over_asgi(Echo()) as client:
            answer = await client.post("/batch", json=[1, {"fail": "no"}, 3])
            assert answer.status_code == 200
            first, second, third = answer.json()["outcomes"]
            assert (first, third) == ({"answer": 1}, {"answer": 3})
            assert from_problem(second["error"]).args == ("echo", "ValueError", "no")

    async def test_many_rows_may_be_an_array(self):
        async with over_asgi(Echo()) as client:
            rows = np.arange(6.0).reshape(3, 2)
            answer = await client.post("/batch", content=encode_row(rows), headers={"content-type": MSGPACK})
            assert np.array_equal(decode_outcomes(answer.content), rows)

    async def test_no_rows_give_no_outcomes(self):
        async with over_asgi(Echo()) as client:
            assert (await client.post("/batch", json=[])).json() == {"outcomes": []}

    async def test_a_step_answers_alone(self):
        async with over_asgi(Echo()) as client:
            assert (await client.post("/steps/double", json=4)).json() == 8
            assert (await client.post("/steps/a/b", json=4)).json() == 8
            assert (await client.post("/batch?step=double", json=[4])).json() == {"outcomes": [{"answer": 8}]}
            for missing in ("/steps/other", "/batch?step=other"):
                error = error_of(await client.post(missing, json=[1]))
                assert type(error) is NotFound
                assert "'double'" in str(error)
            assert type(error_of(await client.post("/steps/double", content=b""))) is InputError

    async def test_a_trace_tells_the_answer_or_the_error_with_the_spans(self):
        async with over_asgi(Echo()) as client:
            told = (await client.post("/trace", json=7)).json()
            assert (told["answer"], told["handle_calls"], len(told["spans"])) == (7, 1, 2)
            assert told["spans"][0] == {"name": "echo", "kind": "step", "start": 1, "end": 2.5, "rows": 1, "place": ""}
            told = (await client.post("/trace", json={"fail": "no"})).json()
            assert type(from_problem(told["error"])) is StepError
            assert told["spans"]

    async def test_metadata_and_health(self):
        echo = Echo()
        async with over_asgi(echo) as client:
            assert (await client.get("/metadata")).json()["features"] == ["a", "b"]
            assert (await client.get("/health/live")).json() == {"status": "live"}
            assert (await client.get("/health/ready")).status_code == 200
            echo.is_ready = False
            assert (await client.get("/health/ready")).status_code == 503

    async def test_an_unknown_path_is_told_the_routes(self):
        async with over_asgi(Echo()) as client:
            error = error_of(await client.get("/nowhere"))
            assert type(error) is NotFound
            assert "/nowhere" in str(error)
            assert all(
                route in str(error) for route in ("POST /,", "POST /batch", "POST /steps/{name}", "GET /metadata")
            )

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("PUT", "/", "GET, HEAD, POST"),
            ("GET", "/batch", "POST"),
            ("POST", "/metadata", "GET, HEAD"),
            ("DELETE", "", "GET, HEAD, POST"),
        ],
    )
    async def test_a_wrong_method_is_told_the_right_ones(self, method, path, allow):
        async with over_asgi(Echo()) as client:
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allow)
            assert answer.headers["content-type"] == PROBLEM
            assert answer.json()["title"] == "Method Not Allowed"

    async def test_a_function_makes_the_transport_when_the_server_starts_and_it_is_closed_at_the_end(self):
        made = []

        def make():
            made.append(Echo())
            return made[-1]

        app = make_app(make)
        assert not made
        async with served(app) as url, aiohttp.ClientSession() as session:
            async with session.post(url, json=5) as answer:
                assert await answer.json() == 5
            assert not made[0].closed
        assert [each.closed for each in made] == [True]
        given = Echo()
        async with served(make_app(given)) as url, asking(url) as transport:
            assert await transport.predict(1, UNLIMITED) == 1
        assert not given.closed


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "cls", "says"),
        [
            (b"", InputError, "empty"),
            (b"not json", InputError, "not JSON"),
            (b'{"a": NaN}', InputError, "send null"),
            (b"\xff\x00", InputError, "not JSON"),
            (b"a=5.1&b=3", InputError, "json="),
            (b"[" * 5000 + b"]" * 5000, TooLarge, "nested"),
            (b"1" * 2000, TooLarge, "1000 bytes"),
        ],
    )
    @pytest.mark.parametrize("path", ["/", "/batch", "/steps/double", "/trace"])
    async def test_bad_bytes_are_a_typed_error_and_the_next_request_works(self, path, content, cls, says):
        async with over_asgi(Echo(), max_bytes=20_000 if content.startswith(b"[") else 1000) as client:
            error = error_of(await client.post(path, content=content))
            assert type(error) is cls
            assert says in str(error)
            assert (await client.post("/", json=ROW)).json() == ROW

    async def test_a_get_without_a_body_says_what_to_send(self):
        async with over_asgi(Echo()) as client:
            answer = await client.get("/")
            assert answer.status_code == 422
            assert "send a row" in str(error_of(answer))

    @pytest.mark.parametrize("rows", [{"a": 1}, 3, "text", None])
    async def test_what_is_not_many_rows_is_refused(self, rows):
        async with over_asgi(Echo()) as client:
            assert "array" in str(error_of(await client.post("/batch", json=rows)))

    async def test_too_many_rows_are_refused(self):
        async with over_asgi(Echo(), max_rows=3) as client:
            assert (await client.post("/batch", json=[1, 2, 3])).status_code == 200
            answer = await client.post("/batch", json=[1, 2, 3, 4])
            assert (answer.status_code, type(error_of(answer))) == (413, TooLarge)

    async def test_a_body_is_not_read_past_its_bound(self):
        app = make_app(Echo(), Limits(max_bytes=100))
        declared = scope_of(headers=[(b"content-length", b"101")])
        status, _, taken = await called(app, declared, body_of("x", more=True))
        assert (status, taken) == (413, 0)
        status, _, taken = await called(app, scope_of(), *[body_of("x" * 40, more=True) for _ in range(9)])
        assert (status, taken) == (413, 3)

    async def test_a_body_may_come_in_pieces(self):
        parts = [{"type": "http.request", "body": part, "more_body": True} for part in (b'{"a"', b"", b": 1}")]
        assert (await called(make_app(Echo()), scope_of(), *parts, {"type": "http.request"}))[:2] == (200, b'{"a":1}')

    @pytest.mark.parametrize("cls", every_error)
    async def test_every_error_is_a_problem_with_its_status(self, cls):
        error = cls(*(2.5 if name == "retry_after" else f"the {name}" for name in cls.fields))
        async with over_asgi(Failing(error)) as client:
            answer = await client.post("/", json=ROW)
            back = error_of(answer)
            assert (answer.status_code, type(back), back.args) == (error.status, cls, error.args)

    async def test_overloaded_says_when_to_come_back(self):
        for seconds, header in [(2.1, "3"), (0.0, "0"), (math.inf, None)]:
            async with over_asgi(Failing(Overloaded("full", seconds))) as client:
                assert (await client.post("/", json=1)).headers.get("retry-after") == header

    @pytest.mark.parametrize("path", ["/", "/metadata"])
    async def test_a_foreign_error_is_logged_and_tells_nothing_outside(self, path, caplog):
        failing = Failing(RuntimeError("secret"))
        failing.metadata = lambda: failing.predict(None, None)
        async with over_asgi(failing) as client:
            answer = await client.request("POST" if path == "/" else "GET", path, json=ROW)
            assert answer.status_code == 500
            assert "secret" not in answer.text
            assert type(error_of(answer)) is StrettoError
        assert "secret" in caplog.text

    async def test_an_answer_that_json_cannot_tell_is_a_step_error(self):
        class Odd(Echo):
            async def predict(self, row, context):
                return object()

        async with over_asgi(Odd()) as client:
            assert error_of(await client.post("/", json=1)).args[:2] == ("answer", "object")

    async def test_a_token_is_asked_for_where_there_is_one(self):
        async with over_asgi(Echo(), tokens=["first", "sécond"]) as client:
            for path in ("/", "/batch", "/nowhere", "/health/ready"):
                answer = await client.post(path, json=1)
                assert (type(error_of(answer)), answer.headers["www-authenticate"]) == (Unauthorized, "Bearer")
            for wrong in (b"Bearer other", b"Bearer ", b"Basic first", b"first", b"Bearer firs", b"bearer first x"):
                assert (await client.post("/", json=1, headers={"authorization": wrong})).status_code == 401
            for right in (b"Bearer first", b"bearer first", "Bearer sécond".encode()):
                assert (await client.post("/", json=1, headers={"authorization": right})).status_code == 200
            assert (await client.get("/health/live")).status_code == 200

    @pytest.mark.parametrize("tokens", ["secret", ["a", ""]])
    def test_tokens_that_would_let_anyone_in_are_refused(self, tokens):
        with pytest.raises(ValueError, match="tokens"):
            make_app(Echo(), Limits(tokens=tokens))


class TestBudget:
    @pytest.mark.parametrize(
        ("headers", "budget"),
        [
            ({}, 9.0),
            ({"x-stretto-timeout": "1.5"}, 1.5),
            ({"x-stretto-timeout": "inf"}, None),
            ({"x-request-timeout-seconds": "2"}, 2.0),
            ({"x-request-timeout-seconds": "0"}, None),
            ({"x-request-timeout-seconds": "soon"}, 9.0),
            ({"x-request-timeout-seconds": "2", "x-stretto-timeout": "1"}, 1.0),
        ],
    )
    async def test_the_budget_in_the_header_reaches_the_transport(self, headers, budget):
        echo = Echo()
        async with over_asgi(echo, timeout=9.0) as client:
            await client.post("/", json=1, headers=headers)
            await client.post("/batch", json=[1], headers=headers)
            assert echo.budgets == [budget, budget]

    @pytest.mark.parametrize(
        ("said", "cls"), [("soon", InputError), ("nan", InputError), ("0", DeadlineExceeded), ("-1", DeadlineExceeded)]
    )
    async def test_a_budget_that_is_none_is_refused(self, said, cls):
        echo = Echo()
        async with over_asgi(echo) as client:
            assert type(error_of(await client.post("/", json=1, headers={"x-stretto-timeout": said}))) is cls
            assert not echo.calls


class TestHangingUp:
    async def test_work_is_cancelled_when_the_client_is_gone(self):
        echo = Echo()
        messages = [body_of("wait"), {"type": "http.disconnect"}]
        sent = []

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        await make_app(echo)(scope_of(), receive, send)
        assert echo.cancelled.is_set()
        assert not sent

    async def test_a_client_that_is_gone_before_it_has_asked_is_not_answered(self):
        for messages in ([{"type": "http.disconnect"}], [body_of(1, more=True), {"type": "http.disconnect"}]):
            with pytest.raises(AssertionError):
                await called(make_app(echo := Echo()), scope_of(), *messages)
            assert not echo.calls

    async def test_a_slow_answer_is_given_to_a_client_that_stays(self):
        echo = Echo()
        watching = asyncio.Event()
        messages = [body_of("wait")]
        sent = []

        async def receive():
            if messages:
                return messages.pop(0)
            watching.set()
            return await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        task = asyncio.create_task(make_app(echo)(scope_of(), receive, send))
        await watching.wait()
        echo.go_on.set()
        await task
        assert sent[1]["body"] == b'"wait"'

    async def test_cancelling_the_request_from_outside_stays_a_cancellation(self):
        echo = Echo()
        task = asyncio.create_task(called(make_app(echo), scope_of(), body_of("wait")))
        await echo.began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_work_that_is_cancelled_under_the_request_is_answered(self):
        async with over_asgi(Failing(asyncio.CancelledError())) as client:
            assert type(error_of(await client.post("/", json=1))) is Overloaded


class TestOpenApi:
    async def test_it_describes_every_route_and_every_reference_is_there(self):
        async with over_asgi(Echo(), tokens=["x"]) as client:
            document = (await client.get("/openapi.json", headers={"authorization": "Bearer x"})).json()
        assert document["openapi"] == "3.1.0"
        assert document["info"]["title"] == "echo"
        assert set(document["paths"]) == {
            "/", "/batch", "/steps/{name}", "/trace", "/metadata", "/health/live", "/health/ready"
        }  # fmt: skip
        operations = [each for path in document["paths"].values() for each in path.values()]
        assert len({each["operationId"] for each in operations}) == len(operations)
        for each in operations:
            assert {"200", "default"} <= set(each["responses"])
            assert all("description" in said for said in each["responses"].values())
            assert all({"name", "in", "schema"} <= set(one) for one in each.get("parameters", []))
        assert document["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
        for reference in references(document):
            found = document
            for part in reference.removeprefix("#/").split("/"):
                found = found[part]
        named, listed = document["components"]["schemas"]["Row"]["oneOf"]
        assert (named["required"], named["additionalProperties"]) == (["a", "b"], False)
        assert (listed["minItems"], listed["maxItems"]) == (2, 2)

    async def test_without_features_any_row_goes(self):
        echo = Echo()
        echo.metadata = unnamed
        async with over_asgi(echo) as client:
            document = (await client.get("/openapi.json")).json()
        assert set(document["components"]["schemas"]["Row"]) == {"description"}
        assert "security" not in document


async def unnamed():
    return Metadata("", "", "")


def references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


class TestSocket:
    async def test_the_tutorials_own_client_code_works(self):
        async with served(make_app(Echo())) as url:
            for ask in (requests.get, requests.post):
                answer = await asyncio.to_thread(ask, url, json={"sepal": "setosa"})
                assert answer.json() == {"sepal": "setosa"}
            answer = await asyncio.to_thread(requests.get, url, json="setosa")
            assert (answer.text, answer.json()) == ('"setosa"', "setosa")

    @pytest.mark.parametrize(
        "sent",
        [
            b"NONSENSE\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{]",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\nConnection: close\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{",
        ],
    )
    async def test_a_malformed_request_does_no_harm(self, sent):
        async with served(make_app(Echo())) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(sent)
            if sent.endswith(b"\n\r\n{"):
                await writer.drain()
            else:
                said = await reader.read()
                assert said.startswith((b"HTTP/1.1 4",))
                assert b"Traceback" not in said
            writer.close()
            await writer.wait_closed()
            async with asking(url) as transport:
                assert await transport.predict(ROW, UNLIMITED) == ROW

    async def test_work_is_cancelled_when_the_connection_closes(self):
        async with echoing() as (transport, echo):
            _, writer = await asyncio.open_connection("127.0.0.1", int(transport.url.rpartition(":")[2]))
            writer.write(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"wait"')
            await echo.began.wait()
            writer.close()
            await writer.wait_closed()
            await echo.cancelled.wait()


class TestTransport:
    async def test_answers_come_back_exactly(self):
        async with echoing() as (transport, _):
            row = {"x": (1, float("inf")), "y": np.float32(0.1), 3: {"z": b"\x00"}}
            assert await transport.predict(row, UNLIMITED) == row
            assert list(await transport.outcomes([row, 1], within(5.0))) == [row, 1]

    async def test_an_array_of_rows_goes_as_one(self):
        async with echoing() as (transport, _):
            rows = np.random.default_rng(0).normal(size=(200, 4))
            assert np.array_equal(await transport.outcomes(rows, UNLIMITED), rows)
            assert list(await transport.outcomes(rows[:0], UNLIMITED)) == []

    async def test_an_error_comes_back_as_the_same_class(self):
        async with echoing() as (transport, _):
            with pytest.raises(StepError) as caught:
                await transport.predict({"fail": "no"}, UNLIMITED)
            assert caught.value.args == ("echo", "ValueError", "no")
            found = await transport.outcomes([1, {"fail": "no"}], UNLIMITED)
            assert (found[0], found[1].args) == (1, caught.value.args)

    async def test_steps_traces_and_metadata(self):
        async with echoing() as (transport, echo):
            assert list(await transport.outcomes([1, 2], UNLIMITED, "double")) == [2, 4]
            assert list(await transport.outcomes([1], UNLIMITED, "a/b")) == [2]
            with pytest.raises(NotFound, match="'double'"):
                await transport.outcomes([1], UNLIMITED, "é&=/")
            assert await transport.trace((1,), within(5.0)) == await echo.trace((1,), within(5.0))
            trace = await transport.trace({"fail": "no"}, UNLIMITED)
            assert (trace.error.args, trace.handle_calls) == (("echo", "ValueError", "no"), 1)
            assert await transport.metadata() == await echo.metadata()
            assert await transport.ready()
            echo.is_ready = False
            assert not await transport.ready()

    async def test_concurrent_predictions_share_requests(self):
        async with echoing() as (transport, echo):
            answers = await asyncio.gather(*(transport.predict(i, within(10.0)) for i in range(64)))
            assert answers == list(range(64))
            assert sum(echo.calls) == 64
            assert len(echo.calls) <= LANES

    async def test_a_bad_row_fails_none_that_it_travels_with(self):
        async with echoing() as (transport, _):
            rows = [1, {"fail": "no"}, object(), 4]
            found = await asyncio.gather(*(transport.predict(row, UNLIMITED) for row in rows), return_exceptions=True)
            assert [found[0], found[3]] == [1, 4]
            assert [type(found[1]), type(found[2])] == [StepError, InputError]
            assert "object" in str(found[2])
            assert found[1].row is None
            found = await transport.outcomes(rows, UNLIMITED)
            assert [found[0], found[3]] == [1, 4]
            assert [type(found[1]), type(found[2])] == [StepError, InputError]

    async def test_what_is_too_large_together_is_sent_apart(self):
        async with echoing(max_bytes=1000, max_rows=5) as (transport, echo):
            rows = ["x" * 300] * 6 + ["x" * 2000] + ["x" * 300] * 6
            for found in (
                await transport.outcomes(rows, UNLIMITED),
                await asyncio.gather(*(transport.predict(row, UNLIMITED) for row in rows), return_exceptions=True),
            ):
                assert type(found[6]) is TooLarge
                assert [each for each in found if isinstance(each, str)] == ["x" * 300] * 12
            assert max(echo.calls) <= 5
            assert len(await transport.outcomes(np.zeros((40, 2)), UNLIMITED)) == 40

    async def test_a_lane_that_is_busy_holds_up_no_other(self):
        async with echoing() as (transport, echo):
            waiting = asyncio.create_task(transport.predict("wait", UNLIMITED))
            await echo.began.wait()
            assert await transport.predict(1, UNLIMITED) == 1
            echo.go_on.set()
            assert await waiting == "wait"

    async def test_the_budget_is_kept_here_and_told_there(self):
        async with echoing() as (transport, echo):
            assert await transport.ready()  # it is up: its first moments take longer than the budget
            with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
                await transport.predict("wait", within(0.05))
            await echo.cancelled.wait()
            for ask in (transport.outcomes(["wait"], within(0.05)), transport.trace("wait", within(0.05))):
                with pytest.raises(DeadlineExceeded):
                    await ask
            for ask in (transport.predict(1, within(0.0)), transport.outcomes([1], within(0.0))):
                with pytest.raises(DeadlineExceeded):
                    await ask
            assert all(0 < budget <= 0.05 for budget in echo.budgets)

    async def test_an_impatient_row_does_not_end_a_patient_one(self):
        async with echoing() as (transport, echo):
            patient = asyncio.create_task(transport.predict("wait", UNLIMITED))
            with pytest.raises(DeadlineExceeded):
                await transport.predict("wait", within(0.05))
            echo.go_on.set()
            assert await patient == "wait"
            assert echo.budgets == [None]

    async def test_cancelling_a_prediction_cancels_its_work(self):
        async with echoing() as (transport, echo):
            task = asyncio.create_task(transport.predict("wait", UNLIMITED))
            await echo.began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await echo.cancelled.wait()

    async def test_a_token_is_sent(self):
        async with served(make_app(Echo(), Limits(tokens=["secret"]))) as url:
            async with asking(url, token="secret") as transport:
                assert await transport.predict(1, UNLIMITED) == 1
            async with asking(url) as transport:
                with pytest.raises(Unauthorized, match="token="):
                    await transport.predict(1, UNLIMITED)

    async def test_a_route_with_or_without_a_slash_at_its_end(self):
        outer = Starlette(routes=[Mount("/iris", make_app(Echo()))])
        async with served(outer) as url:
            for at in ("/iris", "/iris/"):
                async with asking(url + at) as transport:
                    assert await transport.predict(1, UNLIMITED) == 1
                    assert list(await transport.outcomes([1], UNLIMITED)) == [1]

    async def test_a_body_of_megabytes_is_sent(self):
        async with echoing() as (transport, _):
            assert len(await transport.predict(np.zeros(300_000), UNLIMITED)) == 300_000


class TestTrouble:
    @pytest.mark.parametrize(
        "url",
        [
            "127.0.0.1:8000",
            "ftp://host/x",
            "http://",
            "http:///iris",
            "http://host:port/",
            "http://[::1",
            "http://h/?q=1",
            "http://me:pw@h/",
        ],
    )
    def test_what_is_no_url_is_refused_at_once(self, url):
        with pytest.raises(ConnectionFailed, match="expected http://HOST:PORT"):
            HttpTransport(url)

    async def test_nothing_there_is_said_so(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        async with asking(f"http://127.0.0.1:{port}/iris") as transport:
            for ask in (transport.predict(1, UNLIMITED), transport.outcomes([1], within(5.0)), transport.metadata()):
                with pytest.raises(
                    ConnectionFailed, match=rf"nothing answers at http://127.0.0.1:{port}/iris.*is the server up"
                ):
                    await ask
            assert not await transport.ready()

    async def test_a_server_that_dies_and_comes_back(self):
        async def die(reader, writer):
            await read_request(reader)

        async with speaking(die) as url, asking(url) as transport:
            found = await asyncio.gather(*(transport.predict(i, UNLIMITED) for i in range(3)), return_exceptions=True)
            assert [type(each) for each in found] == [ConnectionFailed] * 3
            assert len(set(map(id, found))) == 3
        port = int(url.rpartition(":")[2])
        async with asking(url) as transport:
            with pytest.raises(ConnectionFailed, match="nothing answers"):
                await transport.predict(1, UNLIMITED)
            async with served(make_app(Echo()), port):
                assert await transport.predict(1, UNLIMITED) == 1

    async def test_a_connection_that_went_stale_is_not_the_callers_trouble(self):
        answered = []

        async def once(reader, writer):
            for _ in range(2):
                _, body = await read_request(reader)
                if answered.count(writer):
                    return
                answered.append(writer)
                writer.write(response(body))
                await writer.drain()

        async with speaking(once) as url, asking(url) as transport:
            assert [await transport.predict(i, within(5.0)) for i in range(4)] == [0, 1, 2, 3]

    async def test_an_answer_cut_short_is_a_failed_connection(self):
        async def cut(reader, writer):
            await read_request(reader)
            writer.write(response(b"x" * 100)[:-50])

        async with speaking(cut) as url, asking(url) as transport:
            with pytest.raises(ConnectionFailed, match="closed the connection"):
                await transport.predict(1, UNLIMITED)

    @pytest.mark.parametrize(
        ("said", "cls", "match"),
        [
            (
                response(b"<h1>Oops</h1>", "500 Internal Server Error", "text/html"),
                ConnectionFailed,
                "not look like.*500 .<h1>Oops",
            ),
            (response(b"<h1>Hello</h1>", media="text/html"), ConnectionFailed, "not look like a Stretto server"),
            (response(b'{"a": 1}', media="application/json"), ConnectionFailed, "not look like a Stretto server"),
            (
                response(b'{"detail":"Not Found"}', "404 Not Found", "application/json"),
                ConnectionFailed,
                "404 .*check the URL",
            ),
            (
                response(
                    b"Path '/x' not found. Ping http://.../-/routes for available routes.",
                    "404 Not Found",
                    "text/plain",
                ),
                NotFound,
                "Ray Serve has no application at http",
            ),
            (response(b"who?", "401 Unauthorized", "text/plain"), Unauthorized, "token="),
            (response(b"slow", "504 Gateway Timeout", "text/plain"), DeadlineExceeded, "slow"),
            (response(b"big", "413 Too Large", "text/html"), TooLarge, "big"),
            (response(b"", "429 Too Many Requests", "text/plain", "retry-after: 7\r\n"), Overloaded, "429"),
            (response(b"busy", "503 Unavailable", "text/plain", "retry-after: soon\r\n"), Overloaded, "busy"),
            (response(b"no", "503 Unavailable", "text/plain"), ConnectionFailed, "503"),
            (response(b"{}", "500 Error", PROBLEM), ConnectionFailed, "500"),
            (response(b"nonsense", "500 Error", PROBLEM), ConnectionFailed, "500"),
            (response(b'{"type": "urn:other:error"}', "500 Error", PROBLEM), ConnectionFailed, "500"),
            (response(b"\xc1"), ConnectionFailed, "as this version of Stretto writes it"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", ConnectionFailed, "not look like a Stretto server"),
        ],
    )
    async def test_what_is_not_stretto_is_told_apart(self, said, cls, match):
        async def say(reader, writer):
            await read_request(reader)
            writer.write(said)

        async with speaking(say) as url, asking(url) as transport:
            with pytest.raises(cls, match=match) as caught:
                await transport.predict(1, within(5.0))
            assert type(caught.value) is cls
            found = await asyncio.gather(*(transport.predict(i, within(5.0)) for i in range(3)), return_exceptions=True)
            assert [type(each) for each in found] == [cls] * 3
            if cls is Overloaded and "429" in match:
                assert caught.value.retry_after == 7.0

    async def test_the_wrong_number_of_outcomes_is_not_passed_on(self):
        async def say(reader, writer):
            await read_request(reader)
            writer.write(response(encode_row([1])))

        async with speaking(say) as url, asking(url) as transport:
            with pytest.raises(ConnectionFailed, match="2 outcomes"):
                await transport.outcomes([1, 2], UNLIMITED)
            with pytest.raises(ConnectionFailed, match="a trace"):
                await transport.trace(1, UNLIMITED)
            with pytest.raises(ConnectionFailed):
                await transport.metadata()

    def test_it_is_made_outside_of_a_loop_and_used_in_several(self):
        async def ask(transport):
            async with served(make_app(Echo()), port) as url:
                assert url == transport.url
                return await transport.predict(1, within(5.0))

        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        transport = HttpTransport(f"http://127.0.0.1:{port}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert [asyncio.run(ask(transport)) for _ in range(2)] == [1, 1]
            del transport
            gc.collect()

    async def test_after_closing_it_may_be_used_again(self):
        async with echoing() as (transport, _):
            assert await transport.predict(1, UNLIMITED) == 1
            await transport.aclose()
            await transport.aclose()
            assert await transport.predict(2, UNLIMITED) == 2
