"""What tests share: the ways a pipeline can run, and one local Ray for the session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import hypothesis
import pytest
import pytest_asyncio

from stretto import Client, Pipeline, deploy
from stretto.testing.http_server import serving
from tests.asgi import AsgiTransport

hypothesis.settings.register_profile("ci", deadline=None, max_examples=50)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

Connect: TypeAlias = Callable[[str, Pipeline[Any, Any]], AbstractAsyncContextManager[Client[Any, Any]]]

TESTS = Path(__file__).parent

# What needs Ray or the clock without a fixture saying so: programs that start a Ray of their own, and what is timed.
STARTS_RAY = TESTS / "demo"
TIMED = TESTS / "test_benchmarks.py"

LOCAL_WAYS = ("in process", "http over asgi", "http over a socket")
RAY_WAYS = ("serve by handle", "serve over http", "serve split", "serve local testing mode")


@pytest.hookimpl(tryfirst=True)  # before pytest's own hook, which selects by `-m`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need Ray, and the serial ones: those, and timed ones. All others can run side by side."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        on_ray = callspec is not None and callspec.params.get("way") in RAY_WAYS
        if on_ray or "ray_cluster" in getattr(item, "fixturenames", ()) or item.path.is_relative_to(STARTS_RAY):
            item.add_marker("ray")
        if item.get_closest_marker("ray") or item.path == TIMED:
            item.add_marker("serial")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ray_cluster() -> AsyncIterator[None]:
    """One real local Ray for the session."""
    from stretto import local_ray

    async with local_ray():
        yield


@pytest.fixture(scope="session")
def deployed() -> dict[str, str]:
    """The application that is up, by name, with its URL: a case is deployed once for all its ways."""
    return {}


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    """How the pipeline runs."""
    if request.param in RAY_WAYS:
        request.getfixturevalue("ray_cluster")
    return request.param


@pytest.fixture
def connect(way: str, deployed: dict[str, str]) -> Connect:
    """Return a client of a pipeline, on the way at hand."""

    @asynccontextmanager
    async def connected(name: str, pipeline: Pipeline[Any, Any]) -> AsyncIterator[Client[Any, Any]]:
        match way:
            case "in process":
                async with Client(pipeline) as client:
                    yield client
            case "http over asgi":
                async with Client(AsgiTransport(pipeline)) as client:
                    yield client
            case "http over a socket":
                async with serving(pipeline) as url, Client(url) as client:
                    yield client
            case "serve local testing mode":
                async with Client(_local_testing_mode(pipeline, name)) as client:
                    yield client
            case "serve split":
                async with deploy(pipeline, name=_slug(name, "split"), placement="split") as client:
                    yield client
            case _:
                app = _slug(name, "fused")
                if app not in deployed:
                    _take_down(deployed)
                    # It asks for next to nothing, so that all the cases fit two cores at once.
                    client = await deploy(pipeline, name=app, ray_actor_options={"num_cpus": 0.01})
                    deployed[app] = client.url
                    await client.aclose()
                async with Client(deployed[app] if way == "serve over http" else f"serve://{app}") as client:
                    yield client

    return connected


def _take_down(deployed: dict[str, str]) -> None:
    # Replicas that idle by the dozen, each with its health checks, would keep two cores busy.
    from ray import serve

    for app in deployed:
        serve.delete(app, _blocking=False)
    deployed.clear()


def _slug(name: str, placement: str) -> str:
    return f"{name} {placement}".replace(" ", "-").replace(",", "")


def _local_testing_mode(pipeline: Pipeline[Any, Any], name: str) -> Any:
    from ray import serve

    from stretto import application

    return serve.run(application(pipeline), name=name, _local_testing_mode=True)
