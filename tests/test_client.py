"""The client over a pipeline in this process: one call, many rows, a stream, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from stretto import Client, Pipeline, Trace, parallel, step
from stretto.engine.inline import InlineBackend
from stretto.errors import DeadlineExceeded, InputError, NotFound, Overloaded, PipelineError, StepError
from stretto.transports.connect import LocalTransport, connect
from tests.plans import beside


def double(x: int) -> int:
    return 2 * x


def reciprocal(x: float) -> float:
    return 1 / x


async def later(x: Any) -> Any:
    await asyncio.sleep(0)
    return x


class Gate:
    """An asynchronous step that waits until it is let go, and notes who was cancelled."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.cancelled: list[Any] = []
        self.open = asyncio.Event()

    async def __call__(self, x: Any) -> Any:
        self.begun.append(x)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(x)
            raise
        return x


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """Hold every test here to leave no task."""
    yield
    for _ in range(10):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


class TestPredict:
    @pytest.mark.parametrize("part", [double, step(double), step(double, blocking=True), Pipeline(later) >> double])
    async def test_it_gives_the_answer_for_one_row(self, part: Any) -> None:
        async with Client(part) as client:
            assert await client.predict(21) == 42
            assert await asyncio.gather(*map(client.predict, range(100))) == [2 * x for x in range(100)]

    async def test_it_raises_the_rows_error_and_the_next_call_works(self) -> None:
        for part in (Pipeline(reciprocal), Pipeline(later) >> reciprocal):
            async with Client(part) as client:
                with pytest.raises(StepError, match="step 'reciprocal' failed: ZeroDivisionError: division by zero"):
                    await client.predict(0)
                assert await client.predict(4) == 0.25

    async def test_concurrent_calls_travel_together(self) -> None:
        sizes: list[int] = []

        def counted(column: list[int]) -> list[int]:
            sizes.append(len(column))
            return column

        async with Client(step(counted, vectorized=True)) as client:
            await client.predict(0)
            await asyncio.gather(*map(client.predict, range(64)))
        assert sizes == [1, 64]

    async def test_it_works_without_a_block_too(self) -> None:
        client = Client(double)
        assert await client.predict(1) == 2
        await client.aclose()

    async def test_cancelling_a_call_cancels_its_work_and_nobody_elses(self) -> None:
        gate = Gate()
        async with Client(gate) as client:
            mine, other = asyncio.ensure_future(client.predict(1)), asyncio.ensure_future(client.predict(2))
            await asyncio.sleep(0.01)
            mine.cancel()
            await asyncio.wait([mine])
            assert gate.cancelled == [1]
            gate.open.set()
            assert await other == 2

    async def test_past_the_bound_it_is_overloaded_and_then_works_again(self) -> None:
        release = threading.Event()

        def slow(x: int) -> int:
            release.wait(5)
            return x

        for part in (Pipeline(slow), Pipeline(later) >> slow, parallel(a=slow, b=later) >> len):
            release.clear()
            plan = connect(part)
            assert isinstance(plan, LocalTransport)
            backend = InlineBackend(max_batch=1, max_queued=2, workers=1)
            async with Client(LocalTransport(plan.plan, backend)) as client:
                calls: list[asyncio.Future[Any]] = []
                for i in range(5):
                    calls.append(asyncio.ensure_future(client.predict(i)))
                    await asyncio.sleep(0.01)
                assert [call.done() for call in calls] == [False] * 3 + [True] * 2
                for call in calls[3:]:
                    with pytest.raises(Overloaded, match="2 rows wait in front of stage slow"):
                        await call
                release.set()
                await asyncio.gather(*calls[:3])
                await client.predict(5)


