"""The clock that jumps: everything that waits sees it, and nothing that has to be waited for really is skipped."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import anyio
import pytest

from stretto import Client, step
from stretto.engine.context import Context, now
from stretto.errors import DeadlineExceeded
from stretto.testing import virtual_clock
from stretto.testing.oracle import oracle_outcome
from stretto_composers import timeout


async def hour(x: Any) -> Any:
    await asyncio.sleep(3600)
    return x


def test_sleepers_wake_in_the_order_of_their_alarms() -> None:
    """Whatever the order in which they lie down; and time is what they asked for."""
    woken: list[tuple[float, float]] = []

    async def sleeper(seconds: float) -> None:
        await anyio.sleep(seconds)
        woken.append((seconds, anyio.current_time()))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for seconds in (86_400.0 * 30, 0.5, 3600.0, 0.25):
                tasks.start_soon(sleeper, seconds)

    with virtual_clock() as clock:
        clock.run(main())
        assert clock.get_loop().time() == 86_400 * 30
    assert woken == [(0.25, 0.25), (0.5, 0.5), (3600, 3600), (86_400 * 30, 86_400 * 30)]


def test_deadlines_see_it() -> None:
    """A budget shrinks by what was slept, a deadline ends the wait at its moment, and the oracle agrees."""

    async def main() -> None:
        context = Context.starting(10.0)
        await anyio.sleep(4)
        assert context.budget == 6.0
        pipeline = timeout(hour, 60)
        async with Client(pipeline) as client:
            began = anyio.current_time()
            with pytest.raises(DeadlineExceeded):
                await client.predict(1)
            assert anyio.current_time() == began + 60
            with pytest.raises(DeadlineExceeded):
                await client.predict(1, timeout=5)
            assert anyio.current_time() == began + 65
        assert isinstance(await oracle_outcome(pipeline, 1), DeadlineExceeded)

    with virtual_clock() as clock:
        clock.run(main())


def test_threads_that_work_for_the_loop_see_it_and_stop_it() -> None:
    """Time stands still while a thread works, so no deadline passes meanwhile; and the thread reads the same clock."""
    read: list[float] = []

    def work(x: float) -> float:
        time.sleep(0.02)
        read.append(now())
        return x

    async def main() -> None:
        await anyio.sleep(100)
        async with Client(step(work, blocking=True)) as client:
            assert await client.predict_many([1, 2, 3], timeout=0.001) == [1, 2, 3]

    with virtual_clock() as clock:
        clock.run(main())
    assert read == [100.0] * 3


def test_it_ends_with_its_block() -> None:
    before = now()
    with virtual_clock():
        assert now() == 0.0
    assert now() >= before > 0.0


def test_two_of_them_are_two_clocks() -> None:
    seen: dict[float, float] = {}

    def run(seconds: float) -> None:
        with virtual_clock() as clock:
            clock.run(asyncio.sleep(seconds))
            seen[seconds] = now()

    threads = [threading.Thread(target=run, args=(seconds,)) for seconds in (10.0, 1e6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {10.0: 10.0, 1e6: 1e6}


def test_a_wait_for_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no timer is set and no thread works, the wait would be for ever."""
    monkeypatch.setattr("stretto.testing.clock.REAL_SECONDS", 0.01)

    async def main() -> None:
        await asyncio.Event().wait()

    with virtual_clock() as clock, pytest.raises(RuntimeError, match="every task waits for something that never comes"):
        clock.run(main())
