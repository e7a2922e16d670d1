# pyright: basic, reportArgumentType=false
"""The HTTP interface, over ASGI and over a socket."""

import asyncio
import json
import math

import aiohttp
import httpx
import numpy as np
import pytest
import requests
from starlette.applications import Starlette
from starlette.routing import Mount

from stretto import errors
from stretto.engine.context import UNLIMITED
from stretto.engine.results import Metadata
from stretto.errors import (
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
from stretto.wire import MSGPACK, PROBLEM, decode_msgpack, decode_outcomes, encode_row, from_problem
from tests.echo import ROW, Echo, Failing, asking, echoing, over_asgi, served

every_error = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, StrettoError) and cls is not errors.BadRows
]


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
            reply = await client.get("/health/ready")
            assert (reply.status_code, reply.json()["status"]) == (503, "not ready")

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
        error = cls(*(2.5 if name in ("retry_after", "seconds") else f"the {name}" for name in cls.fields))
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
            ({"x-stretto-timeout": "inf"}, 9.0),
            ({"x-stretto-timeout": "1e400"}, 9.0),
            ({"x-stretto-timeout": "10"}, 9.0),
            ({"x-request-timeout-seconds": "2"}, 2.0),
            ({"x-request-timeout-seconds": "0"}, 9.0),
            ({"x-request-timeout-seconds": "10"}, 9.0),
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
        models = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
        assert set(document["paths"]) == {
            "/", "/batch", "/steps/{name}", "/trace", "/metadata", "/health/live", "/health/ready",
            "/v2", "/v2/health/live", "/v2/health/ready",
            *(model + each for model in models for each in ("", "/ready", "/infer")),
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
