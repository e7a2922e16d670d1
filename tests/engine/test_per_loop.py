"""Event loops of several threads have a value each, and none of them sees another's."""

from __future__ import annotations

import asyncio
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from stretto.engine.per_loop import PerLoop


class Value:
    """What remembers its loop, as queues and connections do."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()


def test_loops_side_by_side_keep_their_values() -> None:
    values, threads = PerLoop(Value), 8
    together = Barrier(threads)

    async def ask() -> bool:
        first = values.here()
        for _ in range(2000):
            if values.here() is not first or first.loop is not asyncio.get_running_loop():
                return False
            await asyncio.sleep(0)
        return True

    def run(_: int) -> bool:
        together.wait(30)
        return asyncio.run(ask())

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(run, range(threads)))


def test_two_loops_in_turn_keep_their_values() -> None:
    values = PerLoop(Value)

    async def ask() -> Value:
        return values.here()

    with asyncio.Runner() as one, asyncio.Runner() as other:
        first, second = one.run(ask()), other.run(ask())
        assert first is not second
        assert (one.run(ask()), other.run(ask())) == (first, second)


def test_values_of_closed_loops_are_dropped() -> None:
    values = PerLoop(Value)

    async def ask() -> weakref.ref[Value]:
        return weakref.ref(values.here())

    made = [asyncio.run(ask()) for _ in range(10)]
    gc.collect()
    assert [each() is not None for each in made] == [False] * 9 + [True]
