"""Rows to replicas: a row that kills its replica or can't be pickled fails, and no row that travels with it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError

from stretto.batch.batch import Batch
from stretto.engine.context import Context
from stretto.errors import DeadlineExceeded, InputError, StepError, StrettoError
from stretto.serve import calls
from stretto.serve.pickling import pack_batch, unpack_batch
from stretto.serve.replicas import Replicas


class Replica:
    """A handle of one replica, which dies under all its calls when one of them has a row that kills.

    It answers a row with its negative.
    """

    def __init__(self, killers: set[int], seconds: float = 0.0) -> None:
        self.killers = killers
        self.seconds = seconds
        self.calls: list[list[Any]] = []
        self.here: list[asyncio.Future[None]] = []

    def options(self, **_: Any) -> Replica:
        return self

    def remote(self, content: bytes, step: str | None, traced: bool, version: str, budget: float | None) -> Any:
        return Response(self.answer(unpack_batch(content).rows()))

    async def answer(self, rows: list[Any]) -> Any:
        self.calls.append(rows)
        dead = asyncio.get_running_loop().create_future()
        self.here.append(dead)
        await asyncio.sleep(self.seconds)
        if self.killers & set(rows):
            for each in self.here:
                if not each.done():
                    each.set_exception(ActorDiedError())
        await asyncio.sleep(0)
        self.here.remove(dead)
        if dead.done():
            dead.result()
        return pack_batch(Batch.of([-row for row in rows])), []


class Response:
    """What `remote` returns: awaitable, and it can be cancelled."""

    def __init__(self, work: Any) -> None:
        self.task = asyncio.ensure_future(work)

    def __await__(self) -> Any:
        return self.task.__await__()

    def cancel(self) -> None:
        self.task.cancel()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(calls, "PAUSE", 0.0)


def replicas_of(replica: Replica, lanes: int | None = None) -> Replicas:
    return Replicas(replica, "replica", "deployment 'replica'", lanes)


async def outcomes(replicas: Replicas, rows: list[Any], **context: Any) -> list[Any]:
    found = (await replicas.outcomes(Batch.of(rows, request=True), Context(**context))).outcomes()
    return ["died" if isinstance(each, StepError) and each.kind == "ReplicaDied" else each for each in found]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), lanes=st.sampled_from([None, 1, 4]), data=st.data())
async def test_the_rows_that_kill_fail_and_no_others_however_they_travel(sizes, lanes, data):
    rows = list(range(1, sum(sizes) + 1))
    killers = data.draw(st.sets(st.sampled_from(rows), max_size=3))
    replicas = replicas_of(Replica(killers), lanes)
    requests = [[rows.pop() for _ in range(size)] for size in sizes]
    found = await asyncio.gather(*(outcomes(replicas, request) for request in requests))
    for request, answers in zip(requests, found, strict=True):
        assert answers == ["died" if row in killers else -row for row in request]


async def test_a_row_that_kills_is_sent_a_handful_of_times():
    replica = Replica({400})
    found = await outcomes(replicas_of(replica), list(range(500)))
    assert found.count("died") == 1
    assert sum(400 in call for call in replica.calls) <= 7


def test_it_works_in_one_event_loop_after_the_other():
    replica = Replica({1})
    replicas = replicas_of(replica)

    async def both() -> list[list[object]]:
        return await asyncio.gather(outcomes(replicas, [1]), outcomes(replicas, [2]))

    assert asyncio.run(both()) == asyncio.run(both()) == [["died"], [-2]]


async def test_rows_that_can_not_be_pickled_fail_alone_in_one_call():
    replica = Replica(set())
    one, lock, four = await outcomes(replicas_of(replica), [1, threading.Lock(), 4])
    assert (one, four) == (-1, -4)
    assert isinstance(lock, InputError)
    assert len(replica.calls) == 1


async def test_a_stage_s_value_that_can_not_be_pickled_is_not_the_callers_mistake():
    batch = Batch.of([threading.Lock(), 1])
    first, second = (await replicas_of(Replica(set())).outcomes(batch, Context())).outcomes()
    assert isinstance(first, StepError)
    assert second == -1


async def test_requests_share_calls_and_each_gets_its_own_rows():
    replica = Replica(set())
    replicas = replicas_of(replica, lanes=1)
    requests = [list(range(i, 2 * i)) for i in range(1, 20)]
    found = await asyncio.gather(*(outcomes(replicas, request) for request in requests))
    assert found == [[-row for row in request] for request in requests]
    assert len(replica.calls) < len(requests)


@pytest.mark.parametrize("lanes", [None, 1])
async def test_single_rows_are_answered_or_raise_their_own_error(lanes):
    replicas = replicas_of(Replica({3}), lanes)
    asked = [replicas.predict(row, Context()) for row in (1, 2)]
    assert await asyncio.gather(*asked) == [-1, -2]
    with pytest.raises(StepError, match="ReplicaDied"):
        await replicas.predict(3, Context())
    with pytest.raises(DeadlineExceeded):
        await replicas_of(Replica(set(), seconds=1.0), lanes).predict(1, Context.starting(0.01))


async def test_a_deadline_fails_every_row_and_leaves_the_others_of_the_call():
    replicas = replicas_of(Replica(set(), seconds=0.2), lanes=1)
    now = calls.Context.starting(0.05).deadline
    (late,), (other,) = await asyncio.gather(outcomes(replicas, [1], deadline=now), outcomes(replicas, [2]))
    assert isinstance(late, DeadlineExceeded)
    assert other == -2


async def test_what_fails_a_call_as_a_whole_is_raised_to_each_of_its_requests():
    class Gone(Replica):
        async def answer(self, rows: list[Any]) -> Any:
            raise ConnectionError("gone")

    replicas = replicas_of(Gone(set()), lanes=1)
    first, second = await asyncio.gather(*(outcomes(replicas, [i]) for i in range(2)), return_exceptions=True)
    assert isinstance(first, StrettoError)
    assert type(first) is type(second)
    assert first is not second
