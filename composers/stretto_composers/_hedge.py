"""A second attempt for what takes long."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from stretto import composer
from stretto.errors import PipelineError, StrettoError
from stretto.nodes import Around, Body, Node, Part, plan_of
from stretto_composers._policies.latencies import Latencies
from stretto_composers._policies.numbers import fraction, seconds, whole
from stretto_composers._policies.policy import Forgetful

BURST = 10.0
"""The rows that may be asked again in a row after a quiet time."""

SOONEST = 0.001
"""Seconds, the least that a percentile stands for: uvloop's clock knows no less."""


@composer
def hedge(x: Node, part: Part[Any, Any], after: float | str = "p95", *, budget: float = 0.1, times: int = 2) -> Node:
    """Return the first success of the part, which is called again where it has not answered after a while.

    The others are cancelled (Dean and Barroso, "The Tail at Scale", CACM 2013). `after` is seconds, or a percentile of
    how long the part has lately taken in this process, as in ``"p95"``: until that is known nothing is hedged.
    `budget` bounds the rows asked again, as a share of the rows asked. `times` counts all attempts. A part that fails
    before another attempt has begun has failed: that is `retry`'s case. Where all attempts fail, the error is that of
    the first.

    Raises:
        PipelineError: `after` is neither seconds nor a percentile between p0 and p100, `budget` is not above 0 and up
            to 1, or `times` is below 2.

    >>> import asyncio
    >>> from stretto import Client
    >>> asked = []
    >>> async def sometimes_slow(x):
    ...     asked.append(x)
    ...     await asyncio.sleep(60 if len(asked) == 1 else 0)
    ...     return 2 * x
    >>> async def main():
    ...     async with Client(hedge(sometimes_slow, after=0.01)) as client:
    ...         return await client.predict(21)
    >>> asyncio.run(main()), asked
    (42, [21, 21])
    """
    policy = Hedge(_checked(after), fraction("budget", budget), whole("times", times, 2))
    return Around((x,), body=plan_of(part), policy=policy)


def _checked(after: Any) -> float | str:
    if not isinstance(after, str):
        return seconds("after", after, zero=True)
    if not re.fullmatch(r"p\d+(\.\d+)?", after) or not 0 < float(after[1:]) < 100:
        raise PipelineError(f"after={after!r}: it takes seconds, or a percentile between p0 and p100 such as 'p95'")
    return after


@dataclass(eq=False, repr=False)
class Hedge(Forgetful):
    """Starts another attempt where one takes long, within a budget."""

    after: float | str
    budget: float
    times: int
    latencies: Latencies = field(init=False, repr=False, default_factory=Latencies)
    saved: float = field(init=False, repr=False, default=1.0)

    @property
    def attempts(self) -> tuple[int, int]:
        """Once where it answers soon."""
        return 1, self.times

    async def __call__(self, body: Body) -> Sequence[Any]:
        """Return the first success for each row."""
        size = len(body.rows)
        self.saved = min(BURST, self.saved + self.budget * size)
        delay = self._delay()
        if delay is None:
            began = anyio.current_time()
            outcomes = await body.run()
            self._learn(began, outcomes)
            return outcomes
        return await self._hedged(body, size, delay)

    async def _hedged(self, body: Body, size: int, delay: float) -> Sequence[Any]:
        began = anyio.current_time()
        contest = _Contest(body, size)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(contest.attempt, 0)
            contest.running = 1
            for attempt in range(1, self.times):
                with anyio.move_on_after(delay):
                    await contest.ended.wait()
                # A batch may cost more than is saved, which is then owed: over many requests the share is kept.
                if contest.ended.is_set() or self.saved < 1:
                    break
                self.saved -= len(contest.open)
                contest.running += 1
                tasks.start_soon(contest.attempt, attempt)
            await contest.ended.wait()
            tasks.cancel_scope.cancel()
        outcomes = contest.outcomes()
        self._learn(began, outcomes)
        return outcomes

    def _delay(self) -> float | None:
        if not isinstance(self.after, str):
            return self.after
        usual = self.latencies.percentile(float(self.after[1:]))
        return None if usual is None else max(SOONEST, usual)

    def _learn(self, began: float, outcomes: Sequence[Any]) -> None:
        # What fails fast says nothing of how long an answer takes. Where another attempt won, the first would have
        # taken longer than this: leaving it out would have the percentile sink with every hedge.
        if not any(isinstance(outcome, StrettoError) for outcome in outcomes):
            self.latencies.note(anyio.current_time() - began)


class _Contest:
    """The attempts at the rows of one call, and what has come of them."""

    def __init__(self, body: Body, size: int) -> None:
        self._body = body
        self._answers: list[Any] = [None] * size
        self._errors: dict[int, tuple[int, Any]] = {}
        self.open = dict.fromkeys(range(size))
        self.running = 0
        self.ended = anyio.Event()

    async def attempt(self, number: int) -> None:
        rows = list(self.open)
        for i, outcome in zip(rows, await self._body.run(rows), strict=True):
            if i not in self.open:
                continue
            if not isinstance(outcome, StrettoError):
                self._answers[i] = outcome
                del self.open[i]
            elif number < self._errors.get(i, (number + 1, None))[0]:
                self._errors[i] = (number, outcome)
        self.running -= 1
        if not self.open or not self.running:
            self.ended.set()

    def outcomes(self) -> list[Any]:
        for i in self.open:
            self._answers[i] = self._errors[i][1]
        return self._answers
