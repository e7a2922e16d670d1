"""Do equal work once."""

from __future__ import annotations

from collections.abc import Hashable

from stretto.plan.nodes import Call, Node, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Step


def share(plan: Plan) -> Plan:
    """Return the plan in which equal calls of pure steps on the same input are one call.

    In ``parallel(scale >> a, scale >> b)``, `scale` runs once. Nothing is moved out of a sub-plan, since its work may
    not be needed.
    """
    first: dict[Hashable, Node] = {}

    def rule(node: Node) -> Node:
        key = _key(node)
        return node if key is None else first.setdefault(key, node)

    return plan.rewrite(rule)


def _key(node: Node) -> Hashable:
    # Inputs are equal by identity, so equal keys are of nodes that stand in one plan.
    match node:
        case Call(step=Step(pure=True) as step):
            # The name is part of it: an error must come from the step that was written there.
            return ("call", step.key if step.key is not None else id(step), step.name, node.inputs)
        case Pack(names=names, on_error=on_error):
            return ("pack", names, on_error, node.inputs)
        case _:
            return None
