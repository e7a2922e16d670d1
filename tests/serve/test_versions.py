"""While a new version comes up, each answer is of one version: all of its parts of the old one, or all of the new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stretto import Client, Pipeline, deploy, parallel, step
from stretto.batch.batch import Batch
from stretto.compiler import compile_plan
from stretto.serve.calls import OUTDATED
from stretto.serve.deployments import StageReplica
from stretto.serve.pickling import pack_batch, pickle_plan, version_of

CALLERS = 6


def saying(version: int) -> Callable[[Any], int]:
    return lambda _: version


def pipeline(version: int) -> Pipeline[Any, Any]:
    """Return two parts with deployments of their own, and one in the ingress, that all say their version."""
    resources: Any = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.01}}
    parts = [step(saying(version), name=name, **resources) for name in ("first", "second")]
    return Pipeline(parallel(*parts, step(saying(version), name="here")))


async def test_an_answer_is_of_one_version(ray_cluster: None) -> None:
    """By handle, over HTTP through Serve's proxy and at the replicas themselves, all at once."""
    seen: dict[str, set[tuple[int, ...]]] = {way: set() for way in ("handle", "proxy", "direct")}
    failed: list[tuple[str, Exception]] = []
    options: dict[str, Any] = {"name": "versions", "num_replicas": 2, "ray_actor_options": {"num_cpus": 0.01}}
    ended = asyncio.Event()

    async def ask(way: str, client: Client[Any, Any]) -> None:
        while not ended.is_set():
            try:
                seen[way].add(tuple((await client.predict(1, timeout=30)).values()))
            except Exception as error:
                failed.append((way, error))

    async with (
        deploy(pipeline(0), **options) as handle,
        Client(handle.url) as proxy,
        Client(handle.direct_url) as direct,
        asyncio.TaskGroup() as tasks,
    ):
        for way, client in {"handle": handle, "proxy": proxy, "direct": direct}.items():
            for _ in range(CALLERS):
                tasks.create_task(ask(way, client))
        await asyncio.sleep(1)
        await (await deploy(pipeline(1), **options)).aclose()
        await asyncio.sleep(1)
        ended.set()
    assert failed == []
    assert seen == {way: {(0, 0, 0), (1, 1, 1)} for way in seen}


@pytest.mark.parametrize(
    ("asked", "answers"), [("", True), ("{own}", True), ("other", False), ("!{own}", False), ("!other", True)]
)
async def test_a_replica_answers_calls_for_its_version_and_for_any_but_another(asked: str, answers: bool) -> None:
    plan = pickle_plan(compile_plan(Pipeline(step(saying(1), name="one")).plan()))
    rows = pack_batch(Batch.of([1]))
    reply = await StageReplica(plan, "one").run(rows, None, False, asked.format(own=version_of(plan)), None)
    assert (reply != OUTDATED) is answers
