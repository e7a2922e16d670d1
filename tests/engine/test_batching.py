"""Natural batching: no waiting for one, company for many, order, bounds, and cancelling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from stretto import Client, Pipeline
from stretto.engine.batching import LOOKED_AT, PATIENCE, Coalescer
from stretto.engine.context import now
from stretto.engine.cost import Cost
from stretto.errors import Overloaded
from stretto.testing.clock import virtual_clock
from stretto.testing.http_server import serving


class Work:
    """Takes batches, and answers each when told to."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.doors: list[asyncio.Event] = []
        self.cancelled: list[list[Any]] = []

    async def __call__(self, items: list[Any]) -> Sequence[Any]:
        door = asyncio.Event()
        self.batches.append(items)
        self.doors.append(door)
        try:
            await door.wait()
        except asyncio.CancelledError:
            self.cancelled.append(items)
            raise
        return [item if isinstance(item, Exception) else item * 10 for item in items]

    def finish(self, index: int) -> None:
        self.doors[index].set()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_single_caller_waits_one_turn_of_the_loop() -> None:
    queue = Coalescer[int, int](lambda items: [item + 1 for item in items])
    future = queue.submit(1)
    await asyncio.sleep(0)
    assert future.done()
    assert await future == 2


async def test_what_comes_in_one_turn_travels_together() -> None:
    batches: list[list[int]] = []
    queue = Coalescer[int, int](lambda items: batches.append(items) or items)
    assert await asyncio.gather(*map(queue.submit, range(5))) == [0, 1, 2, 3, 4]
    assert batches == [[0, 1, 2, 3, 4]]


async def test_what_arrives_in_step_a_turn_apart_travels_together() -> None:
    batches: list[list[int]] = []
    queue = Coalescer[int, int](lambda items: batches.append(items) or items)
    futures: list[asyncio.Future[int]] = []
    for group in ([0, 1], [2], [3, 4]):
        futures += map(queue.submit, group)
        await asyncio.sleep(0)
    await asyncio.gather(*futures)
    assert batches == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("arrivals", [1, 2])
async def test_a_trickle_that_does_not_end_holds_nobody_up(arrivals: int) -> None:
    batches: list[list[int]] = []
    queue = Coalescer[int, int](lambda items: batches.append(items) or items, max_batch=1000)
    for turn in range(50):
        for _ in range(arrivals):
            queue.submit(turn)
        await asyncio.sleep(0)
        assert turn - (batches[-1][-1] if batches else -1) <= PATIENCE + 1


async def test_no_turn_is_waited_for_more_than_a_batch_holds() -> None:
    batches: list[list[int]] = []
    queue = Coalescer[int, int](lambda items: batches.append(items) or items, max_batch=2)
    futures = [queue.submit(0), queue.submit(1)]
    await asyncio.sleep(0)
    assert batches == [[0, 1]]
    await asyncio.gather(*futures)


async def test_items_gather_while_the_workers_are_busy() -> None:
    work = Work()
    queue = Coalescer[int, int](work, workers=2)
    first = queue.submit(1)
    await turns()
    second = queue.submit(2)
    await turns()
    later = [queue.submit(i) for i in (3, 4, 5)]
    await turns()
    assert work.batches == [[1], [2]]
    work.finish(1)
    assert await second == 20
    await turns()
    assert work.batches == [[1], [2], [3, 4, 5]]
    work.finish(2)
    assert await asyncio.gather(*later) == [30, 40, 50]
    assert not first.done()
    work.finish(0)
    assert await first == 10


async def test_a_batch_holds_at_most_max_batch_and_the_oldest_go_first() -> None:
    batches: list[list[int]] = []
    queue = Coalescer[int, int](lambda items: batches.append(items) or items, max_batch=3)
    await asyncio.gather(*map(queue.submit, range(8)))
    assert batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_the_answered_run_before_the_next_batch_is_computed() -> None:
    seen: list[str] = []
    queue = Coalescer[int, int](lambda items: seen.append(f"batch {items}") or items, max_batch=1)

    async def caller(i: int) -> None:
        await queue.submit(i)
        seen.append(f"answer {i}")

    await asyncio.gather(caller(0), caller(1))
    assert seen == ["batch [0]", "answer 0", "batch [1]", "answer 1"]


