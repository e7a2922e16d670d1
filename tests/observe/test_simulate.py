"""The simulator is the product under a virtual clock: what queueing theory says of simple cases holds in it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from stretto import Pipeline, Profile, parallel, profile, simulate, step
from stretto.errors import PipelineError, StepError
from stretto.observe.machine import Machine
from stretto_composers import switch
from tests.benchmarks.programs.ensemble import ensemble
from tests.benchmarks.programs.iris import ROW

ALMOST_NOTHING = 1e-5


def one(x: Any) -> Any:
    return x


def other(x: Any) -> Any:
    return x


def costing(seconds: float, **more: Any) -> Profile:
    """Return the profile of a step named `one`, behind a hop that costs almost nothing."""
    return Profile({"one": seconds}, hop=ALMOST_NOTHING, client=0.0, **more)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
async def test_one_core_and_one_step_wait_as_an_m_d_1_queue(load: float) -> None:
    """The mean wait is that of Pollaczek and Khinchine: load / (2 (1 - load)) times what a row takes."""
    found = await simulate(one, costing(0.1), rate=load / 0.1, seconds=500, cores=1)
    assert found.mean == pytest.approx(0.1 + 0.1 * load / (2 * (1 - load)), rel=0.15)


async def test_utilisation_and_littles_law() -> None:
    """A core is used for the rows per second times what each takes; what is there is that times what each stays."""
    found = await simulate(one, costing(0.05), rate=24, seconds=100, cores=2)
    assert found.utilisation == pytest.approx(found.per_second * 0.05 / 2, rel=0.02)
    ingress = found.deployments["ingress"]
    assert ingress.utilisation == pytest.approx(found.per_second * 0.05, rel=0.02)
    assert ingress.queue == pytest.approx(found.per_second * ingress.seconds, rel=0.02)
    assert ingress.seconds == pytest.approx(found.mean, rel=0.05)
    assert found.under_way <= ingress.most


async def test_replicas_of_the_bottleneck_multiply_what_is_answered() -> None:
    """Each replica of a step keeps its core busy, whatever stands between it and the client."""
    pipeline = parallel(step(one, num_replicas=1), step(other, num_replicas=1))
    costs = Profile({"one": 0.02, "other": 0.0001}, hop=0.001)
    rates: list[float] = []
    for replicas in (1, 2, 4):
        found = await simulate(pipeline, costs, callers=64, seconds=5, cores=32, replicas={"one": replicas})
        assert found.deployments["one"].replicas == replicas
        rates.append(found.per_second)
    assert rates[0] > 0.85 * 2 / 0.02, "two calls of a replica are under way"
    assert rates[1] > 1.7 * rates[0]
    assert rates[2] > 1.7 * rates[1]


async def test_more_cores_do_not_help_one_event_loop() -> None:
    """What takes less than a stage may hold the event loop stays in it, and its process has one."""
    two, many = [await simulate(one, costing(0.002), callers=16, seconds=5, cores=cores) for cores in (2, 16)]
    assert two.per_second == pytest.approx(500, rel=0.1)
    assert many.per_second == pytest.approx(two.per_second, rel=0.05)


@pytest.mark.parametrize(("clients", "replicas"), [(1, 8), (4, 8), (1, 100)])
async def test_an_event_loop_does_one_thing_at_a_time(clients: int, replicas: int) -> None:
    """However much arrives while it works: no process without threads has a core for longer than there is time."""
    costs = Profile({"one": 1e-6}, hop=0.004, caller=(0.002, 4e-5), replica=(0.001, 2e-5))
    found = await simulate(
        one, costs, callers=512, seconds=1, cores=64, clients=clients, replicas={"ingress": replicas}
    )
    assert found.deployments["client"].utilisation == pytest.approx(1.0, rel=0.3)
    assert all(each.utilisation <= 1.0 + 1e-9 for each in found.deployments.values())


@pytest.mark.parametrize("cores", [1, 2, 4])
async def test_threads_share_the_cores(cores: int) -> None:
    """What holds a core in a thread is answered once per core in the time that it takes."""
    found = await simulate(step(one, blocking=True), costing(0.02), callers=32, seconds=5, cores=cores)
    assert found.per_second == pytest.approx(cores / 0.02, rel=0.05)


@pytest.mark.parametrize("kind", ["blocking", "async"])
async def test_what_waits_holds_no_core(kind: str) -> None:
    """Thirty-two callers are answered thirty-two times in the time of a step that only waits."""

    async def waits(x: Any) -> Any:
        return x

    part = step(one, blocking=True) if kind == "blocking" else step(waits, name="one")
    found = await simulate(part, costing(0.1, busy={"one": 0.0}), callers=32, seconds=5, cores=1)
    assert found.per_second == pytest.approx(320, rel=0.05)
    assert found.utilisation < 0.2


async def test_the_same_seed_gives_the_same_result() -> None:
    first, again, another = [
        await simulate(one, costing(0.02, hops=[1e-5, 0.004]), rate=30, seconds=10, cores=2, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert first == again != another


async def test_overload_is_refused_as_by_the_product() -> None:
    """At ten times what a step can take, as many rows are answered in time as it can take, and the others refused."""
    found = await simulate(one, costing(0.02), rate=500, seconds=20, timeout=1, cores=1)
    assert found.per_second > 0.8 * 50
    assert found.p99 < 1
    assert found.refused > 0.8 * 450 * found.seconds


async def test_simulated_time_takes_no_real_time() -> None:
    """A month passes in the time of the fifty rows that come in it."""
    month = 30 * 86_400.0
    found = await simulate(one, costing(3600), rate=50 / month, seconds=month, cores=1)
    assert 25 < found.answered < 75
    assert found.p50 >= 3600


async def test_rows_go_where_their_answers_lead() -> None:
    """Steps return what they return for the rows of the sample, so that each row takes its own way."""
    ways = {"a": step(one, num_replicas=1), "b": step(other, num_replicas=1)}
    pipeline = Pipeline(switch(step(lambda row: row, name="way"), ways))
    costs = await profile(pipeline, ["a", "a", "a", "b"], hop=1e-4)
    found = await simulate(pipeline, costs, rate=100, seconds=20, cores=4)
    often, seldom = (found.deployments[name] for name in ("one", "other"))
    assert often.queue / often.seconds == pytest.approx(3 * seldom.queue / seldom.seconds, rel=0.2)


async def test_nothing_is_computed() -> None:
    """The pipeline runs once over the sample, for its answers, and never again."""
    rows: list[int] = []

    def noted(x: int) -> int:
        rows.append(x)
        return x

    found = await simulate(noted, Profile({"noted": 0.001}, rows=[7]), rate=100, seconds=5)
    assert found.answered > 300
    assert rows == [7]


async def test_models_are_batched_as_measured() -> None:
    """Rows of a model that are read alike are read once, and many together cost less each."""
    pipeline = ensemble()
    costs = await profile(pipeline, [ROW], hop=0.001)
    assert costs.steps.keys() == costs.reading.keys() == {"logistic", "svm"}
    assert costs.batched["svm"] < costs.steps["svm"]
    few, many = [await simulate(pipeline, costs, callers=callers, seconds=2, cores=2) for callers in (1, 64)]
    assert many.per_second > 10 * few.per_second


async def test_it_prints_and_goes_into_json() -> None:
    found = await simulate(one, costing(0.02), callers=3, seconds=5, cores=1)
    head, counts, _, *lines = str(found).splitlines()
    assert head.startswith("50 rows/s, p50 ")
    assert counts.startswith(f"{found.answered} answered, 0 refused")
    assert [line.split()[0] for line in lines] == ["client", "ingress"]
    assert json.loads(json.dumps(found.as_dict()))["deployments"]["ingress"]["replicas"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either rate=.* or callers="),
        ({"rate": 1.0, "callers": 1}, "either rate=.* or callers="),
        ({"rate": 0.0}, "rate=0.0: it must be above 0"),
        ({"rate": float("nan")}, "rate=nan: it must be above 0"),
        ({"callers": -1}, "callers=-1: it must be above 0"),
        ({"rate": 1.0, "seconds": float("inf")}, "seconds=inf: it must be above 0"),
        ({"rate": 1.0, "cores": 0}, "cores=0: it must be above 0"),
        ({"rate": 1.0, "replicas": {"svm": 2}}, "replicas of 'svm': the deployments are 'ingress', 'one'"),
        ({"rate": 1.0, "replicas": {"one": 0}}, "replicas of 'one': 0; a deployment has at least 1"),
        ({"rate": 1.0, "placement": "apart"}, "placement='apart'"),
    ],
)
async def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        await simulate(step(one, num_replicas=1), costing(0.01), **options)


async def test_a_step_without_a_cost_is_named() -> None:
    with pytest.raises(PipelineError, match="the profile does not say what step 'other' costs: measure it with"):
        await simulate(Pipeline(one) >> other, costing(0.01), rate=1)


async def test_a_name_that_each_simulation_has_is_refused() -> None:
    with pytest.raises(PipelineError, match="step 'client' has the name of a part of each simulation"):
        await simulate(step(one, name="client", num_replicas=1), Profile({"client": 0.1}), rate=1)


async def test_a_row_that_fails_is_raised() -> None:
    """Without rows in the profile steps return None, which a step that computes may not take."""
    pipeline = Pipeline(switch(step(one), {"a": step(other)}))
    with pytest.raises(StepError, match="None"):
        await simulate(pipeline, Profile({"one": 0.01, "other": 0.01}), rate=10, seconds=5)


async def test_cancelling_it_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that simulates sees that nobody waits for it."""
    ended = threading.Event()
    clock = Machine.clock

    @contextmanager
    def watched(machine: Machine) -> Generator[None]:
        try:
            with clock(machine):
                yield
        finally:
            ended.set()

    monkeypatch.setattr(Machine, "clock", watched)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await simulate(one, costing(0.001), callers=64, seconds=1e6)
    assert await asyncio.to_thread(ended.wait, 60)
