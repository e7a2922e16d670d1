"""A row that kills its replica fails, and only that one, whoever stood beside it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError

from stretto.serve import quarantine
from stretto.serve.quarantine import Quarantine


class Replica:
    """Dies under its calls, all that are there, when one of them brings a row that kills."""

    def __init__(self, killers: set[int]) -> None:
        self.killers = killers
        self.calls: list[list[int]] = []
        self.here: list[asyncio.Future[None]] = []

    async def ask(self, rows: list[int]) -> list[int]:
        self.calls.append(rows)
        dead = asyncio.get_running_loop().create_future()
        self.here.append(dead)
        await asyncio.sleep(0)
        if self.killers & set(rows):
            for each in self.here:
                if not each.done():
                    each.set_exception(ActorDiedError())
        await asyncio.sleep(0)
        self.here.remove(dead)
        if dead.done():
            dead.result()
        return [-row for row in rows]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(quarantine, "PAUSE", 0.0)


async def outcomes(suspects: Quarantine[list[int]], replica: Replica, rows: list[int]) -> list[object]:
    async def ask(at: range) -> list[int]:
        return await replica.ask(rows[at.start : at.stop])

    found: list[object] = []
    for at, each in await suspects.answers(len(rows), ask):
        found += ["died"] * len(at) if isinstance(each, ActorDiedError) else each
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), data=st.data())
async def test_the_rows_that_kill_fail_and_no_others_however_they_travel(sizes, data):
    rows = list(range(1, sum(sizes) + 1))
    killers = data.draw(st.sets(st.sampled_from(rows), max_size=3))
    replica, suspects = Replica(killers), Quarantine[list[int]]()
    calls = [[rows.pop() for _ in range(size)] for size in sizes]
    found = await asyncio.gather(*(outcomes(suspects, replica, call) for call in calls))
    for call, answers in zip(calls, found, strict=True):
        assert answers == ["died" if row in killers else -row for row in call]


async def test_a_row_that_kills_is_sent_a_handful_of_times():
    replica = Replica({400})
    found = await outcomes(Quarantine(), replica, list(range(500)))
    assert found.count("died") == 1
    assert sum(400 in call for call in replica.calls) <= 7


def test_it_works_in_one_event_loop_after_the_other():
    suspects = Quarantine[list[int]]()

    async def both() -> list[list[object]]:
        replica = Replica({1})
        return await asyncio.gather(outcomes(suspects, replica, [1]), outcomes(suspects, replica, [2]))

    assert asyncio.run(both()) == asyncio.run(both()) == [["died"], [-2]]
