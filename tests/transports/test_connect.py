"""From a target and options to a transport: each option reaches a real server, or is an error that says why not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stretto import Client, Metadata, asgi, step
from stretto.errors import ConnectionFailed, InputError, NotFound, Overloaded, PipelineError, Unauthorized
from stretto.testing.http_server import serving
from stretto.transports import HttpTransport, Transport
from stretto.transports.connect import SCHEMES, connect
from tests.echo import served


def double(x: int) -> int:
    return 2 * x


class Seen:
    """An application that notes the headers of requests, in front of another."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.headers: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self.app(scope, receive, send)


@asynccontextmanager
async def noted(**options: Any) -> AsyncIterator[tuple[str, Seen]]:
    """Serve a pipeline on a socket, and yield its URL with the headers it receives."""
    seen = Seen(asgi(double, **options))
    async with served(seen) as url:
        yield url, seen


class TestHeaders:
    async def test_headers_go_with_every_request(self) -> None:
        async with noted() as (url, seen), Client(url, headers={"x-tenant": "blue", "User-Agent": "mine"}) as client:
            assert await client.predict(1) == 2
            assert await client.predict_many([1, 2]) == [2, 4]
            assert (await client.trace(3)).answer == 6
            assert (await client.metadata()).steps == ("double",)
            assert await client.ready()
        assert len(seen.headers) >= 5
        assert {(each["x-tenant"], each["user-agent"]) for each in seen.headers} == {("blue", "mine")}

    @pytest.mark.parametrize("headers", [{"a": "b\r\nc: d"}, {"a\n": "b"}, {"a": 1}, {1: "a"}, {"a": None}])
    def test_a_header_that_cannot_be_sent_is_refused_at_once(self, headers: Any) -> None:
        with pytest.raises(PipelineError, match=r"headers=.*strings of one line"):
            Client("http://127.0.0.1:1", headers=headers)


class TestToken:
    async def test_a_token_is_a_string(self) -> None:
        async with noted(tokens=["secret"]) as (url, _):
            async with Client(url, token="secret") as client:
                assert await client.predict(1) == 2
            async with Client(url, token="wrong") as client:
                with pytest.raises(Unauthorized, match="a wrong bearer token"):
                    await client.predict(1)

    @pytest.mark.parametrize("asynchronous", [True, False])
    async def test_or_a_function_that_is_called_for_every_request(self, asynchronous: bool) -> None:
        count = 0

        def now() -> str:
            nonlocal count
            count += 1
            return f"token {count}"

        async def later() -> str:
            await asyncio.sleep(0)
            return now()

        token = later if asynchronous else now
        async with noted() as (url, seen), Client(HttpTransport(url, token=token, learn=False)) as client:
            assert await client.predict(1) == 2
            assert await client.predict_many([1]) == [2]
        assert [each["authorization"] for each in seen.headers] == ["Bearer token 1", "Bearer token 2"]

    async def test_a_token_that_expired_is_refreshed(self) -> None:
        tokens = ["old"]
        async with noted(tokens=["new"]) as (url, _), Client(url, token=lambda: tokens[-1]) as client:
            with pytest.raises(Unauthorized):
                await client.predict(1)
            tokens.append("new")
            assert await client.predict(1) == 2

    @pytest.mark.parametrize(
        ("token", "match"),
        [
            (lambda: 1 / 0, "failed: ZeroDivisionError"),
            (lambda: 5, "not int"),
            (lambda: "a\r\nb", "one line"),
            (7, "not int"),
        ],
    )
    async def test_what_is_no_token_is_unauthorized_and_nothing_is_sent(self, token: Any, match: str) -> None:
        async with noted() as (url, seen), Client(url, token=token) as client:
            with pytest.raises(Unauthorized, match=match):
                await client.predict(1)
            assert not seen.headers

    async def test_the_deadline_holds_while_a_token_is_fetched(self) -> None:
        async def never() -> str:
            await asyncio.sleep(60)
            return ""

        async with noted() as (url, seen), Client(url, token=never) as client:
            for call in (client.predict(1, timeout=0.05), client.predict_many([1], timeout=0.05)):
                with pytest.raises(TimeoutError, match=r"0\.05 s"):
                    await call
            assert not seen.headers


