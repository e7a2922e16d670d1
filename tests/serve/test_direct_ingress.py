"""The short way in: replicas that answer HTTP themselves, beside Serve's proxy."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from stretto import Client, deploy
from stretto.errors import ConnectionFailed, NotFound, StepError, Unauthorized

pytestmark = pytest.mark.usefixtures("ray_cluster")


def whoami(x: object) -> int:
    return os.getpid()


def invert(x: float) -> float:
    return 1 / x


async def test_both_ways_in_answer_the_same() -> None:
    """What Serve's proxy answers, the replica answers itself, failures included, and nothing at other paths."""
    async with deploy(invert, name="direct-invert", direct=True) as client:
        assert client.direct_url.startswith("http://127.0.0.1:")
        assert client.direct_url.endswith("/direct-invert")
        assert (await client.metadata()).addresses == (client.direct_url, client.url)
        for url in (client.url, client.direct_url):
            async with Client(url) as over_http:
                assert await over_http.predict(4) == 0.25
                with pytest.raises(StepError, match="ZeroDivisionError"):
                    await over_http.predict(0)
        async with Client(client.direct_url.replace("direct-invert", "elsewhere")) as nowhere:
            with pytest.raises(NotFound, match="direct-invert"):
                await nowhere.predict(4)


async def test_a_killed_replica_is_replaced_and_answers_at_the_same_address() -> None:
    """Serve restarts what `kill -9` ended, and the way in is open again."""
    async with deploy(whoami, name="direct-kill") as client, Client(client.direct_url) as direct:
        first = await direct.predict(0)
        os.kill(first, signal.SIGKILL)
        second = first
        for _ in range(300):
            try:
                second = await direct.predict(0)
                break
            except ConnectionFailed:
                await asyncio.sleep(0.1)
        assert second != first


async def test_replicas_of_one_deployment_share_the_address() -> None:
    """Two replicas listen on one port, and the kernel spreads connections over them."""
    async with deploy(whoami, name="direct-two", num_replicas=2) as client:
        seen: set[int] = set()
        for _ in range(100):
            async with Client(client.direct_url) as direct:
                seen.add(await direct.predict(0))
            if len(seen) == 2:
                break
        assert len(seen) == 2


async def test_tokens_hold_on_the_short_way_too() -> None:
    """Without the token it answers to nobody."""
    async with deploy(invert, name="direct-token", tokens=["secret"]) as client:
        async with Client(client.direct_url) as stranger:
            with pytest.raises(Unauthorized):
                await stranger.predict(4)
        async with Client(client.direct_url, token="secret") as known:
            assert await known.predict(4) == 0.25


async def test_it_can_be_left_out() -> None:
    """With direct=False requests pass through Serve's proxy alone."""
    async with deploy(invert, name="direct-none", direct=False) as client:
        assert client.direct_url == ""
