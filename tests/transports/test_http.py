"""The transport that sends rows to a server, and what it makes of servers in trouble."""

import asyncio
import gc
import socket
import warnings

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from stretto.engine.context import UNLIMITED
from stretto.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    NotFound,
    Overloaded,
    StepError,
    TooLarge,
    Unauthorized,
)
from stretto.server.app import make_app
from stretto.server.limits import Limits
from stretto.transports.http import LANES, HttpTransport
from stretto.wire import PROBLEM, encode_row
from tests.echo import Echo, asking, echoing, read_request, response, served, speaking, within


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
            assert echo.budgets == [pytest.approx(60, abs=1)]  # a request's that names none

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
