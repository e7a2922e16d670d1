"""Say where each step runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from stretto.errors import PipelineError
from stretto.plan.nodes import Call, Input
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step

Placement: TypeAlias = Literal["auto", "fused", "split"]


TOGETHER: Final = 64
"""The rows of a batch, or of a call, whose cost a profile has next to that of one row."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What steps and hops cost, as measured, in seconds.

    `steps`, `batched` and `hop` are what the placement ``"auto"`` needs; `stretto.simulate` uses all of it. Pairs are
    what one row alone costs, and what a row costs among 64.

    Attributes:
        steps: One row alone, by the step's name.
        batched: A row in a batch of 64.
        hop: A handle call of a Serve deployment with one row.
        reading: Reading a row for the step, a pair; steps that read alike share it.
        busy: The part of its time for which a step holds a core; it waits for the rest. 1 where it is not known.
        hops: Times of calls of one row, evenly spaced from the shortest to the longest.
        caller: The processor time that a call takes of its caller, a pair.
        replica: The processor time that a call takes of the replica, a pair.
        client: The processor time that a client needs for a row of its own, besides its share of a call.
        rows: The rows that it was measured with.
    """

    steps: Mapping[str, float] = field(default_factory=dict)
    batched: Mapping[str, float] = field(default_factory=dict)
    hop: float = 0.004
    reading: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    busy: Mapping[str, float] = field(default_factory=dict)
    hops: Sequence[float] = ()
    caller: tuple[float, float] | None = None
    replica: tuple[float, float] | None = None
    client: float = 1.5e-5
    rows: Sequence[Any] = ()

    def step(self, name: str, rows: int) -> float:
        """Return the seconds that a step takes for so many rows."""
        alone = self.steps[name]
        return _line((alone, self.batched.get(name, alone)), rows)

    def read(self, name: str, rows: int) -> float:
        """Return the seconds that reading so many rows for a step takes."""
        return _line(self.reading.get(name, (0.0, 0.0)), rows)

    def call(self, rows: int) -> tuple[float, float]:
        """Return the processor time that a call takes of its caller and of the replica, usual shares if unmeasured."""
        caller = self.caller or (0.55 * self.hop, 0.55 * self.hop / TOGETHER + 3e-6)
        replica = self.replica or (0.4 * self.hop, 0.4 * self.hop / TOGETHER + 3e-6)
        return _line(caller, rows), _line(replica, rows)


def _line(pair: tuple[float, float], rows: int) -> float:
    """Return what `rows` rows cost, on the line through what one and 64 do."""
    alone, batched = pair
    return alone + (rows - 1) * max(0.0, TOGETHER * batched - alone) / (TOGETHER - 1)


def place(plan: Plan, placement: Placement, profile: Profile | None = None) -> Plan:
    """Return the plan in which every call that gets a deployment of its own is one of a hosted stage.

    A step with resources of its own always does; with ``"split"`` so does every model; with ``"auto"`` so does a step
    that by the `profile` costs more than a hop. The others stay in the process that took the request.

    Raises:
        PipelineError: `placement` is none of the three.
    """
    if placement not in ("auto", "fused", "split"):
        raise PipelineError(f"placement={placement!r}: it is 'auto', 'fused' or 'split'")
    hosted: dict[Step, Stage] = {}

    def placed(step: Step | Stage) -> Step | Stage:
        reason = _why_apart(step, placement, profile) if isinstance(step, Step) else ""
        if not isinstance(step, Step) or not reason:
            return step
        if step not in hosted:
            start = Input()
            inner = Plan((start,), Call((start,), step=replace(step, options={})))
            hosted[step] = Stage(inner, deployment=step.name, options=step.options, reason=reason)
        return hosted[step]

    return plan.with_calls(placed)


def _why_apart(step: Step, placement: Placement, profile: Profile | None) -> str:
    if step.options:
        return "asks for resources of its own"
    if placement == "split" and step.model is not None and step.named:
        return "placement='split' gives each model a deployment"
    cost = profile.steps.get(step.name) if placement == "auto" and profile is not None else None
    if cost is not None and profile is not None and cost > profile.hop and step.named:
        return f"takes {cost * 1e3:.3g} ms a row, more than a hop ({profile.hop * 1e3:.3g} ms)"
    return ""
