"""Compile the models of a plan."""

from __future__ import annotations

from typing import Any, Final, cast

from stretto.models import ModelFunction, optimized
from stretto.plan.nodes import Call, Input, Node, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Step

_UNKNOWN: Final = object()


def optimize(plan: Plan, sample: Any) -> Plan:
    """Return the plan in which every model is compiled that can be, and is then faster for a row alone.

    Each is verified on what the rows of `sample` are by the time they reach it, as long as nothing but models made
    that of them: functions are not run. A model behind a function is verified on drawn rows.

    Raises:
        Disagreement: a compiled model differs from its estimator.
        ModelError: what compiles is not installed, or a row of the sample is not what a model takes.
    """
    done: dict[Step, Step] = {}

    def of_plan(plan: Plan, given: Any) -> Plan:
        values: dict[Node, Any] = dict.fromkeys(plan.inputs, given)
        made: dict[Node, Node] = {node: node for node in plan.inputs}
        for node in plan.order:
            values[node] = _value(node, [values[each] for each in node.inputs])
            plans = tuple(of_plan(each, values[node.inputs[0]]) for each in node.plans)
            twin = node.rebuild(tuple(made[each] for each in node.inputs), plans)
            if isinstance(twin, Call) and isinstance(twin.step, Step):
                seen = values[node.inputs[0]]
                if twin.step not in done:
                    done[twin.step] = optimized(twin.step, None if seen is _UNKNOWN else seen)
                twin = Call(twin.inputs, step=done[twin.step])
            made[node] = twin
        return Plan(plan.inputs, made[plan.output])

    return of_plan(plan, _UNKNOWN if sample is None else sample)


def _value(node: Node, given: list[Any]) -> Any:
    """Return what a node makes of the sample, as far as models alone tell."""
    if any(each is _UNKNOWN for each in given):
        return _UNKNOWN
    match node:
        case Call(step=Step(fn=fn)) if isinstance(fn, ModelFunction):
            return fn(given[0])
        case Pack(names=names):
            return dict(zip(names, given, strict=True))
        case Input():
            return cast("object", given[0])
        case _:
            return _UNKNOWN
