"""Say where each step runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from stretto.errors import PipelineError
from stretto.plan.nodes import Call, Input
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step

Placement: TypeAlias = Literal["auto", "fused", "split"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What steps and a hop cost, as measured.

    `steps` are seconds for one row alone, by the step's name; `batched` are seconds a row in a batch of 64; `hop` is
    what a handle call of a Serve deployment costs, in seconds.
    """

    steps: Mapping[str, float] = field(default_factory=dict)
    batched: Mapping[str, float] = field(default_factory=dict)
    hop: float = 0.004


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