class TestMaxBatch:
    async def test_it_bounds_the_rows_of_an_http_request(self) -> None:
        sizes = await _sizes(lambda url: Client(url, max_batch=5))
        assert max(sizes) <= 5

    async def test_and_those_of_a_stage_in_this_process(self) -> None:
        sizes: list[int] = []
        async with Client(_counting(sizes), max_batch=5) as client:
            assert await asyncio.gather(*map(client.predict, range(40))) == list(range(40))
        assert sum(sizes) == 40
        assert max(sizes) <= 5

    @pytest.mark.parametrize("target", [double, "http://127.0.0.1:1"])
    def test_less_than_one_is_refused(self, target: Any) -> None:
        with pytest.raises(PipelineError, match="max_batch=0"):
            Client(target, max_batch=0)


class TestTransport:
    async def test_a_configured_transport_is_taken_as_it_is(self) -> None:
        async with serving(step(double) >> abs) as url, Client(HttpTransport(url, max_batch=3, max_queued=1)) as client:
            assert await client.predict(-2) == 4
            calls = await asyncio.gather(*(client.predict(i) for i in range(20)), return_exceptions=True)
            assert {type(each) for each in calls} == {int, Overloaded}

    async def test_a_transport_needs_two_methods(self) -> None:
        class Doubling(Transport):
            async def outcomes(self, rows: Any, context: Any, step: str | None = None) -> list[Any]:
                return [InputError("no number") if isinstance(row, str) else 2 * row for row in rows]

            async def metadata(self) -> Metadata:
                return Metadata("doubling", "", "")

        async with Client(Doubling()) as client:
            assert await client.predict(1) == 2
            with pytest.raises(InputError):
                await client.predict("one")
            assert await client.predict_many([1, "one"], on_error="skip") == [2]
            trace = await client.trace(1)
            assert (trace.answer, trace.error, trace.spans) == (2, None, ())
            assert isinstance((await client.trace("one")).error, InputError)
            assert await client.ready()

    async def test_it_is_not_ready_where_it_has_no_metadata(self) -> None:
        class Down(Transport):
            async def outcomes(self, rows: Any, context: Any, step: str | None = None) -> list[Any]:
                raise ConnectionFailed("down")

            async def metadata(self) -> Metadata:
                raise NotFound("down")

        async with Client(Down()) as client:
            assert not await client.ready()


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (double, {"headers": {"a": "b"}}),
        (double, {"token": "secret"}),
        ("serve://iris", {"headers": {"a": "b"}}),
        ("serve://iris", {"token": "secret"}),
        (connect(double), {"headers": {"a": "b"}}),
        (connect(double), {"token": "secret"}),
        (connect(double), {"max_batch": 3}),
    ],
)
def test_an_option_that_the_target_cannot_use_is_an_error_that_says_so(target: Any, options: dict[str, Any]) -> None:
    with pytest.raises(PipelineError, match=f"{next(iter(options))}= can't be used with"):
        Client(target, **options)


@pytest.mark.parametrize("target", ["ftp://host", "127.0.0.1:8000", "http:", "serve://", "", "iris"])
def test_an_address_of_no_scheme_names_those_there_are(target: str) -> None:
    with pytest.raises(PipelineError, match=r"'http://HOST:PORT/ROUTE', 'serve://APP'"):
        Client(target)
    assert set(SCHEMES) == {"http", "https", "serve"}


def _counting(sizes: list[int]) -> Any:
    def counted(batch: list[Any]) -> list[Any]:
        sizes.append(len(batch))
        return batch

    return step(counted, vectorized=True)


async def _sizes(client: Callable[[str], Client[Any, Any]]) -> list[int]:
    """Return the numbers of rows of the requests that 40 concurrent predictions make."""
    sizes: list[int] = []

    class Counting(Transport):
        async def outcomes(self, rows: Any, context: Any, step: str | None = None) -> Any:
            sizes.append(len(rows))
            return rows

        async def metadata(self) -> Metadata:
            return Metadata("", "", "")

    async with served(asgi(Client(Counting()))) as url, client(url) as asking:
        assert await asyncio.gather(*map(asking.predict, range(40))) == list(range(40))
    return sizes
