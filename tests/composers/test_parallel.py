"""What a fan-out gives where a branch fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stretto import Client, Pipeline, composer, parallel, step
from stretto.errors import DeadlineExceeded, InputError, PipelineError, StepError
from stretto.nodes import Within
from stretto.testing.check import check_composer
from stretto_composers import average, median, quorum, stack, vote, weighted


def half(x: float) -> float:
    return x / 2


def invert(x: float) -> float:
    return 1 / x


async def invert_later(x: float) -> float:
    await asyncio.sleep(0)
    return 1 / x


def refuse(x: float) -> float:
    if x < 0:
        raise InputError(f"{x} is negative", "x", "a positive number")
    return x


def low(x: float) -> str:
    return "low"


def high(x: float) -> str:
    return "high"


def sign(x: float) -> str:
    return "low" if 1 / x < 1 else "high"


def three(**options: Any) -> Pipeline[Any, Any]:
    return parallel(half, invert, refuse, **options)


ROWS = [1, 0, -1, 2, 0, 4]
BUILDS: dict[str, Any] = {
    "raise": lambda: three(on_error="raise"),
    "omit": lambda: three(on_error="omit"),
    "a number": lambda: three(on_error=0.5),
    "nothing": lambda: three(on_error=None),
    "a list": lambda: three(on_error=[1, {"a": 2}]),
    "one branch": lambda: parallel(invert, on_error="omit"),
    "some wait": lambda: parallel(invert_later, step(invert, blocking=True), half, on_error="omit"),
    "inside each other": lambda: parallel(a=parallel(half, invert, on_error="omit"), b=invert, on_error=-1),
    "then average": lambda: three(on_error="omit") >> average(),
    "then average of a value": lambda: three(on_error=3) >> average(),
    "then weighted": lambda: three(on_error="omit") >> weighted(weights=[1, 2, 3]),
    "then median": lambda: parallel(invert_later, half, abs, on_error="omit") >> median(),
    "then vote": lambda: parallel(sign, high, step(sign, name="again"), on_error="omit") >> vote(),
    "then vote for a value": lambda: parallel(sign, high, low, on_error="low") >> vote(),
    "then vote, and a refusal": lambda: parallel(refuse, invert, on_error="omit") >> vote(),
    "then quorum": lambda: parallel(sign, low, high, on_error="low") >> quorum(2),
    "all omitted": lambda: parallel(invert, step(invert, name="again"), on_error="omit") >> average(),
    "a function sees it": lambda: three(on_error="omit") >> len,
}


@pytest.mark.parametrize("name", BUILDS)
async def test_it_means_one_thing_alone_and_in_a_batch(name: str) -> None:
    await check_composer(BUILDS[name], ROWS, ways=["local"])


async def test_a_branch_that_failed_is_left_out() -> None:
    async with Client(three(on_error="omit")) as client:
        assert await client.predict_many([2, 0]) == [
            {"half": 1.0, "invert": 0.5, "refuse": 2},
            {"half": 0.0, "refuse": 0},
        ]


async def test_or_has_a_value() -> None:
    async with Client(three(on_error=None)) as client:
        assert await client.predict(0) == {"half": 0.0, "invert": None, "refuse": 0}


async def test_where_all_fail_nothing_is_left() -> None:
    async with Client(parallel(invert, on_error="omit")) as client:
        assert await client.predict(0) == {}


@pytest.mark.parametrize("on_error", ["raise", "omit", 0])
async def test_a_bad_request_stays_refused(on_error: Any) -> None:
    async with Client(three(on_error=on_error)) as client:
        with pytest.raises(InputError, match="-1 is negative"):
            await client.predict(-1)


async def test_each_row_has_a_value_of_its_own() -> None:
    """What a function does to one request's value is not seen by the next."""

    def append(said: dict[str, Any]) -> list[int]:
        said["invert"].append(1)
        return said["invert"]

    async with Client(parallel(invert, on_error=[]) >> append) as client:
        assert await client.predict_many([0, 0]) == [[1], [1]]
        assert await client.predict(0) == [1]


