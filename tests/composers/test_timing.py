"""What composers about time do and when, on a clock that jumps: to the second, and the same every time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto import Client, Pipeline, step
from stretto.errors import BadRows, DeadlineExceeded, InputError, Overloaded, PipelineError, StepError, StrettoError
from stretto.testing import virtual_clock
from stretto.testing.check import check_composer
from stretto_composers import default, fallback, hedge, limit, race, retry, timeout
from stretto_composers._hedge import FEWEST, WINDOW, Latencies


def virtually(main: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await main()

    with virtual_clock() as clock:
        return clock.run(run())


def invert(x: float) -> float:
    return 1 / x


async def invert_later(x: float) -> float:
    await asyncio.sleep(0.001)
    return 1 / x


def refuse(x: float) -> float:
    if x < 0:
        raise InputError(f"{x} is negative; give a positive number")
    return 1 / x


class Part:
    """An asynchronous step that takes `seconds` a call in turn, the last for all that follow, and notes when."""

    __name__ = "part"

    def __init__(self, *seconds: float, fail: int = 0, error: Exception | None = None) -> None:
        self.seconds, self.fail, self.error = seconds or (0.0,), fail, error or ConnectionError("down")
        self.began: list[float] = []
        self.rows: list[Any] = []
        self.cancelled: list[float] = []

    async def __call__(self, x: Any) -> Any:
        number = len(self.began)
        self.began.append(anyio.current_time())
        self.rows.append(x)
        try:
            await anyio.sleep(self.seconds[min(number, len(self.seconds) - 1)])
        except asyncio.CancelledError:
            self.cancelled.append(anyio.current_time())
            raise
        if number < self.fail:
            raise self.error
        return x, number


BUILDS: dict[str, Callable[[], Pipeline[Any, Any]]] = {
    "retry": lambda: retry(invert, 3, backoff=0.001),
    "retry of what waits": lambda: retry(invert_later, backoff=0.001, on="ZeroDivisionError"),
    "retry of what refuses": lambda: retry(refuse, backoff=0.001) >> invert,
    "retry of two": lambda: retry(Pipeline(invert_later) >> refuse, 2, backoff=0.001),
    "retry in a retry": lambda: retry(retry(invert, 2, backoff=0.001), 2, backoff=0.001),
    "timeout": lambda: timeout(invert_later, 30),
    "timeout in a fallback": lambda: fallback(timeout(invert_later, 30), lambda x: "late"),
    "default": lambda: default(invert, {"none": []}),
    "default of what refuses": lambda: default(refuse, None),
    "hedge": lambda: hedge(invert_later, after=0.0005, budget=1.0),
    "hedge of what does not wait": lambda: hedge(invert, after=0.0, budget=1.0),
    "hedge by what is measured": lambda: hedge(refuse, times=3),
    "race": lambda: race(invert_later, invert),
    "all of them": lambda: default(timeout(retry(hedge(invert_later, 0.0005), 2, backoff=0.001), 30), -1) >> invert,
}


@pytest.mark.parametrize("name", BUILDS)
async def test_it_means_one_thing_and_lets_go(name: str) -> None:
    """Answers, failures, cancellation, deadlines, pickles and plans, by the kit."""
    await check_composer(BUILDS[name], [1, -2, 0, 3.5, 0, 1], ways=["local"])


@pytest.mark.parametrize("name", BUILDS)
def test_a_client_lives_through_a_second_event_loop(name: str) -> None:
    client: Client[Any, Any] = Client(BUILDS[name]())

    async def ask() -> Any:
        return await client.predict_many([1, 0, 2], on_error="return")

    first, second = asyncio.run(ask()), asyncio.run(ask())
    assert [repr(each) for each in first] == [repr(each) for each in second]
    asyncio.run(client.aclose())


class TestRetry:
    def test_only_the_rows_that_failed_go_again(self) -> None:
        seen: list[list[float]] = []

        def shaky(column: Any) -> Any:
            seen.append(list(column))
            if len(seen) == 1:
                raise BadRows({i: ConnectionError("down") for i, x in enumerate(column) if x < 0})
            return [x * 10 for x in column]

        part = step(shaky, vectorized=True)
        assert virtually(lambda: Client(retry(part, 3)).predict_many([1, -1, 2, -2])) == [10, -10, 20, -20]
        assert seen == [[1, -1, 2, -2], [1, 2], [-1, -2]]

    def test_pauses_grow_and_are_drawn_whole(self) -> None:
        """Each pause is anything up to twice what the one before could be; together they use the range."""
        part = Part(fail=10**6)
        pipeline = retry(part, 6, backoff=1.0)
        drawn: list[list[float]] = []
        for _ in range(40):
            part.began.clear()
            virtually(lambda: Client(pipeline).predict_many([1], on_error="return"))
            drawn.append([b - a for a, b in zip(part.began, part.began[1:], strict=False)])
        for i, bound in enumerate([1, 2, 4, 8, 16]):
            pauses = [each[i] for each in drawn]
            assert 0 <= min(pauses) < bound / 4
            assert bound / 2 < max(pauses) <= bound

    def test_pauses_are_bounded(self) -> None:
        part = Part(fail=10**6)
        virtually(lambda: Client(retry(part, 2000, backoff=1.0)).predict_many([1], on_error="return"))
        pauses = [b - a for a, b in zip(part.began, part.began[1:], strict=False)]
        assert len(pauses) == 1999
        assert max(pauses) <= 30

    def test_a_pause_that_the_deadline_would_cut_is_not_begun(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(random, "uniform", lambda low, high: high)
        part = Part(1.0, fail=10**6)

        async def main() -> float:
            with pytest.raises(StepError, match="ConnectionError"):
                await Client(retry(part, 10, backoff=2.0)).predict(1, timeout=9.5)
            return anyio.current_time()

        # One second of work, two of pause, one, four, one: then eight would be too long.
        assert virtually(main) == 9.0
        assert part.began == [0.0, 3.0, 8.0]

    @pytest.mark.parametrize(
        ("on", "times"),
        [
            (None, 3),
            ("ConnectionResetError", 3),
            ("ConnectionError", 1),
            (ConnectionError, 3),
            (OSError, 3),
            (Exception, 3),
            (ValueError, 1),
            (StepError, 3),
            ([ValueError, "ConnectionResetError"], 3),
            (lambda error: "peer" in error.detail, 3),
            (lambda error: "moon" in error.detail, 1),
        ],
    )
    def test_on_says_which_failures_are_worth_it(self, on: Any, times: int) -> None:
        part = Part(fail=10**6, error=ConnectionResetError("by peer"))
        virtually(lambda: Client(retry(part, 3, on=on)).predict_many([1], on_error="return"))
        assert len(part.began) == times

    def test_a_failure_from_elsewhere_is_known_by_its_name(self) -> None:
        """Of a failure in another process there is no cause, only the class's name."""
        asked: list[int] = []

        async def far(column: Any) -> Any:
            asked.append(1)
            raise ConnectionResetError

        part = retry(step(far, name="far", vectorized=True), 3, on=OSError)

        async def main() -> None:
            async with Client(part) as client:
                await client.predict_many([1], on_error="return")

        virtually(main)
        assert len(asked) == 3

    def test_bad_input_is_never_asked_again(self) -> None:
        part = Part(fail=10**6, error=InputError("no"))
        (answer,) = virtually(lambda: Client(retry(part, 3, on=Exception)).predict_many([1], on_error="return"))
        assert type(answer) is InputError
        assert len(part.began) == 1

    def test_it_waits_as_long_as_an_overloaded_part_asks_for(self) -> None:
        part = Part(100.0, 0.0)

        async def main() -> Any:
            pipeline = retry(limit(part, 1, queue=0), 5, backoff=0.0)
            async with Client(pipeline) as client:
                first = client.submit("first")
                await anyio.sleep(98.5)
                return await client.predict("second"), await first

        assert virtually(main) == (("second", 1), ("first", 0))
        assert part.began == [0.0, 100.5]

    def test_the_error_is_that_of_the_last_attempt(self) -> None:
        numbers = iter(range(10))

        def fails(x: Any) -> Any:
            raise ValueError(next(numbers))

        with pytest.raises(StepError, match="step 'retry/fails' failed: ValueError: 3"):
            virtually(lambda: Client(retry(fails, 4)).predict(1))

    @given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(1, 4))
    def test_each_row_is_asked_as_often_as_it_needs(self, needs: list[int], times: int) -> None:
        """A row that fails `n` times is asked n + 1 times, or `times` times, whatever its neighbours need."""
        asked = [0] * len(needs)

        async def part(i: int) -> int:
            asked[i] += 1
            if asked[i] <= needs[i]:
                raise ConnectionError
            return i

        answers = virtually(lambda: Client(retry(part, times)).predict_many(list(range(len(needs))), on_error="return"))
        assert asked == [min(need + 1, times) for need in needs]
        assert [not isinstance(each, StrettoError) for each in answers] == [need < times for need in needs]


