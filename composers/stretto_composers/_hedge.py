"""A second attempt for what takes long."""

import math
import re
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import anyio

from stretto import composer
from stretto.errors import PipelineError, StrettoError
from stretto.nodes import Around, Body, Node, Part, plan_of
from stretto_composers._policies.settings import Forgetful, fraction, seconds, whole

BURST = 10.0
"""The rows that may be asked again in a row after a quiet time."""
SOONEST = 0.001
"""Seconds, the least that a percentile stands for: uvloop's clock knows no less."""
WINDOW, FEWEST = 256, 20
"""How many of the latest durations are remembered, and how many it takes to say anything."""


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
    >>> pauses = [60, 0]
    >>> async def slow_at_first(x):
    ...     await asyncio.sleep(pauses.pop(0))
    ...     return 2 * x
    >>> asyncio.run(Client(hedge(slow_at_first, after=0.01)).predict(21))
    42
    """
    if not isinstance(after, str):
        after = seconds("after", after, zero=True)
    elif not re.fullmatch(r"p\d+(\.\d+)?", after) or not 0 < float(after[1:]) < 100:
        raise PipelineError(f"after={after!r}: it takes seconds, or a percentile between p0 and p100 such as 'p95'")
    policy = Hedge(after, fraction("budget", budget), whole("times", times, 2))
    return Around((x,), body=plan_of(part), policy=policy)


class Latencies:
    """The latest durations, in seconds, and their percentiles; threads change them under a lock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def note(self, seconds: float) -> None:
        """Remember one more."""
        with self._lock:
            if len(self._latest) == WINDOW:
                del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
            self._latest.append(seconds)
            insort(self._sorted, seconds)

    def percentile(self, percent: float) -> float | None:
        """Return the least duration that so many percent of the latest did not exceed; None while there are too few."""
        with self._lock:
            count = len(self._sorted)
            return self._sorted[math.ceil(count * percent / 100) - 1] if count >= FEWEST else None


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
        self.saved = min(BURST, self.saved + self.budget * len(body.rows))
        delay: float | None = None if isinstance(self.after, str) else self.after
        if isinstance(self.after, str) and (usual := self.latencies.percentile(float(self.after[1:]))) is not None:
            delay = max(SOONEST, usual)
        began = anyio.current_time()
        outcomes = await (body.run() if delay is None else self._hedged(body, delay))
        # What fails fast says nothing of how long an answer takes. Where another attempt won, the first would have
        # taken longer than this: leaving it out would have the percentile sink with every hedge.
        if not any(isinstance(outcome, StrettoError) for outcome in outcomes):
            self.latencies.note(anyio.current_time() - began)
        return outcomes

    async def _hedged(self, body: Body, delay: float) -> Sequence[Any]:
        contest = _Contest(body)
        async with anyio.create_task_group() as tasks:
            for attempt in range(self.times):
                contest.running += 1
                tasks.start_soon(contest.attempt, attempt)
                with anyio.move_on_after(delay if attempt < self.times - 1 else None):
                    await contest.ended.wait()
                # A batch may cost more than is saved, which is then owed: over many requests the share is kept.
                if self.saved < 1:
                    await contest.ended.wait()
                if contest.ended.is_set():
                    break
                self.saved -= len(contest.open)
            tasks.cancel_scope.cancel()
        return [contest.outcomes[i] for i in range(len(body.rows))]


class _Contest:
    """The attempts at the rows of one call, and what has come of them: the first success, or the first's error."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._failed: dict[int, int] = {}
        self.outcomes: dict[int, Any] = {}
        self.open = dict.fromkeys(range(len(body.rows)))
        self.running = 0
        self.ended = anyio.Event()

    async def attempt(self, number: int) -> None:
        rows = list(self.open)
        for i, outcome in zip(rows, await self._body.run(rows), strict=True):
            if i not in self.open:
                continue
            if not isinstance(outcome, StrettoError):
                del self.open[i]
            elif number > self._failed.get(i, number):
                continue
            else:
                self._failed[i] = number
            self.outcomes[i] = outcome
        self.running -= 1
        if not self.open or not self.running:
            self.ended.set()
