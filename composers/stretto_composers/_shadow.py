"""A candidate beside the part that answers."""

import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from stretto import composer
from stretto.errors import PipelineError, StrettoError
from stretto.nodes import Around, Aside, Body, Input, Node, Part, Plan, Within, as_pipeline, plan_of
from stretto_composers._policies.settings import Forgetful, fraction, seconds

LOG = logging.getLogger("stretto.shadow")
AT_ONCE = 16
"""How many requests a candidate looks at side by side in a process; more are dropped."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row on which a candidate disagreed, with the answer that was given and the candidate's answer or error."""

    row: Any
    answer: Any
    candidate: Any


@dataclass(eq=False)
class Report:
    """What a `shadow` has seen in this process: a pickled one begins anew.

    `rows` were given to the candidate; on `disagreed` of them it gave another answer, and on `failed` of them none.
    `dropped` rows were to be looked at and were not, since the candidate could not keep up. `examples` are the latest
    rows of disagreement or failure.

    >>> Report()
    Report(rows=0, disagreed=0, failed=0, dropped=0)
    """

    rows: int = 0
    disagreed: int = 0
    failed: int = 0
    dropped: int = 0
    examples: deque[Example] = field(default_factory=lambda: deque(maxlen=20), repr=False)

    @property
    def agreement(self) -> float | None:
        """The share of its answers in which the candidate agreed; None where it gave none."""
        answered = self.rows - self.failed
        return 1 - self.disagreed / answered if answered else None

    def __reduce__(self) -> tuple[Any, ...]:
        return Report, ()


@composer
def shadow(
    x: Node,
    part: Part[Any, Any],
    candidate: Part[Any, Any],
    *,
    sample: float = 1.0,
    compare: Callable[[Any, Any], bool] | None = None,
    report: Report | None = None,
    timeout: float = 10.0,
) -> Node:
    """Return the part's answer, and compare it with the answer of a candidate that runs afterwards on the same row.

    It neither delays nor fails the request. It sees the share `sample` of the rows that the part answered, has
    `timeout` seconds for them, and under load it is what goes first. `compare` is given both answers and says whether
    they agree; without it they are to be equal. `report` is where counts and examples of disagreement can be seen, in
    the process that answers: on Ray Serve in each replica. The logger ``stretto.shadow`` tells of the first
    disagreement, the second, the fourth and so on.

    Raises:
        PipelineError: `sample` is not between 0 and 1, `timeout` not above 0, or `compare` no function.

    >>> import asyncio
    >>> from stretto import Client
    >>> report = Report()
    >>> async def main():
    ...     async with Client(shadow(abs, lambda x: x, report=report)) as client:
    ...         answers = await client.predict_many([1, -2])
    ...         while report.rows < 2:
    ...             await asyncio.sleep(0.001)
    ...         return answers
    >>> asyncio.run(main()), report.examples[0]
    ([1, 2], Example(row=-2, answer=2, candidate=-2))
    """
    if compare is not None and not callable(compare):
        raise PipelineError(f"compare={compare!r}: it takes a function that is given both answers")
    share, within = fraction("sample", sample, zero=True), seconds("timeout", timeout)
    policy = Watch(as_pipeline(candidate).label, share, compare, report or Report())
    answer = as_pipeline(part)(x)
    row, main_answer = Input(), Input()
    compared = Plan((row, main_answer), Within((row,), body=plan_of(candidate), seconds=within, name="timeout"))
    row, main_answer = Input(), Input()
    watched = Plan((row, main_answer), Around((row, main_answer), body=compared, policy=policy, name="shadow"))
    return Aside((answer, x, answer), body=watched, dropped=policy.refused)


@dataclass(eq=False, repr=False)
class Watch(Forgetful):
    """Runs the candidate on a sample of the rows, without being awaited, and records where it differs.

    Event loops of several threads record under a lock.
    """

    candidate: str
    sample: float
    compare: Callable[[Any, Any], bool] | None
    report: Report = field(repr=False)
    under_way: int = field(init=False, repr=False, default=0)
    lock: Lock = field(init=False, repr=False, default_factory=Lock)

    attempts = (0, 1)

    async def __call__(self, body: Body) -> Sequence[Any]:
        """Return None for each row."""
        chosen = [i for i in range(len(body.rows)) if random.random() < self.sample]
        if self.under_way >= AT_ONCE:
            self.report.dropped += len(chosen)
        elif chosen:
            self.under_way += 1
            try:
                outcomes = await body.run(chosen)
            finally:
                self.under_way -= 1
            for i, outcome in zip(chosen, outcomes, strict=True):
                row, answer = body.rows[i]
                self._note(row, answer, outcome)
        return [None] * len(body.rows)

    def refused(self, rows: int) -> None:
        """Count those of the rows that would have been in the sample, had there been a place for them to wait."""
        self.report.dropped += sum(random.random() < self.sample for _ in range(rows))

    def _note(self, row: Any, answer: Any, outcome: Any) -> None:
        agrees = False
        try:
            agrees = not isinstance(outcome, StrettoError) and (self.compare or equal)(answer, outcome)
        except (Exception, SystemExit) as error:  # a comparison that fails counts as a candidate that does
            outcome = error
        failed = isinstance(outcome, Exception | SystemExit)
        report = self.report
        with self.lock:
            report.rows += 1
            if agrees:
                return
            report.failed += failed
            report.disagreed += not failed
            report.examples.append(Example(row, answer, outcome))
            count = report.failed + report.disagreed
        if not count & (count - 1):
            says = "shadow: of %d rows %r disagreed on %d and failed on %d"
            LOG.warning(says, report.rows, self.candidate, report.disagreed, report.failed)


def equal(answer: Any, other: Any) -> bool:
    """Return whether two answers are equal, arrays by what is in them."""
    arrays = isinstance(answer, np.ndarray) or isinstance(other, np.ndarray)
    return np.array_equal(answer, other) if arrays else bool(answer == other)