class TestTimeout:
    def test_it_ends_at_its_moment_and_cancels_the_work(self) -> None:
        part = Part(60.0)

        async def main() -> float:
            with pytest.raises(DeadlineExceeded, match="in step 'part'"):
                await Client(timeout(part, 2.5)).predict(1)
            return anyio.current_time()

        assert virtually(main) == 2.5
        assert part.cancelled == [2.5]

    def test_in_a_batch_only_the_late_rows_fail(self) -> None:
        async def part(x: float) -> float:
            await anyio.sleep(x)
            return x

        answers = virtually(lambda: Client(timeout(part, 3)).predict_many([1, 5, 2, 9], on_error="return"))
        assert [type(each) for each in answers] == [int, DeadlineExceeded, int, DeadlineExceeded]

    @pytest.mark.parametrize(("outer", "inner", "own"), [(1, 5, 9), (5, 1, 9), (9, 5, 1)])
    def test_the_earliest_deadline_is_kept(self, outer: float, inner: float, own: float) -> None:
        async def main() -> float:
            with pytest.raises(DeadlineExceeded):
                await Client(timeout(timeout(Part(60), inner), outer)).predict(1, timeout=own)
            return anyio.current_time()

        assert virtually(main) == 1.0


class TestDefault:
    def test_it_stands_in_for_failures_and_lateness_alone(self) -> None:
        pipeline = default(timeout(Part(5.0, 0.0, fail=2), 1), None)
        assert virtually(lambda: Client(pipeline).predict_many([1, 2, 3])) == [None, None, (3, 2)]
        with pytest.raises(InputError):
            virtually(lambda: Client(default(refuse, None)).predict(-1))

    def test_there_is_none_once_the_request_s_time_is_up(self) -> None:
        with pytest.raises(DeadlineExceeded):
            virtually(lambda: Client(default(Part(5.0), None)).predict(1, timeout=1))

    def test_each_row_has_its_own(self) -> None:
        first, second = virtually(lambda: Client(default(invert, {"a": []})).predict_many([0, 0]))
        assert first == second == {"a": []}
        first["a"].append(1)
        assert second == {"a": []}

    def test_several_stand_in_one_pipeline(self) -> None:
        pipeline = default(invert, 1) >> default(invert, 2)
        assert virtually(lambda: Client(pipeline).predict_many([0, 2])) == [1, 2]


