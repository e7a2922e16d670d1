"""Steps that take their measured time in place of computing, and answer as they did when they were measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, repeat
from typing import Any, cast

from stretto.batch import arrays
from stretto.batch.batch import Batch, dicts
from stretto.compiler import Profile
from stretto.engine.context import Context
from stretto.engine.evaluate import evaluate
from stretto.engine.inline import InlineBackend
from stretto.errors import PipelineError
from stretto.observe.machine import Machine
from stretto.plan.plan import Plan
from stretto.plan.steps import InputReader, Stage, Step


class SampleAnswers:
    """What a step answered to the rows of a sample: to other rows it gives these answers in turn."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._turn: Iterator[Any] = repeat(None)

    def add(self, rows: Sequence[Any], answers: Sequence[Any]) -> None:
        """Add answers to rows, which are known by their text."""
        self._known |= zip(map(repr, rows), answers, strict=True)
        self._turn = cycle(list(self._known.values()))

    def to(self, rows: Sequence[Any]) -> list[Any]:
        """Return the answer to each row."""
        return [self._known[text] if (text := repr(row)) in self._known else next(self._turn) for row in rows]


async def answers_of_steps(plan: Plan, sample: Sequence[Any]) -> dict[str, SampleAnswers]:
    """Return what each step of a plan answers to the rows of a sample: the plan runs once, in this process."""
    recorder = _Recorder()
    try:
        await evaluate(plan, (Batch.of(list(sample), request=True),), recorder, Context())
    finally:
        await recorder.aclose()
    return recorder.answers


class _Recorder(InlineBackend):
    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, SampleAnswers] = {}

    async def run(self, step: Step | Stage, columns: Sequence[Batch], context: Context) -> Batch:
        result = await super().run(step, columns, context)
        rows = result.ok_rows()
        if isinstance(step, Step) and rows:
            self.answers.setdefault(step.name, SampleAnswers()).add(
                columns[0].take(rows).rows(), result.take(rows).rows()
            )
        return result


@dataclass(frozen=True, slots=True)
class Measured:
    """The steps of a plan as a profile has them, on a simulated machine."""

    profile: Profile
    answers: dict[str, SampleAnswers]
    machine: Machine
    _done: dict[Step, Step] = field(default_factory=dict)

    def plan(self, plan: Plan) -> Plan:
        """Return the plan whose steps compute nothing; those that composers made do, in no time.

        Raises:
            PipelineError: the profile lacks a step.
        """
        for step in plan.steps():
            if not step.internal and step.name not in self.profile.steps:
                raise PipelineError(
                    f"the profile does not say what step {step.name!r} costs: measure it with "
                    "stretto.profile(pipeline, rows), with rows that reach it"
                )
        return plan.with_calls(lambda step: self._instead(step) if isinstance(step, Step) else step)

    def _instead(self, step: Step) -> Step:
        if step.internal:
            return step
        if step not in self._done:
            # The rows of a function that does not wait are computed together: so it is one over many rows here.
            together = step.vectorized or not (step.asynchronous or step.blocking)
            model = step.model and replace(step.model, engine="")
            reader = None if step.reader is None else cast("InputReader", _Reader(self, step.name, step.reader.key))
            self._done[step] = replace(
                step, fn=self._function(step, together), vectorized=together, one=None, model=model, reader=reader
            )
        return self._done[step]

    def _function(self, step: Step, together: bool) -> Callable[[Any], Any]:
        answers = self.answers.get(step.name, SampleAnswers())

        def costs(rows: int) -> tuple[float, float]:
            seconds, busy = self.profile.step(step.name, rows), self.profile.busy.get(step.name, 1.0)
            return busy * seconds, (1.0 - busy) * seconds

        def result(value: Any) -> tuple[int, Any]:
            rows = rows_in(value) if together else [value]
            values = answers.to(rows)
            return len(rows), values if together else values[0]

        async def waits(value: Any) -> Any:
            rows, values = result(value)
            busy, waiting = costs(rows)
            self.machine.spend(busy)
            await asyncio.sleep(waiting)
            return values

        def computes(value: Any) -> Any:
            rows, values = result(value)
            self.machine.spend(*costs(rows))
            return values

        return waits if step.asynchronous else computes


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes the time of reading rows, once for all steps that read alike."""

    measured: Measured
    name: str
    key: Any

    def read(self, batch: Any) -> list[Any]:
        rows = rows_in(batch)
        self.measured.machine.spend(self.measured.profile.read(self.name, len(rows)))
        return rows


def rows_in(data: Any) -> list[Any]:
    """Return the rows of what a vectorised function takes: a list, an array, or a dict of these."""
    if isinstance(data, list):
        return cast("list[Any]", data)
    if not isinstance(data, dict):
        return arrays.rows(data)
    columns = [rows_in(each) for each in cast("dict[str, Any]", data).values()]
    return dicts(tuple(cast("dict[str, Any]", data)), columns, len(columns[0]) if columns else 0)
