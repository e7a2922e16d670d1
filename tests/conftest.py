"""What tests share: the ways a pipeline can run, and one local Ray for the session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import hypothesis
import pytest
import pytest_asyncio

from stretto import Client, Pipeline
from stretto.testing import serving
from tests.asgi import AsgiTransport

hypothesis.settings.register_profile("ci", deadline=None, max_examples=50)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

Connect: TypeAlias = Callable[[str, Pipeline[Any, Any]], AbstractAsyncContextManager[Client[Any, Any]]]

LOCAL_WAYS = ("in process", "http over asgi", "http over a socket")
RAY_WAYS = ("serve by handle", "serve over http", "serve split", "serve local testing mode")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ray_cluster() -> AsyncIterator[None]:
    """One real local Ray for the session."""
    from stretto import local_ray

    async with local_ray():
        yield


@pytest.fixture(scope="session")
def deployed() -> dict[str, str]:
    """The applications that are up, by name, with their URLs: a case is deployed once for all its ways."""
    return {}


@pytest.fixture(params=[*LOCAL_WAYS, *(pytest.param(way, marks=pytest.mark.ray) for way in RAY_WAYS)])
def way(request: pytest.FixtureRequest) -> str:
    """How the pipeline runs."""
    if request.param in RAY_WAYS:
        request.getfixturevalue("ray_cluster")
    return request.param


@pytest.fixture
def connect(way: str, deployed: dict[str, str]) -> Connect:
    """Gives a client of a pipeline, on the way at hand."""

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
            case _:
                address = await _address(way, name, pipeline, deployed)
                async with Client(address) as client:
                    yield client

    return connected


async def _address(way: str, name: str, pipeline: Pipeline[Any, Any], deployed: dict[str, str]) -> str:
    from stretto import deploy

    placement = "split" if way == "serve split" else "fused"
    app = f"{name} {placement}".replace(" ", "-").replace(",", "")
    if app not in deployed:
        client = await deploy(pipeline, name=app, route=f"/{app}", placement=placement)
        deployed[app] = client.url
        await client.aclose()
    return deployed[app] if way == "serve over http" else f"serve://{app}"


def _local_testing_mode(pipeline: Pipeline[Any, Any], name: str) -> Any:
    from ray import serve

    from stretto import application

    return serve.run(application(pipeline), name=name, _local_testing_mode=True)