class TestHedge:
    def test_a_second_attempt_begins_when_the_first_is_late_and_the_loser_is_cancelled(self) -> None:
        part = Part(60.0, 1.0)

        async def main() -> Any:
            async with Client(hedge(part, after=2.0)) as client:
                return await client.predict("x"), anyio.current_time()

        assert virtually(main) == (("x", 1), 3.0)
        assert part.began == [0.0, 2.0]
        assert part.cancelled == [3.0]

    def test_one_that_answers_in_time_is_asked_once(self) -> None:
        part = Part(1.0)
        virtually(lambda: Client(hedge(part, after=2.0)).predict(1))
        assert part.began == [0.0]

    def test_a_failure_in_time_is_the_answer(self) -> None:
        part = Part(1.0, fail=1)
        with pytest.raises(StepError, match="step 'hedge/part' failed: ConnectionError"):
            virtually(lambda: Client(hedge(part, after=2.0)).predict(1))
        assert part.began == [0.0]

    def test_a_late_failure_waits_for_the_other_attempt(self) -> None:
        part = Part(3.0, 5.0, fail=1)
        assert virtually(lambda: Client(hedge(part, after=2.0)).predict("x")) == ("x", 1)

    def test_where_all_fail_the_error_is_that_of_the_first(self) -> None:
        numbers = iter(range(10))

        async def part(x: Any) -> Any:
            number = next(numbers)
            await anyio.sleep(9 - number * 5)
            raise ValueError(number)

        with pytest.raises(StepError, match="ValueError: 0"):
            virtually(lambda: Client(hedge(part, after=1.0)).predict(1))

    def test_there_may_be_more_than_two_attempts(self) -> None:
        part = Part(60.0, 60.0, 60.0, 1.0)
        pipeline = hedge(part, after=2.0, budget=1.0, times=4)

        async def main() -> None:
            async with Client(pipeline) as client:
                for _ in range(3):
                    with pytest.raises(DeadlineExceeded):
                        await client.predict(1, timeout=1)
                part.began.clear()
                await client.predict(1)

        virtually(main)
        assert [round(each - part.began[0], 9) for each in part.began] == [0, 2, 4, 6]

    @pytest.mark.parametrize("budget", [0.05, 0.1, 0.5, 1.0])
    def test_the_budget_bounds_what_is_asked_again(self, budget: float) -> None:
        """Of a thousand requests that are all late, so many are hedged, and not one more than the share and a few."""
        part = Part(10.0)

        async def main() -> None:
            async with Client(hedge(part, after=1.0, budget=budget)) as client:
                for x in range(1000):
                    await client.predict(x)

        virtually(main)
        assert 1000 * budget <= len(part.began) - 1000 <= 1000 * budget + 1

    def test_a_batch_that_is_asked_again_is_owed(self) -> None:
        part = Part(10.0)

        async def main() -> None:
            async with Client(hedge(part, after=1.0, budget=0.1)) as client:
                for _ in range(100):
                    await client.predict_many(list(range(100)))

        virtually(main)
        assert 1000 <= len(part.began) - 10_000 <= 1100

    def test_it_hedges_what_is_slower_than_its_like(self) -> None:
        """By p95: nothing until enough is known; then what takes longer than nineteen of twenty did."""
        began: list[float] = []

        async def part(x: Any) -> Any:
            began.append(anyio.current_time())
            await anyio.sleep(2.0 if x != "slow" else 1.0 if len(began) > FEWEST + 1 else 60.0)
            return x

        async def main() -> float:
            async with Client(hedge(part, "p95")) as client:
                for x in range(FEWEST):
                    await client.predict(x)
                assert len(began) == FEWEST
                start = anyio.current_time()
                await client.predict("slow")
                return anyio.current_time() - start

        assert virtually(main) == 3.0

    def test_fast_failures_do_not_make_it_impatient(self) -> None:
        part = Part(*([0.0] * 50), 1.0, fail=50)

        async def main() -> None:
            async with Client(hedge(part, "p95")) as client:
                for x in range(60):
                    await client.predict_many([x], on_error="skip")

        virtually(main)
        assert len(part.began) == 60