class TestTimeout:
    async def test_asynchronous_work_is_late_and_cancelled(self) -> None:
        gate = Gate()
        async with Client(gate) as client:
            with pytest.raises(DeadlineExceeded, match=r"step 'gate'.*timeout="):
                await client.predict(1, timeout=0.01)
            assert gate.cancelled == [1]
            gate.open.set()
            assert await client.predict(2, timeout=5) == 2

    @pytest.mark.serial  # it is about real seconds
    @pytest.mark.parametrize("options", [{}, {"blocking": True}, {"vectorized": True}])
    @pytest.mark.parametrize("alone", [True, False])
    async def test_work_in_a_thread_is_late_and_left_to_end_by_itself(self, options: Any, alone: bool) -> None:
        release = threading.Event()

        def slow(x: Any) -> Any:
            release.wait(5)
            return x

        part = step(slow, **options) if alone else Pipeline(later) >> step(slow, **options)
        async with Client(part) as client:
            start = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await client.predict(1, timeout=0.02)
            with pytest.raises(DeadlineExceeded):
                await client.predict_many([1, 2], timeout=0.02)
            assert (await client.trace(1, timeout=0.02)).answer is None
            assert time.monotonic() - start < 2
            release.set()
            assert await client.predict(2, timeout=5) == 2

    async def test_calls_that_timed_out_hold_no_more_threads_than_there_are(self) -> None:
        """An abandoned call keeps its thread until it ends; all of them end, and the client goes on."""
        release = threading.Event()
        before = threading.active_count()

        def slow(x: Any) -> Any:
            release.wait(5)
            return x

        async with Client(step(slow, blocking=True)) as client:
            answers = await client.predict_many(list(range(100)), timeout=0.05, on_error="return")
            assert {type(each) for each in answers} == {DeadlineExceeded}
            assert threading.active_count() - before <= 40
            release.set()
            assert await client.predict_many(list(range(100)), timeout=5) == list(range(100))
        for _ in range(1_000):
            await asyncio.sleep(0.001 if threading.active_count() > before else 0)
        assert threading.active_count() <= before

    async def test_a_call_that_ends_in_time_is_not_late(self) -> None:
        for part in (Pipeline(double), Pipeline(later) >> double, step(double, blocking=True)):
            async with Client(part) as client:
                assert await client.predict(1, timeout=5) == 2
                assert await client.predict_many([1, 2], timeout=5) == [2, 4]


class TestPredictMany:
    @pytest.mark.parametrize("rows", [[1, 2, 3], (1, 2, 3), range(1, 4), iter([1, 2, 3]), np.array([1, 2, 3])])
    async def test_rows_may_be_any_sequence(self, rows: Any) -> None:
        async with Client(double) as client:
            assert await client.predict_many(rows) == [2, 4, 6]

    async def test_an_array_has_a_row_each_along_its_first_axis(self) -> None:
        def sums(column: Any) -> Any:
            assert isinstance(column, np.ndarray)
            return column.sum(axis=1)

        async with Client(step(sums, vectorized=True)) as client:
            assert await client.predict_many(np.ones((3, 4))) == [4.0, 4.0, 4.0]
        async with Client(sum) as client:
            assert await client.predict_many(np.ones((3, 4))) == [4.0, 4.0, 4.0]

    @pytest.mark.parametrize("part", [double, later, step(np.asarray, vectorized=True)])
    async def test_no_rows_give_no_answers(self, part: Any) -> None:
        async with Client(part) as client:
            assert await client.predict_many([]) == []
            assert await client.predict_many(np.zeros((0, 4))) == []

    async def test_errors_are_raised_returned_or_skipped(self) -> None:
        async with Client(reciprocal) as client:
            with pytest.raises(StepError, match=r"row 1: .*division by zero"):
                await client.predict_many([1, 0, 0, 2])
            returned = await client.predict_many([1, 0, 0, 2], on_error="return")
            assert [each.row if isinstance(each, StepError) else each for each in returned] == [1, 1, 2, 0.5]
            assert await client.predict_many([1, 0, 0, 2], on_error="skip") == [1, 0.5]

    @pytest.mark.parametrize("rows", ["abc", b"abc", {"a": 1}, 5, None, np.array(5)])
    async def test_what_is_no_list_of_rows_is_refused(self, rows: Any) -> None:
        async with Client(double) as client:
            with pytest.raises(InputError, match=f"list of rows.*{type(rows).__name__}"):
                await client.predict_many(rows)

    async def test_more_rows_than_fit_in_one_go_come_back_in_order(self) -> None:
        sizes: list[int] = []

        def counted(column: Any) -> Any:
            sizes.append(len(column))
            return column

        async with Client(step(counted, vectorized=True)) as client:
            assert await client.predict_many(np.arange(40_000)) == list(range(40_000))
        assert len(sizes) > 1

    async def test_a_named_step_answers_alone(self) -> None:
        async with Client(step(double, name="twice") >> step(reciprocal, name="inverse") >> str) as client:
            assert await client.predict_many([1, 2], step="twice") == [2, 4]
            assert await client.predict_many([4], step="inverse") == [0.25]
            with pytest.raises(NotFound, match="no step 'other'; the steps are 'twice', 'inverse', 'str'"):
                await client.predict_many([1], step="other")

    async def test_a_name_that_two_steps_have_names_none(self) -> None:
        async with Client(Pipeline(lambda x: x + 1) >> (lambda x: x + 2)) as client:
            with pytest.raises(NotFound):
                await client.predict_many([1], step="lambda")


