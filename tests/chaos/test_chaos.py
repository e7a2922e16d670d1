"""The short form of the scenarios: nothing is wrong, nothing is lost. How long anything takes is not asserted here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos import cancelled, fuzzed, networks, replicas
from tests.chaos.settings import Settings

SHORT = Settings(seconds=5.0, calm=0.5, after=1.0, versions=1)


@pytest.mark.parametrize("way", ["handle, fused", "HTTP, direct"])
async def test_killed_replicas_lose_and_change_no_answer(way: str, ray_cluster: None) -> None:
    async def kill(app: str, seconds: float) -> None:
        await replicas.kill_every(seconds, 3.0, app)

    found = await replicas.broken("killed", way, SHORT, 3, kill)
    assert found.load.count("right") > 100
    assert (found.load.count("wrong"), dict(found.load.failed)) == (0, {})


async def test_a_new_version_loses_no_answer(ray_cluster: None) -> None:
    async for found in replicas.new_versions(Settings(calm=0.5, after=1.0, versions=1, only_ways=("HTTP, direct",))):
        assert found.load.count("right") > 100
        assert (found.load.count("wrong"), dict(found.load.failed)) == (0, {})


@pytest.mark.parametrize("fault", ["answers half and closes", "sends garbage", "resets"])
async def test_a_network_that_misbehaves_loses_and_changes_no_answer(fault: str) -> None:
    async for found in networks.misbehaving(Settings(seconds=1.5, calm=0.3, after=0.3, only_ways=(fault,))):
        assert found.load.count("right") > 100
        assert (found.load.count("wrong"), dict(found.load.failed)) == (0, {})


async def test_malformed_requests_and_answers_end_as_designed() -> None:
    async for found in fuzzed.fuzzed(Settings(calm=0.1, after=0.1, share=0.02)):
        assert found.scenario.endswith(": none")
        assert (found.load.count("wrong"), dict(found.load.failed)) == (0, {})


@pytest.mark.parametrize("way", ["in process", "HTTP"])
async def test_cancelled_requests_leave_nothing(way: str) -> None:
    async for found in cancelled.cancelled(Settings(calm=0.2, after=0.2, share=0.1, only_ways=(way,))):
        assert "(rows +0, tasks +0" in found.scenario
        assert (found.load.count("wrong"), dict(found.load.failed)) == (0, {})


def test_the_table_says_what_became_of_the_calls() -> None:
    from tests.chaos.load import Call, Load
    from tests.chaos.report import Found, markdown, table

    load = Load([Call(0.0, 0.25, "right"), Call(1.0, 0.5, "wrong"), Call(2.0, 0.0, "Overloaded")], [("before", 0.0)])
    cells: list[Any] = Found("1: x", "handle", load).cells()
    assert cells == ["1: x", "handle", "3", "1", "1 (Overloaded 1)", "250.0 / 250 ms", "", "", "0.2 s"]
    assert table([Found("1: x", "handle", load)]).row_count == 1
    assert markdown([Found("1: x", "handle", load)]).count("\n") == 2