@given(st.lists(st.floats(0, 100), min_size=FEWEST, max_size=2 * WINDOW), st.floats(0.1, 99.9))
def test_a_percentile_is_that_of_the_latest(durations: list[float], percent: float) -> None:
    latencies = Latencies()
    for each in durations:
        latencies.note(each)
    latest = sorted(durations[-WINDOW:])
    assert latencies.percentile(percent) == latest[math.ceil(len(latest) * percent / 100) - 1]


def test_a_race_ends_when_the_first_succeeds() -> None:
    slow, fast, failing = Part(60.0), Part(2.0), Part(1.0, fail=1)
    parts = {"slow": slow, "fast": fast, "failing": failing}

    async def main() -> Any:
        async with Client(race(*[step(part, name=name) for name, part in parts.items()])) as client:
            return await client.predict("x"), anyio.current_time()

    assert virtually(main) == (("x", 0), 2.0)
    assert slow.cancelled == [2.0]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: retry(invert, 0), "times=0: it takes a whole number, at least 1"),
        (lambda: retry(invert, 2.5), "times=2.5"),
        (lambda: retry(invert, True), "times=True"),
        (lambda: retry(invert, backoff=-1), "backoff=-1: it takes seconds, at least 0"),
        (lambda: retry(invert, backoff=math.inf), "backoff=inf"),
        (lambda: retry(invert, on=5), "on=5: it takes the name of an exception's class"),
        (lambda: retry(invert, on=int), "on=<class 'int'>"),
        (lambda: retry(invert, on=KeyboardInterrupt), "on=<class 'KeyboardInterrupt'>"),
        (lambda: retry(invert, on=""), "on=''"),
        (lambda: retry(invert, on="not a name"), "on='not a name'"),
        (lambda: retry(invert, on=[]), r"on=\[\]"),
        (lambda: retry(invert, on=[ValueError, None]), "on="),
        (lambda: timeout(invert, 0), "seconds=0: it takes seconds, more than 0"),
        (lambda: timeout(invert, -1), "seconds=-1"),
        (lambda: timeout(invert, math.nan), "seconds=nan"),
        (lambda: timeout(invert, "1"), "seconds='1'"),
        (lambda: hedge(invert, after=-0.1), "after=-0.1: it takes seconds, at least 0"),
        (lambda: hedge(invert, after="p200"), "after='p200': it takes seconds, or a percentile"),
        (lambda: hedge(invert, after="p0"), "after='p0'"),
        (lambda: hedge(invert, after="95"), "after='95'"),
        (lambda: hedge(invert, budget=0), "budget=0: it takes a fraction, above 0 and up to 1"),
        (lambda: hedge(invert, budget=1.1), "budget=1.1"),
        (lambda: hedge(invert, times=1), "times=1: it takes a whole number, at least 2"),
    ],
)
def test_what_makes_no_sense_is_refused_while_building(build: Callable[[], Any], says: str) -> None:
    with pytest.raises(PipelineError, match=says):
        build()


def test_they_print_as_written_and_say_their_settings_in_the_plan() -> None:
    pipeline = retry(hedge(invert, "p99", budget=0.2), 5, on=[ConnectionError, "Odd"])
    assert repr(pipeline) == "retry(hedge(invert, 'p99', budget=0.2), 5, on=[ConnectionError, 'Odd'])"
    assert repr(retry(invert, on=OSError)) == "retry(invert, on=OSError)"
    plan = repr(pipeline.plan())
    assert "Again(times=5, backoff=0.1, on=(ConnectionError, 'Odd'))" in plan
    assert "Hedge(after='p99', budget=0.2, times=2)" in plan
    assert "0x" not in plan


def test_the_plan_counts_their_handle_calls() -> None:
    hosted = step(invert, name="hosted", num_replicas=2)
    for build, calls in [
        (retry(hosted, 3), (1, 3)),
        (hedge(hosted), (1, 2)),
        (retry(hedge(hosted, times=3), 2), (1, 6)),
        (timeout(hosted, 1), (1, 1)),
        (default(hosted, 0), (1, 1)),
    ]:
        assert build.plan().explain().calls == calls
    assert Overloaded("x").retry_after == 1.0