async def test_time_that_is_up_is_no_answer_without_the_late() -> None:
    async def slow(x: float) -> float:
        await asyncio.sleep(60)
        return x

    async with Client(parallel(half, slow, on_error="omit")) as client:
        with pytest.raises(DeadlineExceeded):
            await client.predict(1, timeout=0.05)
        (answer,) = await client.predict_many([1], timeout=0.05, on_error="return")
        assert isinstance(answer, DeadlineExceeded)


async def test_a_branch_with_a_time_of_its_own_is_left_out() -> None:
    @composer
    def soon(x: Any, part: Pipeline) -> Any:
        return Within((x,), body=part.plan(), seconds=0.01)

    async def slow(x: float) -> float:
        await asyncio.sleep(60)
        return x

    async with Client(parallel(half, late=soon(slow), on_error="omit") >> average()) as client:
        assert await client.predict(1) == 0.5


async def test_weights_of_the_others_count() -> None:
    async with Client(three(on_error="omit") >> weighted(weights={"half": 1, "invert": 5, "refuse": 3})) as client:
        assert await client.predict(0) == 0.0
        assert await client.predict(2) == pytest.approx((1 * 1 + 5 * 0.5 + 3 * 2) / 9)


async def test_where_those_that_are_left_weigh_nothing_the_row_fails() -> None:
    async with Client(parallel(half, invert, on_error="omit") >> weighted(weights={"half": 0})) as client:
        assert await client.predict(2) == 0.5
        with pytest.raises(StepError, match=r"the members \['half'\] all weigh nothing"):
            await client.predict(0)


async def test_a_member_left_out_has_no_vote() -> None:
    """With "raise" it could have made a tie; left out, the others decide."""
    members = (high, sign)
    async with Client(parallel(*members, on_error="omit") >> vote()) as client:
        assert await client.predict(0) == "high"
    async with Client(parallel(*members) >> vote()) as client:
        with pytest.raises(StepError, match="step 'sign' failed"):
            await client.predict(0)


async def test_a_value_is_a_vote() -> None:
    async with Client(parallel(high, sign, on_error="apart") >> vote()) as client:
        assert await client.predict(0) == "apart"


async def test_where_no_member_is_left_its_failure_is_the_rows() -> None:
    async with Client(parallel(sign, step(sign, name="again"), on_error="omit") >> vote()) as client:
        with pytest.raises(StepError, match="step 'sign' failed: ZeroDivisionError"):
            await client.predict(0)
    async with Client(parallel(invert, step(invert, name="again"), on_error="omit") >> average()) as client:
        with pytest.raises(StepError, match="no branch of the fan-out has answered"):
            await client.predict(0)


def test_it_prints_as_written() -> None:
    assert repr(parallel(half, on_error="omit")) == "parallel(half, on_error='omit')"
    assert repr(parallel(half, b=half, on_error=None)) == "parallel(half, b=half, on_error=None)"
    printed = repr(parallel(half, b=half, on_error=None).plan())
    assert "parallel  (on error None)\n        ├── half\n        └── b: half" in printed


@pytest.mark.parametrize("part", [half, parallel(half), step(half, name="h")], ids=["function", "fan-out", "step"])
def test_a_branch_can_not_be_given_by_that_name(part: Any) -> None:
    with pytest.raises(PipelineError, match=r"parallel\(on_error=.*step\(fn, name='on_error'\)"):
        parallel(half, on_error=part)


async def test_but_it_can_have_that_name() -> None:
    async with Client(parallel(step(half, name="on_error"))) as client:
        assert await client.predict(1) == {"on_error": 0.5}


def test_a_stack_needs_every_member() -> None:
    with pytest.raises(PipelineError, match="on_error='omit' leaves some out"):
        (parallel(half, invert, on_error="omit") >> stack(len)).plan()
