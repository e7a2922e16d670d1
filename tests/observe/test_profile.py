"""What is measured of steps and of hops."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stretto import Pipeline, Profile, profile, simulate, step
from stretto.errors import InputError, PipelineError
from tests.benchmarks.programs.ensemble import ensemble
from tests.benchmarks.programs.iris import ROW


def sleepy(x: Any) -> Any:
    time.sleep(0.005)
    return x


async def test_a_step_that_waits_is_seen_to_hold_no_core() -> None:
    held: list[float] = []
    while len(held) < 5 and min(held, default=1.0) >= 0.5:  # what other tests left running here may end meanwhile
        found = await profile(Pipeline(step(sleepy, name="sleepy")), [1], hop=0.001)
        assert found.steps["sleepy"] >= 0.005
        assert found.rows == [1]
        held.append(found.busy["sleepy"])
    assert min(held) < 0.5


async def test_reading_rows_is_measured_by_itself() -> None:
    """A step's own cost is that of rows that are read already: steps that read alike read once."""
    found = await profile(ensemble(), [ROW], hop=0.001)
    alone, together = found.reading["svm"]
    assert 0 < together < alone
    assert found.read("svm", 1) == alone
    assert found.read("svm", 64) == pytest.approx(64 * together)


def test_costs_are_on_the_line_through_one_row_and_sixty_four() -> None:
    found = Profile({"a": 1.0}, {"a": 0.5}, caller=(1.0, 0.25), replica=(1.0, 1.0))
    assert found.step("a", 1) == 1.0
    assert found.step("a", 64) == pytest.approx(32.0)
    assert found.step("a", 127) == pytest.approx(63.0)
    assert found.call(64) == (pytest.approx(16.0), pytest.approx(64.0))
    assert Profile({"a": 1.0}).step("a", 10) == pytest.approx(10.0), "what was measured alone costs that for each row"


async def test_rows_are_needed_and_must_be_right() -> None:
    with pytest.raises(PipelineError, match="at least one row"):
        await profile(ensemble(), [])
    with pytest.raises(InputError):
        await profile(ensemble(), [{"sepal": 1.0}])


@pytest.mark.usefixtures("ray_cluster")
async def test_hops_are_measured_on_the_ray_that_is_there() -> None:
    found = await profile(ensemble(), [ROW])
    assert found.hops[0] <= found.hop <= found.hops[-1]
    assert found.caller is not None
    assert found.replica is not None
    assert 0 < found.caller[1] < found.caller[0] < 1
    assert 0 < found.replica[1] < found.replica[0] < 1
    simulated = await simulate(ensemble(), found, callers=1, seconds=2, cores=2)
    assert simulated.p50 == pytest.approx(found.hop, rel=1.0)
