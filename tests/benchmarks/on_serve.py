"""The ensemble on one local Ray Serve: with Stretto fused and split, and by hand; by handle and over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from stretto import Client
from stretto._demo.baseline import for_serve
from tests.benchmarks.compared import OURS
from tests.benchmarks.load import Program, by_wrk, in_loop
from tests.benchmarks.programs.ensemble import ensemble
from tests.benchmarks.programs.iris import FEATURES, LABELS, ROW, fit
from tests.benchmarks.servers import expected

BY_HAND = "hand_serve"
PLAIN = "Stretto, Serve's proxy"
"""Stretto at Serve's own HTTP proxy, measured next to the faster address."""


@dataclass(frozen=True, slots=True)
class OnServe:
    """What is up: two clients of Stretto's applications, and the handle and URL of the one by hand."""

    fused: Client[Any, Any]
    split: Client[Any, Any]
    handle: Any
    hand_url: str

    @property
    def fast_url(self) -> str:
        """Where Stretto is reached over HTTP past Serve's proxy, or Serve's own URL where there is no such way."""
        return getattr(self.fused, "direct_url", "") or self.fused.url

    def by_handle(self, placement: str) -> list[Program]:
        """Return Stretto's program with this placement and the baseline, called by handle."""
        client = self.fused if placement == "fused" else self.split
        return [
            in_loop(OURS, lambda: client.predict(ROW)),
            in_loop(BY_HAND, lambda: self.handle.predict.remote(ROW)),
        ]

    def by_wrk(self) -> list[Program]:
        """Return the programs over HTTP, called by wrk."""
        programs = [by_wrk(OURS, self.fast_url), by_wrk(BY_HAND, self.hand_url)]
        return [*programs, by_wrk(PLAIN, self.fused.url)] if self.fast_url != self.fused.url else programs

    @asynccontextmanager
    async def by_client(self) -> AsyncGenerator[list[Program]]:
        """Return the programs over HTTP, called from Python: Stretto's Client, and aiohttp for the baseline."""
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            fast = await stack.enter_async_context(Client(self.fast_url))

            async def by_hand() -> Any:
                async with session.post(self.hand_url, json=ROW) as response:
                    return await response.json()

            programs = [in_loop(OURS, lambda: fast.predict(ROW)), in_loop(BY_HAND, by_hand)]
            if self.fast_url != self.fused.url:
                plain = await stack.enter_async_context(Client(self.fused.url))
                programs.append(in_loop(PLAIN, lambda: plain.predict(ROW)))
            yield programs


@asynccontextmanager
async def on_serve() -> AsyncGenerator[OnServe]:
    """Bring all of it up on a Ray of its own, see that every program answers right, and take it down at the end."""
    from stretto import deploy, local_ray

    async with (
        local_ray(),
        deploy(ensemble(), name="fused", route="/fused", placement="fused") as fused,
        deploy(ensemble(), name="split", route="/split", placement="split") as split,
        _by_hand() as handle,
    ):
        up = OnServe(fused, split, handle, fused.url.replace("/fused", "/by_hand"))
        await _check(up)
        yield up


@asynccontextmanager
async def _by_hand() -> AsyncGenerator[Any]:
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    app = for_serve(*fit(), FEATURES, LABELS)
    yield await asyncio.to_thread(serve.run, app, name="by_hand", route_prefix="/by_hand")
    await asyncio.to_thread(serve.delete, "by_hand")


async def _check(up: OnServe) -> None:
    said = {
        "fused": await up.fused.predict(ROW),
        "split": await up.split.predict(ROW),
        "by hand": await up.handle.predict.remote(ROW),
    }
    async with aiohttp.ClientSession() as session:
        for url in (up.fast_url, up.fused.url, up.hand_url):
            async with session.post(url, json=ROW) as response:
                said[url] = await response.json()
    wrong = {where: answer for where, answer in said.items() if answer != expected()}
    if wrong:
        raise RuntimeError(f"not {expected()}: {wrong}")