async def test_no_item_is_overtaken_whatever_others_weigh() -> None:
    """An item too heavy for the batch at hand is the first of the next: lighter ones behind it do not slip past."""
    work = Work()
    queue = Coalescer[int, int](work, max_batch=10)
    queue.submit(0)
    await turns()
    order = [queue.submit(i, weight) for i, weight in ((1, 6), (2, 6), (3, 1), (4, 50), (5, 1))]
    for index in range(5):
        work.finish(index)
        await turns()
        queue.submit(100 + index)
    assert work.batches[:5] == [[0], [1], [2, 3], [4], [5, 100, 101, 102]]
    assert all(future.done() for future in order[:4])
    await queue.aclose()


async def test_under_load_that_never_ends_every_item_is_answered() -> None:
    """Fairness: with newcomers at every turn, an item waits for no more batches than stood in front of it."""
    batches = 0

    async def run(items: list[int]) -> list[int]:
        nonlocal batches
        batches += 1
        await asyncio.sleep(0)
        return [batches] * len(items)

    queue = Coalescer[int, int](run, max_batch=4)
    futures: list[tuple[int, asyncio.Future[int]]] = []
    for turn in range(300):
        ahead = sum(not future.done() for _, future in futures)
        futures += [(batches + ahead // 4 + 2, queue.submit(turn)) for _ in range(2)]
        await asyncio.sleep(0)
    answered = [await future for _, future in futures]
    assert all(batch <= due for batch, (due, _) in zip(answered, futures, strict=True))
    assert answered == sorted(answered)


async def test_past_max_queued_it_is_overloaded_at_once() -> None:
    work = Work()
    queue = Coalescer[int, int](work, max_queued=3, name="stage svm")
    queue.submit(0)
    await turns()
    waiting = [queue.submit(i) for i in range(3)]
    with pytest.raises(Overloaded, match="3 rows wait in front of stage svm") as caught:
        queue.submit(4)
    assert caught.value.retry_after > 0
    waiting[1].cancel()
    queue.submit(5)
    await queue.aclose()


async def test_a_call_of_many_rows_is_taken_where_nothing_waits() -> None:
    queue = Coalescer[int, int](lambda items: items, max_batch=2, max_queued=3)
    assert await queue.submit(1, weight=50) == 1


async def test_cancelling_withdraws_what_has_not_begun() -> None:
    work = Work()
    queue = Coalescer[int, int](work)
    first = queue.submit(0)
    await turns()
    left, kept = queue.submit(1), queue.submit(2)
    left.cancel()
    work.finish(0)
    await first
    await turns()
    assert work.batches == [[0], [2]]
    work.finish(1)
    assert await kept == 20


async def test_work_that_nobody_waits_for_is_cancelled_and_frees_its_worker() -> None:
    work = Work()
    queue = Coalescer[int, int](work)
    some = [queue.submit(i) for i in range(3)]
    await turns()
    some[0].cancel()
    some[1].cancel()
    await turns()
    assert work.cancelled == []
    some[2].cancel()
    await turns()
    assert work.cancelled == [[0, 1, 2]]
    after = queue.submit(7)
    await turns()
    work.finish(1)
    assert await after == 70


async def test_work_cancelled_before_its_first_turn_frees_its_worker_too() -> None:
    work = Work()
    queue = Coalescer[int, int](work)
    first = queue.submit(1)
    asyncio.get_running_loop().call_soon(first.cancel)
    await turns()
    after = queue.submit(2)
    await turns()
    work.finish(-1)
    assert await after == 20


async def test_results_that_come_in_parts_reach_their_waiters_and_the_first_frees_the_worker() -> None:
    doors = [asyncio.Event() for _ in range(3)]

    async def parts(items: list[int]) -> AsyncGenerator[list[tuple[int, Any]]]:
        for i, door in enumerate(doors[: len(items)]):
            yield []
            await door.wait()
            yield [(i, ValueError("no") if items[i] == 2 else 10 * items[i])]

    queue = Coalescer[int, int](parts)
    some = [queue.submit(i) for i in (1, 2, 3)]
    await turns()
    after = queue.submit(4)
    doors[0].set()
    assert await asyncio.gather(some[0], after) == [10, 40]
    assert not some[1].done()
    doors[1].set()
    with pytest.raises(ValueError, match="no"):
        await some[1]
    some[2].cancel()
    await turns()
    assert await queue.submit(5) == 50


async def test_parts_that_leave_an_item_out_are_an_error_there() -> None:
    async def parts(items: list[int]) -> AsyncGenerator[list[tuple[int, Any]]]:
        yield [(0, 10 * items[0])]

    queue = Coalescer[int, int](parts)
    some = [queue.submit(i) for i in (1, 2)]
    assert await some[0] == 10
    with pytest.raises(RuntimeError, match="not all had a result"):
        await some[1]


def test_workers_leave_overdue_batches_alone_as_many_as_are_spare() -> None:
    async def main() -> None:
        work = Work()
        queue = Coalescer[int, int](work, spare=2)
        for i in range(40):  # the usual time is short
            one = queue.submit(i)
            await turns()
            work.finish(-1)
            await one
        hung: list[asyncio.Future[int]] = []
        for i in range(4):
            hung.append(queue.submit(i))
            await asyncio.sleep(1)
        assert len(work.batches) == 43  # the first two were left alone, the third is at work, the fourth waits
        work.finish(40)
        assert await hung[0] == 0
        await asyncio.sleep(1)
        assert len(work.batches) == 44
        for i in (41, 42, 43):
            work.finish(i)
        assert await asyncio.gather(*hung[1:]) == [10, 20, 30]

    with virtual_clock() as clock:
        clock.run(main())


@pytest.mark.parametrize("later", [False, True])
async def test_an_error_of_the_work_reaches_every_waiter_and_the_next_batch_runs(later: bool) -> None:
    def now(items: list[int]) -> list[int]:
        if 0 in items:
            raise ValueError("zero")
        return items

    async def soon(items: list[int]) -> list[int]:
        return now(items)

    queue = Coalescer[int, int](soon if later else now)
    results = await asyncio.gather(*map(queue.submit, range(3)), return_exceptions=True)
    assert [str(each) for each in results] == ["zero"] * 3
    assert await queue.submit(5) == 5


@pytest.mark.parametrize("later", [False, True])
async def test_an_error_of_one_item_reaches_its_waiter_alone(later: bool) -> None:
    async def soon(items: list[Any]) -> list[Any]:
        return items

    queue = Coalescer[Any, Any](soon if later else list)
    fine, bad = queue.submit(1), queue.submit(KeyError("mine"))
    assert await fine == 1
    with pytest.raises(KeyError, match="mine"):
        await bad


@pytest.mark.parametrize("later", [False, True])
async def test_too_few_results_are_an_error_and_nobody_waits_for_ever(later: bool) -> None:
    async def soon(items: list[int]) -> list[int]:
        return items[1:]

    queue = Coalescer[int, int](soon if later else lambda items: items[1:])
    results = await asyncio.gather(*map(queue.submit, range(3)), return_exceptions=True)
    assert all(isinstance(each, RuntimeError) for each in results)
    assert len(results) == 3


def test_it_works_in_one_event_loop_after_another() -> None:
    work = Work()
    queue = Coalescer[int, int](work)

    async def leave_in_the_middle() -> None:
        queue.submit(1)
        await turns()
        queue.submit(2)

    async def ask() -> int:
        future = queue.submit(3)
        await turns()
        work.finish(-1)
        return await future

    asyncio.run(leave_in_the_middle())
    assert asyncio.run(ask()) == 30
    assert asyncio.run(ask()) == 30
    asyncio.run(leave_in_the_middle())
    asyncio.run(queue.aclose())


@pytest.mark.parametrize("begun", [0, 1, 5])
async def test_closing_leaves_no_task_and_no_waiter(begun: int) -> None:
    work = Work()
    queue = Coalescer[int, int](work)
    running = queue.submit(1)
    await turns(begun)
    waiting = queue.submit(2)
    await queue.aclose()
    await turns()
    assert running.cancelled()
    assert waiting.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("over_http", [False, True])
async def test_many_rows_asked_for_one_by_one_are_refused_with_the_names_of_what_takes_them(over_http: bool) -> None:
    rows = list(range(12_000))
    async with AsyncExitStack() as up:
        target: Any = await up.enter_async_context(serving(Pipeline(abs))) if over_http else abs
        client = await up.enter_async_context(Client(target))
        outcomes = await asyncio.gather(*map(client.predict, rows), return_exceptions=True)
        refused = [each for each in outcomes if isinstance(each, BaseException)]
        assert refused
        assert all(isinstance(each, Overloaded) for each in refused)
        assert all(name in str(refused[0]) for name in ("client.map", "client.predict_many"))
        assert await client.predict_many(rows) == rows
        assert [answer async for answer in client.map(rows)] == rows


def slow(rows: int = 1, seconds: float = 0.02) -> Cost:
    """Return the cost of something that takes 20 ms a row."""
    cost = Cost()
    for size in (1, 2, 4):
        cost.note(size, seconds * size)
    return cost


class Step:
    """Computes a row at a time, in 20 ms each, and records what it computed."""

    def __init__(self) -> None:
        self.computed: list[int] = []
        self.queue = Coalescer[int, int](self.run, workers=2, cost=slow())

    async def run(self, items: list[int]) -> list[int]:
        await asyncio.sleep(0.02 * len(items))
        self.computed += items
        return [10 * item for item in items]


def test_where_many_at_a_time_do_not_pay_each_is_answered_when_it_is_computed() -> None:
    async def main() -> None:
        step = Step()
        first = step.queue.submit(0)
        rest = [step.queue.submit(i) for i in range(1, 20)]
        await first
        assert asyncio.get_running_loop().time() == pytest.approx(0.02)
        await asyncio.gather(*rest)
        assert asyncio.get_running_loop().time() == pytest.approx(0.2, abs=0.03)

    with virtual_clock() as clock:
        clock.run(main())


def test_of_more_than_can_be_computed_in_time_as_many_are_as_can_be() -> None:
    async def main() -> None:
        step = Step()
        late = 0

        async def ask(i: int) -> None:
            nonlocal late
            deadline = now() + 1.0
            try:
                await step.queue.submit(i, 1, deadline)
            except Overloaded:
                return
            late += now() > deadline

        tasks: list[asyncio.Task[None]] = []
        for i in range(5000):  # ten times the capacity for five seconds
            tasks.append(asyncio.ensure_future(ask(i)))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        assert late <= 5
        assert len(step.computed) >= 0.95 * 500
        assert await step.queue.submit(1) == 10

    with virtual_clock() as clock:
        clock.run(main())


def test_a_burst_that_can_be_computed_in_time_is_answered_whole() -> None:
    async def main() -> None:
        step = Step()
        for deadline in (None, 1.0):
            due = None if deadline is None else now() + deadline
            assert await asyncio.gather(*(step.queue.submit(i, 1, due) for i in range(90))) == [
                10 * i for i in range(90)
            ]

    with virtual_clock() as clock:
        clock.run(main())


def test_a_call_of_many_rows_that_names_no_limit_takes_as_long_as_it_takes() -> None:
    async def main() -> None:
        step = Step()
        calls = [step.queue.submit(i, 400) for i in range(24)]  # of 96 seconds
        assert await asyncio.gather(*calls) == [10 * i for i in range(24)]

    with virtual_clock() as clock:
        clock.run(main())


def test_what_takes_longer_than_its_caller_waits_is_refused_at_once() -> None:
    async def main() -> None:
        step = Step()
        waiting = [step.queue.submit(i) for i in range(2 * LOOKED_AT - 1)]
        with pytest.raises(Overloaded, match="not be answered in time"):
            step.queue.submit(1, 100, now() + 0.5)
        impatient = step.queue.submit(99, 1, now() + 0.1)
        assert await impatient == 990
        assert sum(each.done() for each in waiting) < 10  # it went first
        await asyncio.gather(*waiting)

    with virtual_clock() as clock:
        clock.run(main())
