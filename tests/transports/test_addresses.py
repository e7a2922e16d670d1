"""A client moves to an address of its pipeline that answers, comes back, and learns of new ones."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stretto import Client, Metadata
from stretto.errors import ConnectionFailed, PipelineError
from stretto.server.app import make_app
from stretto.server.limits import Limits
from stretto.transports import HttpTransport, addresses, http
from stretto.transports.addresses import MOST, Addresses
from tests.echo import Echo, read_request, served, speaking, within


class Named(Echo):
    """Answers every row with its own name, and says where else its pipeline is."""

    def __init__(
        self, name: str, others: Iterable[str] = (), *, idempotent: bool = True, pipeline: str = "iris"
    ) -> None:
        super().__init__()
        self.name, self.others, self.idempotent, self.pipeline = name, tuple(others), idempotent, pipeline

    async def _answer(self, row: Any) -> Any:
        return self.name

    async def metadata(self) -> Metadata:
        return Metadata(self.pipeline, "", "", idempotent=self.idempotent, addresses=self.others)


@asynccontextmanager
async def up(server: Echo, port: int = 0, **limits: Any) -> AsyncGenerator[str]:
    async with served(make_app(server, Limits(**limits)), port) as url:
        yield url


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


async def until(client: Client[Any, Any], name: str) -> None:
    async with asyncio.timeout(20):
        while await client.predict(1) != name:
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "AWAY", 0.05)


async def test_of_several_urls_the_first_that_answers_is_asked() -> None:
    first = free()
    async with up(Named("second")) as second, Client([first, second]) as client:
        assert await client.predict(1) == "second"
        assert await client.predict_many([1, 2]) == ["second", "second"]
        assert (await client.trace(1)).answer == "second"
        assert client.url == first
        async with up(Named("first"), port_of(first)):
            await until(client, "first")
        await until(client, "second")


async def test_addresses_are_learned_and_asked_while_the_named_one_is_away() -> None:
    async with up(Named("other")) as other:
        async with up(Named("named", [other])) as named:
            client = Client(named, timeout=20)
            assert await client.predict(1) == "named"
            await until_learned(client, other)
        assert await client.predict(1) == "other"
        async with up(Named("named"), port_of(named)):  # whose pipeline is nowhere else any more
            await until(client, "named")
            await client.aclose()


async def until_learned(client: Client[Any, Any], *urls: str) -> None:
    transport: Any = client.transport
    async with asyncio.timeout(20):
        while [each.url for each in transport._addresses._learned] != list(urls):
            await asyncio.sleep(0.02)


async def test_what_was_learned_is_forgotten_when_it_is_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RELEARNED", 0.0)
    server = Named("named")
    async with up(Named("other")) as other, up(server) as named, Client(named) as client:
        server.others = (other,)
        await client.predict(1)
        await until_learned(client, *server.others)
        server.others = ()
        await client.predict(1)
        await until_learned(client)
        assert await client.predict(1) == "named"


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_call_that_may_have_arrived_is_made_elsewhere_only_where_it_may_run_twice(idempotent: bool) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    other = Named("other", idempotent=idempotent)
    async with speaking(hang_up) as named, up(other) as url, Client([named, url]) as client:
        if idempotent:
            assert await client.predict(1) == "other"
        else:
            with pytest.raises(ConnectionFailed, match="closed the connection"):
                await client.predict(1)
            assert other.calls == []
    async with up(other) as url, Client([free(), url]) as client:  # what can't have arrived is asked for elsewhere
        assert await client.predict(1) == "other"


async def test_learn_false_asks_the_named_ones_alone() -> None:
    async with up(Named("other")) as other:
        async with up(Named("named", [other])) as named:
            client = Client(HttpTransport(named, learn=False, retries=1))
            assert await client.predict(1) == "named"
        with pytest.raises(ConnectionFailed):
            await client.predict(1)
        await client.aclose()


async def test_what_is_away_is_looked_at_whatever_else_is_done_meanwhile() -> None:
    async with up(Named("second")) as second:
        known = Addresses([first := free(), second], None, {})
        known.start(asyncio.sleep(30))
        known.failed(known.named)
        async with up(Named("first"), port_of(first)), asyncio.timeout(20):
            while known.best is not known.named:
                await asyncio.sleep(0.02)
        await known.aclose()


async def test_nothing_is_left_of_it() -> None:
    tasks = asyncio.all_tasks()
    async with up(Named("second")) as second:
        client = Client([free(), second])
        assert await client.predict(1) == "second"
        await client.aclose()
    assert asyncio.all_tasks() == tasks


class TestLearn:
    """What a server says of addresses is taken with care."""

    @pytest.mark.parametrize(
        ("named", "others", "taken"),
        [
            (
                ["https://a/iris"],
                ["http://b/iris", "https://b/iris", "ftp://c", "https://d/?x=1", "https://a/iris", "https://b/iris"],
                ["https://b/iris"],
            ),
            (["http://a", "https://b"], ["http://c", "https://c"], ["https://c"]),
            (
                ["http://a.example"],
                ["http://127.0.0.1:1", "http://localhost:1", "http://0.0.0.0:1", "http://[::1]:1"],
                [],
            ),
            (
                ["http://localhost:1"],
                ["http://127.0.0.1:2", "http://10.0.0.1:2"],
                ["http://127.0.0.1:2", "http://10.0.0.1:2"],
            ),
        ],
    )
    async def test_what_is_asked(self, named: list[str], others: list[str], taken: list[str]) -> None:
        assert [each.url for each in Addresses(named, None, {}).others(others)] == taken

    async def test_it_is_bounded(self) -> None:
        assert len(Addresses(["http://a"], None, {}).others(f"http://b{at}" for at in range(1000))) == MOST

    def test_no_url_is_none(self) -> None:
        with pytest.raises(PipelineError, match="an empty list of URLs"):
            Client([])
        with pytest.raises(ConnectionFailed, match="'http://' is not a server's URL"):
            Client(["http://"])


async def test_where_all_are_away_each_is_tried_in_turn() -> None:
    async with up(Named("third")) as third:
        client = Client(HttpTransport([free(), free(), third], retries=12))
        assert await client.transport.predict(1, within(20)) == "third"
        await client.aclose()


async def test_what_is_another_pipeline_is_not_asked() -> None:
    """A tunnel to a server elsewhere looks local: what listens at the addresses that it names is looked at first."""
    async with up(Named("stranger", pipeline="another")) as other:
        async with up(Named("named", [other])) as named:
            client = Client(HttpTransport(named, retries=1))
            assert await client.predict(1) == "named"
            await asyncio.sleep(0.3)
        with pytest.raises(ConnectionFailed):
            await client.predict(1)
        await client.aclose()


async def test_only_the_named_one_says_where_else_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RELEARNED", 0.0)
    async with up(Named("third")) as third, up(Named("second", [third])) as second:
        async with up(Named("first", [second])) as first:
            client = Client(HttpTransport(first, retries=1))
            assert await client.predict(1) == "first"
            await until_learned(client, second)
        assert await client.predict(1) == "second"
        assert await client.predict(1) == "second"
        await asyncio.sleep(0.1)
        await until_learned(client, second)
        await client.aclose()
