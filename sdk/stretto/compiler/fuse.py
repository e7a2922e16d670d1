"""Gather synchronous work that belongs in one place into stages."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from stretto.plan.nodes import Call, Node, Pack
from stretto.plan.plan import Plan, between, ending, outside, rebuilt
from stretto.plan.steps import Stage


def fuse(plan: Plan) -> Plan:
    """Return the plan in which maximal groups of nodes that can't suspend are calls of stages.

    A node joins the stage of its consumers where all of these are in one stage, and none of them has to wait for
    something that the node need not wait for: otherwise work that could run next to an asynchronous step would run
    after it.
    """

    def rule(node: Node, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Node:
        # A node that can't suspend will be inside a stage, where a stage of its own has no use.
        return rebuilt(node, inputs, plans if node.waits else node.plans)

    return plan.fold(rule, lambda plan, output: _fused(ending(plan, output)))


@dataclass(slots=True, eq=False)
class _Group:
    output: Node
    level: int
    nodes: list[Node] = field(default_factory=list)


def _fused(plan: Plan) -> Plan:
    groups = _groups(plan)
    done: dict[Node, Node] = {node: node for node in plan.inputs}
    for node in plan.order:
        group = groups.get(node)
        if group is None:
            done[node] = rebuilt(node, tuple([done[each] for each in node.inputs]), node.plans)
        elif group.output is node:
            starts = outside(group.nodes[::-1])
            stage = Stage(between(starts, node))
            done[node] = Call(tuple([done[each] for each in starts]), step=stage)
    return Plan(plan.inputs, done[plan.output])


def _groups(plan: Plan) -> dict[Node, _Group]:
    """Return the group of every node that can be in a stage; a group of packs alone has no work to batch."""
    consumers: defaultdict[Node, list[Node]] = defaultdict(list)
    level = plan.depths()
    for node in plan.order:
        for each in node.inputs:
            consumers[each].append(node)
    groups: dict[Node, _Group] = {}
    for node in reversed(plan.order):
        if node in plan.waiting:
            continue
        joined = {groups.get(each) for each in consumers[node]}
        group = joined.pop() if len(joined) == 1 and node is not plan.output else None
        if group is None or group.level != level[node]:
            group = _Group(node, level[node])
        group.nodes.append(node)
        groups[node] = group
    return {node: group for node, group in groups.items() if not all(isinstance(each, Pack) for each in group.nodes)}