class TestSubmit:
    async def test_it_starts_at_once_and_gives_something_to_await_later(self) -> None:
        gate = Gate()
        async with Client(gate) as client:
            later = client.submit(1)
            assert (repr(later), later.done()) == ("<Submission to gate: pending>", False)
            await asyncio.sleep(0.01)
            assert gate.begun == [1]
            gate.open.set()
            assert await later == 1
            assert await later == 1
            assert (repr(later), later.done()) == ("<Submission to gate: done>", True)
            assert later.cancel() is False

    async def test_it_can_be_cancelled(self) -> None:
        gate = Gate()
        async with Client(gate) as client:
            later = client.submit(1)
            await asyncio.sleep(0.01)
            assert later.cancel() is True
            with pytest.raises(asyncio.CancelledError):
                await later
            assert repr(later) == "<Submission to gate: cancelled>"
        assert gate.cancelled == [1]

    async def test_its_error_comes_when_it_is_awaited(self) -> None:
        async with Client(reciprocal) as client:
            later = client.submit(0)
            await client.predict(1)
            with pytest.raises(StepError):
                await later
            assert later.done()

    async def test_closing_cancels_what_was_submitted(self) -> None:
        gate = Gate()
        async with Client(gate) as client:
            later = client.submit(1)
            await asyncio.sleep(0.01)
        assert later.done()
        assert gate.cancelled == [1]


class TestMap:
    async def test_answers_come_in_the_order_of_the_rows(self) -> None:
        async def uneven(x: int) -> int:
            for _ in range(5 - x):
                await asyncio.sleep(0)
            return x

        async with Client(uneven) as client:
            assert [answer async for answer in client.map(range(5))] == [0, 1, 2, 3, 4]

    async def test_or_as_they_are_answered(self) -> None:
        doors = [asyncio.Event() for _ in range(3)]

        async def wait(x: int) -> int:
            await doors[x].wait()
            if x:
                doors[x - 1].set()
            return x

        doors[2].set()
        async with Client(wait) as client:
            assert [answer async for answer in client.map(range(3), ordered=False)] == [2, 1, 0]

    @pytest.mark.parametrize("ordered", [True, False])
    async def test_at_most_so_many_are_under_way(self, ordered: bool) -> None:
        under_way, most = 0, 0

        async def counted(x: int) -> int:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return x

        async with Client(counted) as client:
            answers = [answer async for answer in client.map(range(50), concurrency=4, ordered=ordered)]
        assert sorted(answers) == list(range(50))
        assert most == 4

    async def test_rows_are_taken_from_the_stream_as_there_is_room(self) -> None:
        taken: list[int] = []

        def stream() -> Iterator[int]:
            for i in range(1_000_000):
                taken.append(i)
                yield i

        async with Client(double) as client:
            async with contextlib.aclosing(client.map(stream(), concurrency=3)) as answers:
                async for answer in answers:
                    if answer == 20:
                        break
            assert len(taken) < 20

    @pytest.mark.parametrize("ordered", [True, False])
    async def test_answers_do_not_wait_for_rows_still_to_come(self, ordered: bool) -> None:
        more = asyncio.Event()

        async def stream() -> AsyncIterator[int]:
            yield 1
            yield 2
            await more.wait()
            yield 3

        async with Client(double) as client:
            answers: list[int] = []
            async with asyncio.timeout(5):
                async for answer in client.map(stream(), ordered=ordered):
                    answers.append(answer)
                    if len(answers) == 2:
                        more.set()
        assert sorted(answers) == [2, 4, 6]

    @pytest.mark.parametrize("ordered", [True, False])
    async def test_errors_are_raised_returned_or_skipped(self, ordered: bool) -> None:
        async with Client(reciprocal) as client:
            with pytest.raises(StepError, match=r"row 2: "):
                [answer async for answer in client.map([1, 2, 0], ordered=ordered)]
            returned = [answer async for answer in client.map([1, 0, 2], ordered=ordered, on_error="return")]
            assert sorted(str(answer) for answer in returned)[:2] == ["0.5", "1.0"]
            assert [answer async for answer in client.map([1, 0, 2], on_error="skip")] == [1, 0.5]

    async def test_leaving_early_cancels_what_is_under_way(self) -> None:
        gate = Gate()

        async def first_at_once(x: int) -> int:
            return x if x == 0 else await gate(x)

        async with Client(first_at_once) as client:
            async for answer in client.map(range(100), concurrency=5):
                assert answer == 0
                await asyncio.sleep(0.01)
                break
            gc.collect()
            await asyncio.sleep(0.01)
            assert gate.begun
            assert sorted(gate.cancelled) == sorted(gate.begun)

    async def test_an_error_of_the_stream_is_the_callers(self) -> None:
        def stream() -> Iterator[int]:
            yield 1
            raise OSError("the disk is gone")

        async with Client(double) as client:
            with pytest.raises(OSError, match="the disk is gone"):
                [answer async for answer in client.map(stream())]

    async def test_no_rows_give_no_answers(self) -> None:
        async with Client(double) as client:
            assert [answer async for answer in client.map([])] == []

    async def test_less_than_one_at_a_time_is_refused(self) -> None:
        async with Client(double) as client:
            with pytest.raises(PipelineError, match="concurrency=0"):
                [answer async for answer in client.map([1], concurrency=0)]


