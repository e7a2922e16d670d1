"""So many at once, and no more."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.lowlevel import RunVar

from stretto import composer
from stretto.errors import DeadlineExceeded, Overloaded
from stretto.nodes import Around, Body, Node, Part, plan_of
from stretto_composers._policies.settings import Forgetful, whole


@composer
def limit(x: Node, part: Part[Any, Any], n: int, *, queue: int = 1000) -> Node:
    """Return the part's answer, with at most `n` rows of it under way at once in an event loop.

    A process has one event loop, unless threads of yours run more. The others wait, in the order in which they came and
    no longer than their deadlines: a bulkhead (Nygard, "Release It!", 2007), so that one slow part does not take all
    that a process has. A batch goes through in portions of what is free. At most `queue` rows wait; a request that
    finds the queue full is `Overloaded` at once, whole, while one that nobody stands before is let in whatever its
    size.

    Raises:
        PipelineError: `n` is below 1, or `queue` below 0.

    >>> import asyncio
    >>> from stretto import Client
    >>> under_way = [0]
    >>> async def busy(x):
    ...     under_way.append(under_way[-1] + 1)
    ...     await asyncio.sleep(0.001)
    ...     under_way.append(under_way[-1] - 1)
    >>> _ = asyncio.run(Client(limit(busy, 2)).predict_many(range(10)))
    >>> max(under_way)
    2
    """
    policy = Bulkhead(whole("n", n, 1), whole("queue", queue, 0))
    return Around((x,), body=plan_of(part), policy=policy)


class _Gate:
    """The places of one event loop, and how many rows wait for them."""

    def __init__(self, n: int) -> None:
        self.places = anyio.Semaphore(n, max_value=n, fast_acquire=True)
        self.waiting = 0

    async def enter(self, rows: int, budget: float | None) -> int:
        """Wait for a place; return how many of the rows there are places for, none where the time is up."""
        if not rows:
            return 0
        self.waiting += rows
        try:
            with anyio.move_on_after(budget):
                await self.places.acquire()
                more = min(rows - 1, self.places.value)
                for _ in range(more):
                    self.places.acquire_nowait()
                return 1 + more
            return 0
        finally:
            self.waiting -= rows

    async def run(self, body: Body, rows: Sequence[int], outcomes: list[Any]) -> None:
        try:
            for i, outcome in zip(rows, await body.run(rows), strict=True):
                outcomes[i] = outcome
        finally:
            for _ in rows:
                self.places.release()


@dataclass(eq=False, repr=False)
class Bulkhead(Forgetful):
    """Runs rows as places for them come free."""

    n: int
    queue: int
    gates: RunVar[_Gate] = field(init=False, repr=False)

    attempts = (0, 1)

    def __post_init__(self) -> None:
        self.gates = RunVar("gate")

    async def __call__(self, body: Body) -> Sequence[Any]:
        """Return the outcomes of the rows that found a place in time; the others were too late, or too many."""
        gate = self.gates.get(None)
        if gate is None:
            self.gates.set(gate := _Gate(self.n))
        size = len(body.rows)
        if (gate.waiting and gate.waiting + size > self.queue) or not (self.queue or gate.places.value):
            full = f"{gate.waiting} rows wait in front of limit({self.n}); try again later"
            return [Overloaded(full) for _ in range(size)]
        outcomes: list[Any] = [None] * size
        start, end = 0, await gate.enter(size, body.budget)
        if end == size:
            await gate.run(body, range(size), outcomes)
            return outcomes
        async with anyio.create_task_group() as tasks:
            while start < end:
                tasks.start_soon(gate.run, body, range(start, end), outcomes)
                start, end = end, end + await gate.enter(size - end, body.budget)
        for i in range(start, size):
            outcomes[i] = DeadlineExceeded(f"the queue in front of limit({self.n})")
        return outcomes
