"""The one meaning of a plan: batching is invisible, bad rows fail alone, and what can run side by side does."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from stretto import Client, Pipeline, composer, parallel, step
from stretto.batch.batch import Batch
from stretto.compiler import compile_plan
from stretto.engine.context import Context
from stretto.engine.evaluate import evaluate
from stretto.engine.inline import InlineBackend
from stretto.errors import BadRows, DeadlineExceeded, InputError, Overloaded, StepError
from stretto.nodes import Around, Body, Node
from stretto.plan.plan import Plan
from stretto.testing.oracle import oracle_outcome, same
from stretto_composers import fallback, switch, vote
from tests.plans import beside, each, gathered, pipelines, rows, unchanged, within


def invert(x: float) -> float:
    return 1 / x


async def together(plan: Plan, some: list[Any]) -> list[Any]:
    backend = InlineBackend()
    try:
        return (await evaluate(plan, (Batch.of(some, request=True),), backend, Context())).outcomes()
    finally:
        await backend.aclose()


@given(pipelines(), rows())
def test_batching_is_invisible(pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    """Many rows together give what each gives alone, which is what the oracle gives: answers and failures alike."""

    async def main() -> None:
        plan = pipeline.plan()
        expected = [await oracle_outcome(plan, row) for row in some]
        alone = [(await together(plan, [row]))[0] for row in some]
        assert same(alone, expected), f"alone {alone}, by the oracle {expected}"
        batch = await together(plan, some)
        assert same(batch, expected), f"together {batch}, by the oracle {expected}"

    gathered(main)


@pytest.mark.parametrize("placement", ["fused", "split"])
@given(pipelines(), rows())
def test_a_compiled_plan_means_the_same(placement: Any, pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    async def main() -> None:
        expected = [await oracle_outcome(pipeline, row) for row in some]
        batch = await together(compile_plan(pipeline.plan(), placement), some)
        assert same(batch, expected), f"together {batch}, by the oracle {expected}"

    gathered(main)


@given(pipelines(), rows())
def test_concurrent_calls_are_invisible_to_each_other(pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    async def main() -> None:
        expected = [await oracle_outcome(pipeline, row) for row in some]
        async with Client(pipeline) as client:
            calls = [client.predict(row) for row in some], client.predict_many(some, on_error="return")
            singles, many = await asyncio.gather(asyncio.gather(*calls[0], return_exceptions=True), calls[1])
        assert same(singles, expected)
        assert same(many, expected)

    gathered(main)


@given(pipelines(), rows())
def test_a_pickled_pipeline_is_the_same_pipeline(pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    copy: Pipeline[Any, Any] = pickle.loads(pickle.dumps(pipeline))
    assert repr(copy) == repr(pipeline)
    assert copy.plan().text == pipeline.plan().text
    compiled = compile_plan(pipeline.plan())
    again: Plan = pickle.loads(pickle.dumps(compiled))
    assert repr(again) == repr(compiled)

    async def main() -> None:
        for row in some:
            assert same(await oracle_outcome(again, row), await oracle_outcome(pipeline, row))

    gathered(main)


def reciprocal(x: float) -> float:
    return 1 / x


def reciprocals(column: Any) -> list[float]:
    return [1 / x for x in column]


def reciprocals_or_bad(column: Any) -> list[float]:
    bad: dict[int, Exception] = {i: ZeroDivisionError("zero") for i, x in enumerate(column) if x == 0}
    if bad:
        raise BadRows(bad)
    return reciprocals(column)


class TestPoison:
    """A batch of 64 with 3 bad rows gives 61 answers, and 3 errors that say their rows."""

    @pytest.mark.parametrize(
        "part",
        [step(reciprocal), step(reciprocals, vectorized=True), step(reciprocals_or_bad, vectorized=True)],
    )
    @pytest.mark.parametrize("bad", [(3, 17, 60), (0, 1, 2), (63, 62, 0)])
    async def test_only_the_culprits_fail(self, part: Pipeline[Any, Any], bad: tuple[int, ...]) -> None:
        some = [0.0 if i in bad else float(i + 1) for i in range(64)]
        async with Client(part >> (lambda y: y * 2)) as client:
            answers = await client.predict_many(some, on_error="return")
            failed = [(each.row, each.kind) for each in answers if isinstance(each, StepError)]
            assert failed == [(i, "ZeroDivisionError") for i in sorted(bad)]
            assert [each for each in answers if not isinstance(each, StepError)] == [2 / x for x in some if x]
            singles = await asyncio.gather(*map(client.predict, some), return_exceptions=True)
            assert same(singles, answers)
            with pytest.raises(StepError, match=f"row {min(bad)}: step .* failed: ZeroDivisionError"):
                await client.predict_many(some)

    async def test_a_search_for_culprits_takes_few_calls(self) -> None:
        sizes: list[int] = []

        def counted(column: Any) -> Any:
            sizes.append(len(column))
            return reciprocals(column)

        async with Client(step(counted, vectorized=True)) as client:
            await client.predict_many([float(i) for i in range(64)], on_error="return")
        assert len(sizes) == 1 + 2 * 6

    async def test_named_bad_rows_need_no_search(self) -> None:
        sizes: list[int] = []

        def counted(column: Any) -> Any:
            sizes.append(len(column))
            return reciprocals_or_bad(column)

        async with Client(step(counted, vectorized=True)) as client:
            await client.predict_many([0.0, 1.0, 0.0, 2.0], on_error="return")
        assert sizes == [4, 2]

    @pytest.mark.parametrize("bad", [{}, {7: ValueError()}])
    async def test_bad_rows_that_name_no_row_fail_them_all(self, bad: dict[int, Exception]) -> None:
        def refuse(column: Any) -> Any:
            raise BadRows(bad)

        async with Client(step(refuse, vectorized=True)) as client:
            answers = await client.predict_many([1, 2], on_error="return")
            assert [type(each) for each in answers] == [StepError, StepError]

    @pytest.mark.parametrize("answer", [5, "ab", None, np.float64(1), [1], [1, 2, 3], np.zeros((3, 1)), {"a": [1]}])
    async def test_a_vectorized_step_gives_as_many_rows_as_it_takes(self, answer: Any) -> None:
        def wrong(column: Any) -> Any:
            return answer if len(column) == 2 else "no column"

        async with Client(step(wrong, vectorized=True)) as client:
            answers = await client.predict_many([1, 2], on_error="return")
            assert [(each.step, each.kind) for each in answers] == [("wrong", "TypeError")] * 2


class TestForms:
    """A vectorised function gets a row in the same form alone and beside others."""

    async def test_an_array_stays_one_where_rows_of_it_failed(self) -> None:
        def roots(column: Any) -> Any:
            with np.errstate(invalid="raise"):
                return np.sqrt(np.asarray(column, dtype=float))

        pipeline = step(roots, vectorized=True) >> step(lambda column: column * 2, name="twice", vectorized=True)
        async with Client(pipeline) as client:
            answers = await client.predict_many([4, -1, 9], on_error="skip")
            assert answers == [4.0, 6.0]

    async def test_rows_of_different_forms_come_together_and_stay_what_they_are(self) -> None:
        seen: list[str] = []

        def form(column: Any) -> list[str]:
            seen.append(type(column).__name__)
            return [type(column).__name__] * len(next(iter(column.values())) if isinstance(column, dict) else column)

        forms = switch(
            lambda x: x % 3,
            {
                0: step(lambda column: np.array(column), name="array", vectorized=True),
                1: parallel(a=abs, b=abs),
                2: step(lambda column: list(column), name="list", vectorized=True),
            },
        )
        async with Client(forms >> step(form, vectorized=True)) as client:
            answers = await client.predict_many([0, 1, 2, 3, 4, 5])
            assert answers == ["ndarray", "dict", "list"] * 2
            assert sorted(seen) == ["dict", "list", "ndarray"]
            assert [await client.predict(x) for x in range(3)] == answers[:3]

    async def test_a_fan_out_of_which_a_member_has_several_forms_takes_a_call_each(self) -> None:
        seen: list[tuple[str, int]] = []

        def form(columns: Any) -> Any:
            seen.append((type(columns["a"]).__name__, len(columns["b"])))
            return columns["b"]

        arrays = step(lambda column: np.array(column), name="array", vectorized=True)
        fan = parallel(a=switch(lambda x: x % 2, {0: arrays}, default=abs), b=abs)
        async with Client(fan >> step(form, vectorized=True)) as client:
            assert await client.predict_many(range(5)) == list(range(5))
        assert sorted(seen) == [("list", 2), ("ndarray", 3)]

    async def test_calls_that_bring_lists_and_calls_that_bring_arrays_share_a_stage(self) -> None:
        release = threading.Event()

        def total(column: Any) -> Any:
            release.wait(5)
            return column.sum(axis=1) if isinstance(column, np.ndarray) else [sum(row) for row in column]

        async with Client(step(total, vectorized=True)) as client:
            calls = [
                asyncio.ensure_future(client.predict_many(rows))
                for rows in [[[0, 1]]] * 8 + [np.ones((2, 2)), [[1, 2], [3, 4]], np.ones((1, 2), dtype=int)]
            ]
            await asyncio.sleep(0.01)
            release.set()
            answers = await asyncio.gather(*calls)
        assert answers[8:] == [[2.0, 2.0], [3, 7], [2]]

    async def test_a_fan_out_is_a_dict_of_columns(self) -> None:
        def check(columns: Any) -> Any:
            assert {key: type(each) for key, each in columns.items()} == {"a": np.ndarray, "b": list}
            return columns["a"]

        fan = parallel(a=step(np.asarray, vectorized=True), b=abs)
        async with Client(fan >> step(check, vectorized=True)) as client:
            assert await client.predict_many([1, 2]) == [1, 2]


class TestBlame:
    """A bad request is the caller's mistake only where the step was given the caller's own value."""

    @staticmethod
    def refuse(x: Any) -> Any:
        raise InputError("no", "x", "yes")

    @pytest.mark.parametrize(
        "before",
        [
            None,
            within(unchanged()),
            beside(lambda x: x),
            fallback(unchanged(), lambda x: x),
            switch(lambda x: 0, {0: unchanged()}),
        ],
    )
    async def test_a_value_that_only_passed_through_is_the_callers(self, before: Pipeline[Any, Any] | None) -> None:
        async with Client(self.refuse if before is None else before >> self.refuse) as client:
            with pytest.raises(InputError) as caught:
                await client.predict(1)
            assert (caught.value.field, caught.value.expected) == ("x", "yes")

    async def test_a_value_the_pipeline_made_is_not(self) -> None:
        async with Client(Pipeline(lambda x: x) >> self.refuse) as client:
            with pytest.raises(StepError, match="step 'refuse' failed: InputError"):
                await client.predict(1)

    async def test_beside_others_it_is_as_alone(self) -> None:
        mixed = switch(lambda x: x % 2, {0: unchanged(), 1: lambda x: x}) >> self.refuse
        async with Client(mixed) as client:
            answers = await client.predict_many([0, 1, 2, 3], on_error="return")
            assert [type(each) for each in answers] == [InputError, StepError] * 2

    async def test_it_passes_through_a_fallback(self) -> None:
        async with Client(fallback(self.refuse, lambda x: "spare")) as client:
            with pytest.raises(InputError):
                await client.predict(1)


class TestSideBySide:
    """What can wait runs at the same time: each side lets the other go on."""

    @staticmethod
    def meeting(parties: int) -> Callable[[Any], Awaitable[Any]]:
        """An asynchronous function that ends once so many calls of it are under way."""
        arrived = 0
        all_here = asyncio.Event()

        async def meet(x: Any) -> Any:
            nonlocal arrived
            arrived += 1
            if arrived == parties:
                all_here.set()
            await all_here.wait()
            return x

        return meet

    async def test_members_of_a_fan_out(self) -> None:
        meet = self.meeting(3)
        async with Client(parallel(a=meet, b=Pipeline(abs) >> meet, c=meet)) as client:
            assert await client.predict(1, timeout=5) == {"a": 1, "b": 1, "c": 1}

    async def test_rows_of_a_batch(self) -> None:
        async with Client(self.meeting(50)) as client:
            assert await client.predict_many(range(50), timeout=5) == list(range(50))

    async def test_concurrent_calls(self) -> None:
        async with Client(self.meeting(20)) as client:
            assert await asyncio.gather(*[client.predict(i, timeout=5) for i in range(20)]) == list(range(20))

    async def test_cases_of_a_switch(self) -> None:
        meet = self.meeting(2)
        async with Client(switch(lambda x: x, {0: meet, 1: Pipeline(meet) >> abs})) as client:
            assert await client.predict_many([0, 1], timeout=5) == [0, 1]

    async def test_members_of_a_join(self) -> None:
        meet = self.meeting(2)
        async with Client(vote(meet, meet)) as client:
            assert await client.predict(1, timeout=5) == 1

    async def test_elements_of_a_list(self) -> None:
        async with Client(each(self.meeting(3))) as client:
            assert await client.predict([1, 2, 3], timeout=5) == [1, 2, 3]

    async def test_blocking_steps_in_threads(self) -> None:
        barrier = threading.Barrier(2)

        def meet(x: Any) -> Any:
            barrier.wait(5)
            return x

        async with Client(parallel(a=step(meet, blocking=True), b=step(meet, blocking=True))) as client:
            assert await client.predict(1) == {"a": 1, "b": 1}

    async def test_a_slow_case_holds_up_no_row_of_another(self) -> None:
        release = asyncio.Event()

        async def slow(x: Any) -> Any:
            await release.wait()
            return x

        async with Client(switch(lambda x: x == "slow", {True: slow}, default=lambda x: x)) as client:
            waiting = client.submit("slow")
            await asyncio.sleep(0)
            assert await asyncio.gather(*[client.predict(i) for i in range(5)]) == list(range(5))
            assert not waiting.done()
            release.set()
            assert await waiting == "slow"

    async def test_a_slow_branch_holds_up_no_step_that_does_not_need_it(self) -> None:
        reached = asyncio.Event()

        async def slow(x: Any) -> Any:
            await reached.wait()
            return x

        async def quick(x: Any) -> Any:
            reached.set()
            return x

        async with Client(parallel(a=slow, b=Pipeline(abs) >> quick >> abs)) as client:
            assert await client.predict(1, timeout=5) == {"a": 1, "b": 1}


class TestSteps:
    async def test_a_coroutine_from_a_plain_function_is_an_error_that_says_so(self) -> None:
        async def work(x: Any) -> Any:
            return x

        for part in (
            step(lambda x: work(x), name="s"),
            step(lambda x: work(x), name="s", vectorized=True),
            step(lambda x: work(x), name="s", blocking=True),
        ):
            async with Client(part) as client:
                with pytest.raises(StepError, match="make it 'async def'"):
                    await client.predict(1)

    @pytest.mark.parametrize("options", [{}, {"vectorized": True}, {"blocking": True}, {"num_replicas": 2}])
    async def test_whatever_a_step_raises_is_its_failure(self, options: Any) -> None:
        """StopIteration and RecursionError among them, which Python itself treats apart."""

        def stop(x: Any) -> Any:
            return next(iter(()))

        def deep(x: Any) -> Any:
            return deep(x)

        for fn in (stop, deep):
            async with Client(step(fn, **options)) as client:
                with pytest.raises(StepError, match=f"step '{fn.__name__}' failed"):
                    await client.predict(1, timeout=5)

    async def test_a_step_whose_own_work_was_cancelled_has_failed(self) -> None:
        """The request was not cancelled: nobody who asked may be told so."""

        async def broken(x: Any) -> Any:
            task = asyncio.ensure_future(asyncio.sleep(10))
            task.cancel()
            await task

        async with Client(broken) as client:
            with pytest.raises(StepError, match="cancelled"):
                await client.predict(1)
            answers = await client.predict_many([1, 2], on_error="return")
            assert [type(each) for each in answers] == [StepError, StepError]

    @pytest.mark.parametrize("options", [{}, {"blocking": True}])
    async def test_a_step_with_resources_runs_in_process_as_any_other(self, options: Any) -> None:
        async def later(x: int) -> int:
            await asyncio.sleep(0)
            return x + 1

        def now(x: int) -> int:
            return x + 1

        placed = step(now if options else later, num_replicas=2, **options)
        async with Client(Pipeline(now) >> placed >> now) as client:
            assert await client.predict_many([1, 2]) == [4, 5]

    async def test_the_cause_of_a_failure_is_kept(self) -> None:
        async with Client(reciprocal) as client:
            with pytest.raises(StepError) as caught:
                await client.predict(0)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caught.value.args == ("reciprocal", "ZeroDivisionError", "division by zero")

    async def test_a_failure_says_the_way_to_its_step(self) -> None:
        nested = fallback(lambda x: 1 / x, switch(abs, {0: fallback(reciprocal, reciprocal)}))
        async with Client(nested) as client:
            with pytest.raises(StepError) as caught:
                await client.predict(0)
        assert caught.value.step == "fallback/switch/fallback/reciprocal"


class TestAround:
    def around(self, policy: Any, part: Any = lambda x: 1 / x) -> Pipeline[Any, Any]:
        @composer
        def around(x: Node, part: Pipeline) -> Node:
            return Around((x,), body=part.plan(), policy=policy)

        return around(part)

    async def test_the_policy_sees_the_rows_and_their_outcomes(self) -> None:
        seen: list[Any] = []

        async def policy(body: Body) -> Any:
            seen.append((list(body.rows), body.budget))
            first = await body.run([1])
            return [0, *first, 0]

        async with Client(self.around(policy)) as client:
            assert await client.predict_many([0, 2, 4]) == [0, 0.5, 0]
        assert seen == [([0, 2, 4], None)]

    async def test_errors_of_the_body_have_the_composers_name_in_their_path(self) -> None:
        async def policy(body: Body) -> Any:
            return await body.run()

        async with Client(self.around(policy, invert)) as client:
            with pytest.raises(StepError, match="step 'around/invert' failed: ZeroDivisionError"):
                await client.predict(0)

    async def test_what_the_policy_raises_fails_all_its_rows(self) -> None:
        async def broken(body: Body) -> Any:
            raise KeyError("gone")

        async def full(body: Body) -> Any:
            raise Overloaded("full", 2.0)

        for policy, error in ((broken, "step 'around' failed: KeyError: 'gone'"), (full, "full")):
            async with Client(self.around(policy)) as client:
                answers = await client.predict_many([1, 2], on_error="return")
            assert [str(each) for each in answers] == [f"row {i}: {error}" for i in range(2)]

    async def test_a_policy_that_loses_rows_is_told_so(self) -> None:
        async def short(body: Body) -> Any:
            return (await body.run())[1:]

        async with Client(self.around(short)) as client:
            with pytest.raises(StepError, match="2 rows went in and 1 outcomes came out"):
                await client.predict_many([1, 2])


class TestAside:
    async def test_it_neither_delays_nor_fails_the_request(self) -> None:
        begun, release, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow(x: Any) -> Any:
            begun.set()
            await release.wait()
            ended.set()
            raise ValueError("nobody minds")

        async with Client(beside(slow) >> abs) as client:
            assert await client.predict(-1) == 1
            await asyncio.wait_for(begun.wait(), 5)
            release.set()
            await asyncio.wait_for(ended.wait(), 5)

    async def test_closing_cancels_it(self) -> None:
        cancelled = asyncio.Event()

        async def slow(x: Any) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with Client(beside(slow)) as client:
            await client.predict(1)
            await asyncio.sleep(0.01)
        assert cancelled.is_set()


class TestDeadlines:
    @staticmethod
    async def slow(x: Any) -> Any:
        await asyncio.sleep(60)

    async def test_a_part_has_so_many_seconds(self) -> None:
        async with Client(within(self.slow, 0.01)) as client:
            with pytest.raises(DeadlineExceeded, match="step 'slow'"):
                await client.predict(1)

    async def test_synchronous_work_that_came_late_is_late_all_the_same(self) -> None:
        async with Client(within(lambda x: time.sleep(0.02) or x, 0.01)) as client:
            with pytest.raises(DeadlineExceeded, match="step 'lambda'"):
                await client.predict(1)

    async def test_so_is_an_asynchronous_step_that_blocks_the_event_loop(self) -> None:
        async def rude(x: Any) -> Any:
            time.sleep(0.02)  # noqa: ASYNC251
            return x

        async with Client(within(rude, 0.01)) as client:
            with pytest.raises(DeadlineExceeded, match="step 'rude'"):
                await client.predict(1)

    async def test_late_work_is_late_also_beside_requests_that_have_time(self) -> None:
        def busy(x: int) -> int:
            time.sleep(0.002)
            return x

        async def first(x: int) -> int:
            return x

        async with Client(Pipeline(first) >> busy) as client:
            for _ in range(5):
                await client.predict_many([1, 2])
            late, fine = await asyncio.gather(
                client.predict(1, timeout=0.001), client.predict(2), return_exceptions=True
            )
        assert (type(late), fine) == (DeadlineExceeded, 2)

    async def test_an_inner_deadline_cannot_be_later_than_the_outer(self) -> None:
        async with Client(within(within(self.slow, 60), 0.01)) as client:
            with pytest.raises(DeadlineExceeded):
                await asyncio.wait_for(client.predict(1), 5)

    async def test_a_fallback_recovers_what_was_late_inside_it(self) -> None:
        async with Client(fallback(within(self.slow, 0.01), abs)) as client:
            assert await client.predict(-1) == 1
            assert await client.predict(-1, timeout=5) == 1

    async def test_a_fallback_has_nothing_to_recover_with_once_the_request_is_late(self) -> None:
        spared: list[Any] = []
        async with Client(fallback(self.slow, spared.append)) as client:
            with pytest.raises(DeadlineExceeded):
                await client.predict(1, timeout=0.01)
        assert spared == []

    async def test_late_rows_are_late_and_others_are_not(self) -> None:
        async def some(x: int) -> int:
            await asyncio.sleep(60 if x % 2 else 0)
            return x

        async with Client(within(some, 0.05)) as client:
            answers = await client.predict_many(range(4), on_error="return")
            assert [type(each) for each in answers] == [int, DeadlineExceeded] * 2

    async def test_expired_work_is_not_started(self) -> None:
        begun: list[Any] = []
        async with Client(Pipeline(TestDeadlines.slow) >> begun.append) as client:
            with pytest.raises(DeadlineExceeded):
                await client.predict(1, timeout=0)
            with pytest.raises(DeadlineExceeded):
                await client.predict(1, timeout=0.01)
        assert begun == []

    async def test_an_asynchronous_column_is_late_as_a_whole(self) -> None:
        async def column(rows: Any) -> Any:
            await asyncio.sleep(60)

        async with Client(step(column, vectorized=True)) as client:
            answers = await client.predict_many([1, 2], timeout=0.01, on_error="return")
            assert [type(each) for each in answers] == [DeadlineExceeded] * 2