class TestTrace:
    async def test_it_tells_which_step_ran_when_and_how_long(self) -> None:
        async def pause(x: Any) -> Any:
            await asyncio.sleep(0.01)
            return x

        async with Client(parallel(a=double, b=pause) >> len) as client:
            before = time.time()
            trace = await client.trace(3)
        assert trace.answer == 2
        assert trace.error is None
        spans = {span.name: span for span in trace.spans if span.kind == "step"}
        assert set(spans) == {"double", "pause", "len"}
        assert spans["pause"].seconds >= 0.009
        assert before <= spans["pause"].start < spans["pause"].end <= spans["len"].start
        assert [span.start for span in trace.spans] == sorted(span.start for span in trace.spans)
        assert {span.kind for span in trace.spans} == {"step", "stage"}
        assert trace.handle_calls == 0

    async def test_steps_side_by_side_overlap(self) -> None:
        barrier = asyncio.Barrier(2)

        async def meet(x: Any) -> Any:
            await barrier.wait()
            return x

        async with Client(parallel(a=meet, b=meet)) as client:
            first, second = (await client.trace(1, timeout=5)).spans
        assert max(first.start, second.start) <= min(first.end, second.end)

    async def test_a_failure_is_in_the_trace(self) -> None:
        async with Client(reciprocal) as client:
            trace = await client.trace(0)
        assert isinstance(trace, Trace)
        assert isinstance(trace.error, StepError)
        assert trace.answer is None


class TestItself:
    async def test_metadata_says_what_is_at_the_other_end(self) -> None:
        pipeline = step(double, name="twice") >> later
        async with Client(pipeline) as client:
            metadata = await client.metadata()
            assert await client.ready()
        assert (metadata.name, metadata.pipeline, metadata.steps) == ("later", "twice >> later", ("twice", "later"))
        assert "Call" in metadata.plan
        assert "stretto" in metadata.versions
        assert metadata.features == ()

    async def test_a_closed_client_says_so(self) -> None:
        client = Client(double)
        await client.aclose()
        await client.aclose()
        assert not await client.ready()
        for call in (client.predict(1), client.predict_many([1]), client.trace(1), client.metadata(), client.submit(1)):
            with pytest.raises(PipelineError, match=r"Client\(double\) is closed; make a new Client"):
                await call
        with pytest.raises(PipelineError, match="closed"):
            [answer async for answer in client.map([1], on_error="skip")]

    async def test_it_has_no_url(self) -> None:
        async with Client(double) as client:
            with pytest.raises(PipelineError, match=r"Client\(double\) has no URL"):
                _ = client.url

    async def test_closing_in_the_middle_leaves_nothing(self) -> None:
        gate, release = Gate(), threading.Event()

        def slow(x: Any) -> Any:
            release.wait(5)
            return x

        client = Client(beside(gate) >> parallel(a=gate, b=step(slow, blocking=True), c=slow))
        calls = [client.submit(i) for i in range(5)]
        await asyncio.sleep(0.05)
        await client.aclose()
        assert all(call.done() for call in calls)
        release.set()


def test_one_client_works_in_one_event_loop_after_another() -> None:
    release = threading.Event()

    def slow(x: Any) -> Any:
        release.wait(0 if x else 5)
        return x

    client = Client(Pipeline(later) >> step(slow, blocking=True) >> later >> double)

    async def leave_in_the_middle() -> None:
        for _ in range(50):
            client.submit(0)
        await asyncio.sleep(0.05)

    asyncio.run(leave_in_the_middle())
    release.set()
    for _ in range(2):
        assert asyncio.run(client.predict_many([1, 2, 3], timeout=5)) == [2, 4, 6]
    asyncio.run(client.aclose())
