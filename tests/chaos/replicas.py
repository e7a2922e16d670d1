"""Replicas, proxies and controllers of Ray Serve that are killed while rows are answered."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psutil

from stretto import Client, deploy
from stretto._demo.baseline import for_serve
from tests.benchmarks.programs.ensemble import ensemble
from tests.benchmarks.programs.iris import FEATURES, LABELS, fit
from tests.chaos.load import Ask, under_load
from tests.chaos.report import Found
from tests.chaos.settings import Settings

DEADLINE = 10.0
CALLERS = 32
ACTORS = {"num_cpus": 0.01}


def rows_and_answers() -> tuple[list[dict[str, float]], list[dict[str, str]]]:
    """Return the rows of iris, and what the estimators say of them."""
    from sklearn.datasets import load_iris

    data = load_iris().data
    logistic, svm = fit()
    pairs = zip(logistic.predict(data), svm.predict(data), strict=True)
    rows = [dict(zip(FEATURES, map(float, row), strict=True)) for row in data]
    return rows, [{"logistic": LABELS[a], "svm": LABELS[b]} for a, b in pairs]


def processes(name: str) -> list[int]:
    """Return the processes of Ray actors whose title has a text, such as ``ServeReplica:iris``."""
    found: list[int] = []
    for each in psutil.process_iter(["cmdline"]):
        command = " ".join(each.info["cmdline"] or ())
        if command.startswith("ray::") and name in command:
            found.append(each.pid)
    return found


def running(app: str) -> list[int]:
    """Return the processes of an application's replicas that take requests."""
    from stretto.serve.ray import details

    deployments = details()[app]["deployments"].values()
    return [each["pid"] for one in deployments for each in one["replicas"] if each["state"] == "RUNNING"]


async def kill_every(seconds: float, every: float, app: str) -> None:
    """Kill a random one of the running replicas again and again; while there is none, nothing is killed."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        pids = [pid for pid in await asyncio.to_thread(running, app) if psutil.pid_exists(pid)]
        if pids:
            os.kill(random.choice(pids), signal.SIGKILL)
        await asyncio.sleep(max(0.0, every - (time.perf_counter() - start)))


@asynccontextmanager
async def deployed(way: str, replicas: int, **more: Any) -> AsyncGenerator[tuple[Ask, str]]:
    """Deploy the ensemble, and return how a row is asked on this way, and what its replicas are called."""
    rows, _ = rows_and_answers()
    placement = "split" if "split" in way else "fused"
    pipeline = ensemble()
    options: dict[str, Any] = {"num_replicas": replicas, "ray_actor_options": ACTORS, **more}
    async with deploy(pipeline, name="chaos", placement=placement, **options) as by_handle:
        client: Client[Any, Any] = by_handle
        if "HTTP" in way:
            client = Client(by_handle.direct_url if "direct" in way else by_handle.url)
        async with client:
            await client.predict(rows[0])
            yield lambda number: client.predict(rows[number % len(rows)], timeout=DEADLINE), "chaos"


@asynccontextmanager
async def by_hand(replicas: int) -> AsyncGenerator[tuple[Ask, str]]:
    """Deploy the ensemble written by hand."""
    from ray import serve

    rows, _ = rows_and_answers()
    app = for_serve(*fit(), FEATURES, LABELS)
    handle = await asyncio.to_thread(serve.run, app, name="by-hand", route_prefix="/by-hand")
    try:

        async def ask(number: int) -> Any:
            async with asyncio.timeout(DEADLINE):
                return await handle.predict.remote(rows[number % len(rows)])

        await ask(0)
        yield ask, "by-hand"
    finally:
        await asyncio.to_thread(serve.delete, "by-hand")


async def broken(
    scenario: str,
    way: str,
    settings: Settings,
    replicas: int,
    breaking: Callable[[str, float], Awaitable[object]],
    **more: Any,
) -> Found:
    """Return what became of the calls before, while and after something broke; `more` are options of `deploy`."""
    _, right = rows_and_answers()
    async with (
        by_hand(replicas) if way == "by hand" else deployed(way, replicas, **more) as (ask, app),
        under_load(ask, right, CALLERS) as load,
    ):
        await asyncio.sleep(settings.calm)
        load.begins("during")
        await breaking(app, settings.seconds)
        load.begins("after")
        await asyncio.sleep(settings.after)
    return Found(scenario, way, load)


async def killed_replicas(settings: Settings) -> AsyncGenerator[Found]:
    """Kill a random one of two replicas each second, and of three every three seconds."""
    for replicas, every in ((2, 1.0), (3, 3.0)):
        scenario = f"1: a replica of {replicas} killed every {every:g} s"

        async def kill(name: str, seconds: float, every: float = every) -> None:
            await kill_every(seconds, every, name)

        for way in settings.ways("handle, fused", "handle, split", "HTTP, proxy", "HTTP, direct", "by hand"):
            yield await broken(scenario, way, settings, replicas, kill)


async def killed_servers(settings: Settings) -> AsyncGenerator[Found]:
    """Kill Serve's controller, and its proxy."""
    for what, name in (("controller", "ServeController"), ("proxy", "ProxyActor")):

        async def kill(_: str, seconds: float, name: str = name) -> None:
            for pid in processes(name):
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(seconds)

        for way in settings.ways("handle, fused", "HTTP, proxy", "HTTP, direct"):
            yield await broken(f"2: Serve's {what} killed", way, settings, 2, kill)


async def new_versions(settings: Settings) -> AsyncGenerator[Found]:
    """Deploy the same application again and again."""

    async def redeploy(_: str, seconds: float) -> None:
        async with asyncio.timeout(60 + 20 * seconds):
            for _ in range(settings.versions):
                client = await deploy(ensemble(), name="chaos", num_replicas=2, ray_actor_options=ACTORS)
                await client.aclose()

    for way in settings.ways("handle, fused", "HTTP, proxy", "HTTP, direct"):
        yield await broken(f"4: {settings.versions} new versions", way, settings, 2, redeploy)
