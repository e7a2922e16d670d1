"""Reject, before anything runs, a plan that can't give right answers."""

from __future__ import annotations

from stretto.errors import PipelineError
from stretto.models import accepting, check_after_fan_out, check_after_model, seen_through
from stretto.plan.nodes import Call, Node, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Step

DEPTH = 100
"""How deep composers that hold plans may nest: beyond it Python's stack overflows, in pickle's C code first."""


def check(plan: Plan) -> Plan:
    """Return the plan whose models accept the features of the request that other parts read.

    Raises:
        PipelineError: two different steps have one name, a model can't take what stands before it, or composers are
            nested too deep.
    """
    _check_depth(plan)
    named: dict[str, Step] = {}
    for step in plan.steps():
        other = named.setdefault(step.name, step) if step.named else step
        if other is not step and (step.key is None or other.key != step.key):
            raise PipelineError(f"two steps are named {step.name!r}: give each a name of its own, with name=")
    for node in plan.walk():
        _check_fit(node)
    return _sharing_features(plan)


def _check_fit(node: Node) -> None:
    match node:
        case Call(step=Step() as step, inputs=(Pack(names=names),)):
            check_after_fan_out(step, names)
        case Call(step=Step() as step, inputs=(above,)):
            before = seen_through(above)
            if isinstance(before, Call) and isinstance(before.step, Step):
                check_after_model(step, before.step)
        case _:
            pass


def _check_depth(plan: Plan) -> None:
    depth = plan.fold(lambda node, inputs, plans: max([*inputs, *(each + 1 for each in plans)], default=0))
    if depth > DEPTH:
        raise PipelineError(f"composers are nested more than {DEPTH} deep in each other: chain them with >>")


def _sharing_features(plan: Plan) -> Plan:
    # A model rejects a feature it does not know, unless another part of the plan reads it from the same request.
    features = {step: step.features for step in plan.readers()}
    if len(features) < 2:
        return plan
    unknown = None in features.values()
    accepted = None if unknown else frozenset(name for each in features.values() for name in each or ())
    targets = {step: accepting(step, accepted) for step, own in features.items() if own is not None}
    return plan.with_calls(lambda step: targets.get(step, step) if isinstance(step, Step) else step)
