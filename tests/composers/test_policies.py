"""What composers about load and failure remember: caches, limits, circuits and shadows, on a clock that jumps."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import pickle
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto import Client, Pipeline, parallel, step
from stretto.errors import DeadlineExceeded, InputError, Overloaded, PipelineError, StepError, StrettoError
from stretto.testing import virtual_clock
from stretto.testing.check import check_composer
from stretto_composers import Circuit, Report, cache, circuit_breaker, limit, retry, shadow, timeout
from stretto_composers._policies.keys import key_of
from tests.composers.test_timing import Part, invert, invert_later, refuse, virtually

BUILDS: dict[str, Callable[[], Pipeline[Any, Any]]] = {
    "cache": lambda: cache(invert),
    "cache of what waits": lambda: cache(invert_later, ttl=60, size=2),
    "cache of what refuses": lambda: cache(refuse, size=1) >> invert,
    "cache of a fan-out": lambda: cache(parallel(a=invert, b=invert_later)),
    "limit": lambda: limit(invert, 2),
    "limit of what waits": lambda: limit(invert_later, 1) >> invert,
    "limit without a queue": lambda: limit(refuse, 10, queue=0),
    "circuit_breaker": lambda: circuit_breaker(invert, errors=1000),
    "circuit_breaker of what waits": lambda: circuit_breaker(Pipeline(invert_later) >> refuse, errors=1000),
    "shadow": lambda: shadow(invert, lambda x: 1 / x),
    "shadow that disagrees": lambda: shadow(invert_later, refuse) >> invert,
    "shadow that nobody sees": lambda: shadow(invert, invert_later, sample=0.0),
    "all of them": lambda: shadow(cache(limit(circuit_breaker(invert_later, errors=1000), 2)), invert) >> invert,
}


@pytest.mark.parametrize("name", BUILDS)
async def test_it_means_one_thing_and_lets_go(name: str) -> None:
    """Answers, failures, cancellation, deadlines, pickles and plans, by the kit."""
    await check_composer(BUILDS[name], [1, -2, 0, 3.5, 0, 1], ways=["local"])


@pytest.mark.parametrize("name", BUILDS)
def test_a_client_lives_through_a_second_event_loop(name: str) -> None:
    """Also where the first one ended while rows were waiting in it."""
    client: Client[Any, Any] = Client(BUILDS[name]())

    async def ask() -> Any:
        return await client.predict_many([1, 0, 2], on_error="return")

    async def leave() -> None:
        for x in range(10):
            client.submit(x)
        await asyncio.sleep(0)

    first, _, second = asyncio.run(ask()), asyncio.run(leave()), asyncio.run(ask())
    assert [repr(each) for each in first] == [repr(each) for each in second]
    asyncio.run(client.aclose())


class TestCache:
    def test_an_answer_is_given_again_until_its_time_is_up(self) -> None:
        part = Part(1.0)

        async def main() -> Any:
            async with Client(cache(part, ttl=10)) as client:
                first = await client.predict("x")
                await anyio.sleep(9.5)
                assert await client.predict("x") == first
                await anyio.sleep(1.0)
                return first, await client.predict("x")

        assert virtually(main) == (("x", 0), ("x", 1))
        assert part.began == [0.0, 11.5]

    def test_the_answers_asked_for_least_lately_go_first(self) -> None:
        part = Part()

        async def main() -> None:
            async with Client(cache(part, size=2)) as client:
                for x in ["a", "b", "a", "c", "a", "b"]:
                    await client.predict(x)

        virtually(main)
        assert part.rows == ["a", "b", "c", "b"]

    def test_equal_rows_in_flight_are_asked_once(self) -> None:
        """In one batch, in several requests, and both."""
        part = Part(1.0)

        async def main() -> Any:
            async with Client(cache(part)) as client:
                many = client.predict_many(["a", "b", "a"]), client.predict_many(["b", "c"]), client.predict("c")
                return await asyncio.gather(*many)

        answers = virtually(main)
        assert sorted(part.rows) == ["a", "b", "c"]
        assert [each[0] for each in (*answers[0], *answers[1], answers[2])] == ["a", "b", "a", "b", "c", "c"]
        assert max(part.began) == 0.0

    def test_a_failure_is_told_to_all_who_wait_and_not_kept(self) -> None:
        part = Part(1.0, fail=1)

        async def main() -> Any:
            async with Client(cache(part)) as client:
                errors = await asyncio.gather(*[client.predict("x") for _ in range(3)], return_exceptions=True)
                return errors, await client.predict("x")

        errors, answer = virtually(main)
        assert [each.args for each in errors] == [("cache/part", "ConnectionError", "down")] * 3
        assert len({id(each) for each in errors}) == 3
        assert answer == ("x", 1)

    def test_when_who_asked_is_cancelled_another_asks(self) -> None:
        part = Part(10.0)

        async def main() -> Any:
            async with Client(cache(part)) as client:
                calls = [client.submit("x") for _ in range(4)]
                await anyio.sleep(3)
                calls[0].cancel()
                await anyio.sleep(3)
                calls[1].cancel()
                return await calls[2], await calls[3], anyio.current_time()

        assert virtually(main) == (("x", 2), ("x", 2), 16.0)
        assert part.cancelled == [3.0, 6.0]

    def test_when_all_are_cancelled_the_work_is(self) -> None:
        part = Part(10.0)

        async def main() -> None:
            async with Client(cache(part)) as client:
                calls = [client.submit("x") for _ in range(4)]
                await anyio.sleep(3)
                for call in calls:
                    call.cancel()
                await anyio.sleep(1)

        virtually(main)
        assert part.cancelled[0] == 3.0
        assert len(part.cancelled) == len(part.began)

    def test_when_the_time_of_who_asked_is_up_another_asks(self) -> None:
        part = Part(10.0)

        async def main() -> Any:
            async with Client(cache(part)) as client:
                hasty, patient = client.submit("x", timeout=2), client.submit("x", timeout=20)
                with pytest.raises(DeadlineExceeded):
                    await hasty
                return await patient, anyio.current_time()

        assert virtually(main) == (("x", 1), 12.0)

    def test_who_waits_keeps_its_own_deadline(self) -> None:
        async def main() -> Any:
            async with Client(cache(Part(10.0))) as client:
                first = client.submit("x")
                await anyio.lowlevel.checkpoint()
                with pytest.raises(DeadlineExceeded, match="in cache, while another request ran an equal row: allow"):
                    await client.predict("x", timeout=2)
                assert anyio.current_time() == 2.0
                return await first

        assert virtually(main) == ("x", 0)

    def test_a_part_that_is_late_by_itself_is_late_for_all(self) -> None:
        part = Part(10.0)

        async def main() -> None:
            async with Client(cache(timeout(part, 1))) as client:
                calls = [client.predict("x", timeout=60) for _ in range(3)]
                errors = await asyncio.gather(*calls, return_exceptions=True)
                assert [type(each) for each in errors] == [DeadlineExceeded] * 3

        virtually(main)
        assert len(part.began) == 1

    def test_what_is_given_out_can_be_changed(self) -> None:
        async def main() -> Any:
            async with Client(cache(lambda x: {"list": [x]})) as client:
                for _ in range(2):
                    first, second = await client.predict_many([1, 1])
                    first["list"].append("mine")
                    assert second == {"list": [1]}
                return await client.predict(1)

        assert virtually(main) == {"list": [1]}

    def test_key_says_what_of_a_row_matters(self) -> None:
        part = Part()
        pipeline = cache(part, key=lambda row: row["id"])
        rows = [{"id": 1, "at": {1}}, {"id": 1, "at": {2}}, {"id": 2, "at": {3}}]
        virtually(lambda: Client(pipeline).predict_many(rows))
        assert len(part.rows) == 2

    def test_a_row_that_can_be_no_key_fails_and_is_told_so(self) -> None:
        answers = virtually(lambda: Client(cache(len)).predict_many([{1}, [1, 2]], on_error="return"))
        assert answers[1] == 2
        assert answers[0].message == (
            "step 'cache' failed: TypeError: unhashable type: 'set'; "
            "give cache(key=...) a function that makes something hashable of a row"
        )

    def test_a_pickled_one_remembers_nothing(self) -> None:
        part = Part()
        pipeline = cache(part)

        async def main() -> None:
            await Client(pipeline).predict("x")
            copy = pickle.loads(cloudpickle.dumps(pipeline))
            (around,) = [node for node in copy.plan().order if hasattr(node, "policy")]
            assert len(around.policy.answers) == 0

        virtually(main)

    @given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 6))
    def test_a_row_is_asked_once_while_it_is_kept(self, rows: list[int], size: int) -> None:
        """As by functools.lru_cache, row for row; and all answers are right."""
        part = Part()
        known: list[int] = []
        like = functools.lru_cache(size)(known.append)

        async def main() -> None:
            async with Client(cache(part, size=size)) as client:
                for x in rows:
                    like(x)
                    assert (await client.predict(x))[0] == x

        virtually(main)
        assert part.rows == known


class TestKeys:
    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ({"a": 1, "b": [2, {"c": 3}]}, {"b": [2, {"c": 3}], "a": 1}),
            (np.arange(4.0), np.arange(4.0)),
            (np.arange(8.0)[::2], np.arange(0.0, 8.0, 2.0)),
            (math.nan, float("nan")),
            (np.array(["a", None], dtype=object), np.array(["a", None], dtype=object)),
            (np.float32(1.5), np.float32(1.5)),
        ],
    )
    def test_rows_that_can_t_be_told_apart_are_one(self, a: Any, b: Any) -> None:
        assert key_of(a) == key_of(b)
        assert hash(key_of(a)) == hash(key_of(b))

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (1, 1.0),
            (1, True),
            (0.0, -0.0),
            ([1, 2], (1, 2)),
            ([1, 2], [2, 1]),
            ("1", 1),
            (b"a", "a"),
            (None, 0),
            ({"a": None}, {}),
            (np.arange(4.0), np.arange(4)),
            (np.arange(4.0), np.arange(4.0).reshape(2, 2)),
            (np.array([1, 1.0], dtype=object), np.array([1, 1], dtype=object)),
            (np.arange(2.0), [0.0, 1.0]),
            (np.float32(1.0), 1.0),
            ([[1], 2], [1, [2]]),
        ],
    )
    def test_rows_that_can_be_told_apart_are_two(self, a: Any, b: Any) -> None:
        assert key_of(a) != key_of(b)


class TestLimit:
    @given(
        st.lists(st.integers(1, 7), min_size=1, max_size=8),
        st.integers(1, 5),
        st.lists(st.floats(0.5, 3), min_size=1, max_size=5),
    )
    def test_no_more_rows_are_under_way_than_it_says(self, batches: list[int], n: int, seconds: list[float]) -> None:
        """However many requests bring however many rows; and as many are, while there are rows."""
        part = Part(*seconds)
        most = now = 0

        async def counted(x: Any) -> Any:
            nonlocal most, now
            now += 1
            most = max(most, now)
            try:
                return await part(x)
            finally:
                now -= 1

        async def main() -> None:
            async with Client(limit(counted, n)) as client:
                answers = await asyncio.gather(*[client.predict_many([i] * size) for i, size in enumerate(batches)])
                for i, (some, size) in enumerate(zip(answers, batches, strict=True)):
                    assert [x for x, _ in some] == [i] * size

        virtually(main)
        assert most <= n
        assert most == min(n, sum(batches))

    def test_who_waits_too_long_is_late_and_was_never_asked(self) -> None:
        part = Part(10.0)

        async def main() -> Any:
            async with Client(limit(part, 1)) as client:
                first = client.submit("first")
                await anyio.lowlevel.checkpoint()
                with pytest.raises(DeadlineExceeded, match=r"in front of limit\(1\)"):
                    await client.predict("second", timeout=3)
                assert anyio.current_time() == 3.0
                return await first

        assert virtually(main) == ("first", 0)
        assert part.rows == ["first"]

    def test_a_cancelled_row_gives_its_place_or_its_turn_away(self) -> None:
        part = Part(10.0)

        async def main() -> Any:
            async with Client(limit(part, 1)) as client:
                calls = [client.submit(i) for i in range(4)]
                await anyio.sleep(1)
                calls[1].cancel()
                await anyio.sleep(1)
                calls[0].cancel()
                return await calls[2], await calls[3], anyio.current_time()

        assert virtually(main) == ((2, 1), (3, 2), 22.0)

    def test_a_full_queue_is_told_at_once(self) -> None:
        part = Part(1.0)

        async def main() -> Any:
            async with Client(limit(part, 2, queue=3)) as client:
                return await asyncio.gather(*[client.predict(i) for i in range(7)], return_exceptions=True)

        answers = virtually(main)
        assert [isinstance(each, Overloaded) for each in answers] == [False] * 5 + [True] * 2
        assert "3 rows wait in front of limit(2); try again later" in str(answers[-1])

    def test_a_batch_is_let_in_whole_or_not_at_all(self) -> None:
        part = Part(1.0)

        async def main() -> Any:
            async with Client(limit(part, 2, queue=3)) as client:
                first = asyncio.create_task(client.predict_many(list(range(50))))
                await anyio.sleep(0.5)
                second = await client.predict_many([1, 2], on_error="return")
                return await first, second

        first, second = virtually(main)
        assert len(first) == 50
        assert [type(each) for each in second] == [Overloaded] * 2

    def test_without_a_queue_it_is_free_or_full(self) -> None:
        async def main() -> Any:
            async with Client(limit(Part(1.0), 1, queue=0)) as client:
                first = client.submit(1)
                await anyio.sleep(0.5)
                with pytest.raises(Overloaded):
                    await client.predict(2)
                await first
                return await client.predict(3)

        assert virtually(main) == (3, 1)


class TestGuard:
    def test_it_opens_tries_and_closes(self, caplog: pytest.LogCaptureFixture) -> None:
        """So many failures open it; while it is open nothing is asked; one trial decides what is next."""
        part, circuit = Part(0.1, fail=5), Circuit()
        pipeline = circuit_breaker(part, errors=3, window=10, cooldown=5, circuit=circuit)

        async def main() -> None:
            async with Client(pipeline) as client:
                for _ in range(3):
                    assert circuit.state == "closed"
                    with pytest.raises(StepError):
                        await client.predict("x")
                assert circuit.state == "open"
                await anyio.sleep(2)
                with pytest.raises(
                    Overloaded, match="circuit_breaker of 'part': the circuit is open; try again in 3 s"
                ) as open_:
                    await client.predict("x")
                assert open_.value.retry_after == pytest.approx(3.0)
                for _ in range(2):
                    await anyio.sleep(5)
                    trial = client.submit("x")
                    await anyio.sleep(0.05)
                    assert circuit.state == "half-open"
                    with pytest.raises(Overloaded, match="half-open"):
                        await client.predict("x")
                    with pytest.raises(StepError):
                        await trial
                    assert circuit.state == "open"
                await anyio.sleep(5)
                assert await client.predict("x") == ("x", 5)
                assert circuit.state == "closed"

        with caplog.at_level(logging.WARNING, "stretto.circuit_breaker"):
            virtually(main)
        assert len(part.began) == 6
        assert [record.getMessage() for record in caplog.records] == [
            "circuit_breaker of 'part': 3 of 3 rows failed; the circuit is open for 5 s",
            "circuit_breaker of 'part': 1 of 1 rows failed; the circuit is open for 5 s",
            "circuit_breaker of 'part': 1 of 1 rows failed; the circuit is open for 5 s",
            "circuit_breaker of 'part': the circuit is closed again",
        ]

    def test_failures_that_are_long_ago_do_not_count(self) -> None:
        part, circuit = Part(fail=1000), Circuit()

        async def main() -> None:
            async with Client(circuit_breaker(part, errors=3, window=10, circuit=circuit)) as client:
                for _ in range(20):
                    await client.predict_many(["x"], on_error="skip")
                    await anyio.sleep(5.1)

        virtually(main)
        assert circuit.state == "closed"

    @pytest.mark.parametrize(("failing", "state"), [(4, "closed"), (5, "open"), (20, "open")])
    def test_many_failures_among_many_more_successes_are_normal(self, failing: int, state: str) -> None:
        circuit = Circuit()
        rows = [0] * failing + [1] * 5
        virtually(
            lambda: Client(circuit_breaker(invert, errors=3, circuit=circuit)).predict_many(rows, on_error="return")
        )
        assert circuit.state == state

    def test_bad_input_is_no_failure(self) -> None:
        circuit = Circuit()
        pipeline = circuit_breaker(refuse, errors=1, circuit=circuit)
        answers = virtually(lambda: Client(pipeline).predict_many([-1] * 9, on_error="return"))
        assert {type(each) for each in answers} == {InputError}
        assert circuit.state == "closed"

    def test_a_trial_that_is_cancelled_leaves_the_next_one_to_try(self) -> None:
        part, circuit = Part(1.0, fail=1), Circuit()

        async def main() -> Any:
            async with Client(circuit_breaker(part, errors=1, cooldown=5, circuit=circuit)) as client:
                await client.predict_many(["x"], on_error="skip")
                await anyio.sleep(6)
                trial = client.submit("x")
                await anyio.sleep(0.5)
                trial.cancel()
                await anyio.lowlevel.checkpoint()
                assert circuit.state == "half-open"
                return await client.predict("x")

        assert virtually(main) == ("x", 2)
        assert circuit.state == "closed"

    def test_guards_may_share_a_circuit_also_when_pickled(self) -> None:
        circuit = Circuit()
        pipeline = circuit_breaker(invert, errors=1, circuit=circuit) >> circuit_breaker(refuse, circuit=circuit)
        copy = pickle.loads(cloudpickle.dumps(pipeline))
        first, second = (node.policy.circuit for node in copy.plan().order if hasattr(node, "policy"))
        assert first is second is not circuit
        assert first.state == "closed"

    def test_a_retry_waits_for_the_circuit(self) -> None:
        part = Part(fail=1)
        pipeline = retry(circuit_breaker(part, errors=1, cooldown=20), 3, backoff=0.0)

        async def main() -> Any:
            return await Client(pipeline).predict("x"), anyio.current_time()

        assert virtually(main) == (("x", 1), 20.0)


class TestShadow:
    def test_it_counts_what_differs_and_keeps_examples(self, caplog: pytest.LogCaptureFixture) -> None:
        report = Report()
        pipeline = shadow(abs, step(lambda x: 1 // x * 0 + x, name="other"), report=report)

        async def main() -> Any:
            async with Client(pipeline) as client:
                answers = await client.predict_many([1, -2, 0, 3, -4])
                await anyio.sleep(1)
                return answers

        with caplog.at_level(logging.WARNING, "stretto.shadow"):
            assert virtually(main) == [1, 2, 0, 3, 4]
        assert repr(report) == "Report(rows=5, disagreed=2, failed=1, dropped=0)"
        assert report.agreement == 0.5
        assert [(each.row, each.answer) for each in report.examples] == [(-2, 2), (0, 0), (-4, 4)]
        failed = report.examples[1].candidate
        assert isinstance(failed, StepError)
        assert failed.step == "shadow/timeout/other"
        assert [record.getMessage() for record in caplog.records] == [
            "shadow: of 2 rows 'other' disagreed on 1 and failed on 0",
            "shadow: of 3 rows 'other' disagreed on 1 and failed on 1",
        ]

    def test_it_neither_delays_nor_fails_the_answer(self) -> None:
        part, candidate, report = Part(1.0), Part(60.0), Report()

        async def main() -> Any:
            async with Client(shadow(part, candidate, report=report)) as client:
                answer = await client.predict("x"), anyio.current_time()
                await anyio.sleep(60)
                return answer

        assert virtually(main) == (("x", 0), 1.0)
        assert candidate.cancelled == [11.0]
        assert repr(report) == "Report(rows=1, disagreed=0, failed=1, dropped=0)"
        assert isinstance(report.examples[0].candidate, DeadlineExceeded)

    def test_under_load_it_is_what_goes_first(self) -> None:
        report = Report()

        async def main() -> None:
            async with Client(shadow(Part(1.0), Part(5.0), report=report)) as client:
                await asyncio.gather(*[client.predict(i) for i in range(30)])
                await anyio.sleep(10)

        virtually(main)
        assert (report.rows, report.dropped) == (16, 14)

    def test_rows_that_are_answered_all_at_once_are_looked_at_or_counted(self) -> None:
        report = Report()

        async def main() -> None:
            async with Client(shadow(abs, Part(1.0), report=report, compare=lambda a, b: True)) as client:
                await asyncio.gather(*[client.predict(i) for i in range(200)])
                await anyio.sleep(5)

        virtually(main)
        assert report.rows + report.dropped == 200
        assert report.rows >= 16

    def test_it_is_not_given_what_the_part_failed_on(self) -> None:
        report, candidate = Report(), Part()

        async def main() -> None:
            async with Client(shadow(invert, candidate, report=report)) as client:
                await client.predict_many([0, 1, 0, 2], on_error="return")
                await anyio.sleep(1)

        virtually(main)
        assert candidate.rows == [1, 2]

    @pytest.mark.parametrize(("sample", "least", "most"), [(0.0, 0, 0), (0.25, 180, 320), (1.0, 1000, 1000)])
    def test_a_sample_is_that_share_of_the_rows(self, sample: float, least: int, most: int) -> None:
        report = Report()

        async def main() -> None:
            async with Client(shadow(abs, abs, sample=sample, report=report)) as client:
                await client.predict_many(range(1000))
                await anyio.sleep(1)

        virtually(main)
        assert least <= report.rows <= most
        assert report.disagreed == report.failed == 0

    def test_compare_is_given_both_answers(self) -> None:
        given_: list[Any] = []
        report = Report()

        def close(a: float, b: float) -> bool:
            given_.append((a, b))
            if a == 3:
                raise ValueError("can't say")
            return abs(a - b) < 0.5

        async def main() -> None:
            pipeline = shadow(abs, lambda x: x + 0.25, compare=close, report=report)
            async with Client(pipeline) as client:
                await client.predict_many([1, -2, 3])
                await anyio.sleep(1)

        virtually(main)
        assert given_ == [(1, 1.25), (2, -1.75), (3, 3.25)]
        assert repr(report) == "Report(rows=3, disagreed=1, failed=1, dropped=0)"

    def test_the_candidate_sees_rows_in_the_form_they_came_in(self) -> None:
        forms: list[Any] = []

        def sums(column: Any) -> Any:
            forms.append((type(column), column.shape))
            return np.asarray(column).sum(axis=1)

        part, other = step(sums, name="a", vectorized=True), step(sums, name="b", vectorized=True)
        report = Report()

        async def main() -> None:
            async with Client(shadow(part, other, report=report)) as client:
                await client.predict_many(np.ones((5, 3)))
                await anyio.sleep(1)

        virtually(main)
        assert forms == [(np.ndarray, (5, 3))] * 2
        assert (report.rows, report.disagreed) == (5, 0)

    def test_examples_are_bounded_and_arrays_compared(self) -> None:
        report = Report()

        async def main() -> None:
            pipeline = shadow(lambda x: np.full(3, x), lambda x: np.full(3, x % 2), report=report)
            async with Client(pipeline) as client:
                await client.predict_many(list(range(100)))
                await anyio.sleep(1)

        virtually(main)
        assert (report.rows, report.disagreed) == (100, 98)
        assert [each.row for each in report.examples] == list(range(80, 100))

    def test_a_pickled_report_begins_anew(self) -> None:
        report = Report(rows=5)
        assert repr(pickle.loads(pickle.dumps(report))) == repr(Report())


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: cache(invert, size=0), "size=0: it takes a whole number, at least 1"),
        (lambda: cache(invert, ttl=0), "ttl=0: it takes seconds, more than 0"),
        (lambda: cache(invert, ttl=-1), "ttl=-1"),
        (lambda: cache(invert, key="id"), "key='id': it takes a function"),
        (lambda: limit(invert, 0), "n=0: it takes a whole number, at least 1"),
        (lambda: limit(invert, 1.5), "n=1.5"),
        (lambda: limit(invert, 1, queue=-1), "queue=-1"),
        (lambda: circuit_breaker(invert, errors=0), "errors=0"),
        (lambda: circuit_breaker(invert, window=0), "window=0"),
        (lambda: circuit_breaker(invert, cooldown=-1), "cooldown=-1"),
        (lambda: circuit_breaker(invert, ratio=0), "ratio=0"),
        (lambda: circuit_breaker(invert, ratio=2), "ratio=2"),
        (lambda: shadow(invert, abs, sample=-0.1), "sample=-0.1: it takes a fraction, from 0 to 1"),
        (lambda: shadow(invert, abs, sample=1.1), "sample=1.1"),
        (lambda: shadow(invert, abs, compare="=="), "compare='=='"),
        (lambda: shadow(invert, abs, timeout=0), "timeout=0"),
    ],
)
def test_what_makes_no_sense_is_refused_while_building(build: Callable[[], Any], says: str) -> None:
    with pytest.raises(PipelineError, match=says):
        build()


def test_they_print_as_written_and_say_their_settings_in_the_plan() -> None:
    pipeline = shadow(cache(limit(circuit_breaker(invert, errors=2), 3), ttl=5, key=repr), abs, sample=0.5)
    assert (
        repr(pipeline) == "shadow(cache(limit(circuit_breaker(invert, errors=2), 3), ttl=5, key=repr), abs, sample=0.5)"
    )
    plan = pipeline.plan().text
    for policy in [
        "Remember(ttl=5.0, size=1024, key=repr)",
        "Bulkhead(n=3, queue=1000)",
        "Breaker(part='invert', errors=2, window=10.0, cooldown=5.0, ratio=0.5)",
        "Watch(candidate='abs', sample=0.5, compare=None)",
    ]:
        assert policy in plan, plan
    assert "0x" not in plan


def test_the_plan_counts_their_handle_calls() -> None:
    hosted, other = step(invert, name="hosted", num_replicas=2), step(abs, name="other", num_replicas=2)
    for build in (cache(hosted), limit(hosted, 1), circuit_breaker(hosted)):
        assert build.plan().explain().calls == (0, 1)
    assert shadow(hosted, other).plan().explain().calls == (1, 2)


def test_on_a_jumping_clock_an_hour_of_all_of_it_is_nothing() -> None:
    """A retry of a guarded, limited, cached part under a deadline: the calls end, and nothing is left over."""
    part = Part(3.0, 0.5, 30.0, fail=3)
    pipeline = timeout(
        retry(cache(limit(circuit_breaker(part, errors=2, cooldown=30), 2), ttl=60), 6, backoff=1.0), 600
    )

    async def main() -> None:
        async with Client(pipeline) as client:
            for x in range(40):
                (answer,) = await client.predict_many([x % 7], on_error="return")
                assert not isinstance(answer, StrettoError), answer
                await anyio.sleep(90)
        assert len(asyncio.all_tasks()) == 1

    with virtual_clock() as clock:
        clock.run(main())
        assert clock.get_loop().time() > 3600


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("turns", [(0,), (3, 0), (0, 1, 2), (5, 1, 0)])
async def test_a_limit_gives_back_every_place(n: int, turns: tuple[int, ...]) -> None:
    """Whatever comes free while the last rows of a batch are started: a place that is lost is lost for good."""

    async def double(x: int) -> int:
        for _ in range(turns[x % len(turns)]):
            await asyncio.sleep(0)
        return 2 * x

    async with Client(limit(double, n)) as client, asyncio.timeout(20):
        for size in range(1, 9):
            for _ in range(4):
                assert await client.predict_many(list(range(size))) == [2 * x for x in range(size)]
