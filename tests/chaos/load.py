"""Callers that send numbered rows without a pause, and what became of each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Ask = Callable[[int], Awaitable[Any]]
"""Sends the row of a number, and returns its answer."""


class Call(NamedTuple):
    """One call: when it was made, on the clock of `time.perf_counter`, how long it took, and what became of it."""

    start: float
    seconds: float
    outcome: str


@dataclass(slots=True)
class Load:
    """What became of the calls; `phases` are the names of times and when each began, such as before, during, after."""

    calls: list[Call] = field(default_factory=list)
    phases: list[tuple[str, float]] = field(default_factory=list)

    def begins(self, phase: str) -> None:
        """Record that a phase begins now."""
        self.phases.append((phase, time.perf_counter()))

    def count(self, outcome: str) -> int:
        """Return how many calls had an outcome: ``"right"``, ``"wrong"``, or an error's name."""
        return sum(call.outcome == outcome for call in self.calls)

    @property
    def failed(self) -> Counter[str]:
        """How many calls failed with each error."""
        return Counter(call.outcome for call in self.calls if call.outcome not in ("right", "wrong"))

    @property
    def silence(self) -> float:
        """The longest time without an answer, in seconds."""
        ends = sorted(call.start + call.seconds for call in self.calls if call.outcome == "right")
        first = min((call.start for call in self.calls), default=0.0)
        return max((b - a for a, b in itertools.pairwise([first, *ends])), default=0.0)

    def of(self, phase: str) -> list[Call]:
        """Return the calls that were made in a phase."""
        names, starts = [name for name, _ in self.phases], [at for _, at in self.phases]
        at = names.index(phase)
        stop = starts[at + 1] if at + 1 < len(starts) else float("inf")
        return [call for call in self.calls if starts[at] <= call.start < stop]

    def quantiles(self, phase: str) -> tuple[float, float]:
        """Return the median and the 99th percentile of the seconds of right answers to calls made in a phase."""
        taken = sorted(call.seconds for call in self.of(phase) if call.outcome == "right")
        return (taken[len(taken) // 2], taken[int(len(taken) * 0.99)]) if taken else (float("nan"), float("nan"))


@asynccontextmanager
async def under_load(ask: Ask, right: Sequence[Any], callers: int) -> AsyncGenerator[Load]:
    """Keep `callers` callers at it during the block; number `i` is answered with ``right[i % len(right)]``."""
    load = Load()
    load.begins("before")
    numbers = itertools.count()
    ended = False

    async def caller() -> None:
        while not ended:
            number = next(numbers)
            outcome = await record(load, _is_right(ask, number, right))
            if load.calls[-1].seconds < 0.001 and outcome not in ("right", "wrong"):
                await asyncio.sleep(0.001)  # who is refused at once does not spin

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(caller())
        try:
            yield load
        finally:
            ended = True


async def at_a_rate(load: Load, ask: Ask, rate: float, seconds: float) -> None:
    """Call `rate` times a second, whatever is under way; `ask` returns whether the answer is right."""
    start, sent = time.perf_counter(), 0
    async with asyncio.TaskGroup() as tasks:
        while (elapsed := time.perf_counter() - start) < seconds:
            for number in range(sent, int(elapsed * rate)):
                tasks.create_task(record(load, ask(number)))
            sent = int(elapsed * rate)
            await asyncio.sleep(0.002)


async def _is_right(ask: Ask, number: int, right: Sequence[Any]) -> bool:
    return await ask(number) == right[number % len(right)]


async def record(load: Load, call: Awaitable[Any]) -> str:
    start = time.perf_counter()
    try:
        outcome = "right" if await call else "wrong"
    except Exception as error:
        outcome = type(error).__name__
    load.calls.append(Call(start, time.perf_counter() - start, outcome))
    return outcome
