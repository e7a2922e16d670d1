"""Do equal work once."""

from __future__ import annotations

from collections.abc import Hashable

from stretto.plan.nodes import Call, Node, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Step


def share(plan: Plan) -> Plan:
    """Return the plan in which equal calls of pure steps on the same input are one call, as in
    ``parallel(scale >> a, scale >> b)``.

    Sub-plans keep to themselves: what they hold may not be wanted, so nothing is taken out of them.
    """  # noqa: D205
    seen: dict[Plan, Plan] = {}

    def shared(plan: Plan) -> Plan:
        if plan in seen:
            return seen[plan]
        first: dict[Hashable, Node] = {}
        done: dict[Node, Node] = {node: node for node in plan.inputs}
        for node in plan.order:
            inputs = tuple(done[each] for each in node.inputs)
            plans = tuple(shared(each) for each in node.plans)
            same = all(a is b for a, b in zip((*inputs, *plans), (*node.inputs, *node.plans), strict=True))
            twin = node if same else node.rebuild(inputs, plans)
            key = _key(twin)
            done[node] = twin if key is None else first.setdefault(key, twin)
        seen[plan] = Plan(plan.inputs, done[plan.output])
        return seen[plan]

    return shared(plan)


def _key(node: Node) -> Hashable:
    match node:
        case Call(step=Step(pure=True) as step):
            # The name is part of it: an error must come from the step that was written there.
            return ("call", step.key if step.key is not None else id(step), step.name, node.inputs)
        case Pack(names=names, on_error=on_error):
            return ("pack", names, on_error, node.inputs)
        case _:
            return None
