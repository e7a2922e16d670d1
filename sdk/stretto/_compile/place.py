"""Say where each step runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

from stretto._ir import Call, Input, Node, Plan, Stage, Step
from stretto.errors import PipelineError

Placement: TypeAlias = Literal["auto", "fused", "split"]


def place(plan: Plan, placement: Placement) -> Plan:
    """Give the plan in which every call that gets a deployment of its own is one of a hosted stage.

    A step with resources of its own always does; with ``"split"`` so does every model. The others stay in the process that
    took the request.

    Raises:
        PipelineError: `placement` is none of the three.
    """
    if placement not in ("auto", "fused", "split"):
        raise PipelineError(f"placement={placement!r}: it is 'auto', 'fused' or 'split'")
    hosted: dict[Step, Stage] = {}

    def rule(node: Node) -> Node:
        if not (isinstance(node, Call) and isinstance(node.step, Step) and _apart(node.step, placement)):
            return node
        step = node.step
        if step not in hosted:
            start = Input()
            hosted[step] = Stage(Plan((start,), Call((start,), step=replace(step, options={}))), host=step.name, options=step.options)
        return replace(node, step=hosted[step])

    return plan.rewrite(rule)


def _apart(step: Step, placement: Placement) -> bool:
    return bool(step.options) or (placement == "split" and step.pure and step.named)
