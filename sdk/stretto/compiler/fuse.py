"""Gather synchronous work that belongs in one place into stages."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from stretto.plan.nodes import Call, Input, Node, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage


def fuse(plan: Plan) -> Plan:
    """Return the plan in which maximal groups of nodes that can't suspend are calls of stages.

    A node joins the stage of its consumers where all of these are in one, and none of them has to wait for something
    that the node need not wait for: else what could run beside an asynchronous step would stand in line behind it.
    """
    seen: dict[Plan, Plan] = {}

    def fused(plan: Plan) -> Plan:
        if plan not in seen:
            seen[plan] = _fuse(plan if not plan.waits else _subplans(plan))
        return seen[plan]

    def _subplans(plan: Plan) -> Plan:
        done: dict[Node, Node] = {node: node for node in plan.inputs}
        for node in plan.order:
            plans = tuple(fused(each) if node in plan.waiting else each for each in node.plans)
            done[node] = node.rebuild(tuple(done[each] for each in node.inputs), plans)
        return Plan(plan.inputs, done[plan.output])

    return fused(plan)


@dataclass(slots=True, eq=False)
class _Group:
    output: Node
    level: int
    nodes: list[Node] = field(default_factory=list)


def _fuse(plan: Plan) -> Plan:
    groups = _groups(plan)
    done: dict[Node, Node] = {node: node for node in plan.inputs}
    for node in plan.order:
        group = groups.get(node)
        if group is None:
            done[node] = node.rebuild(tuple(done[each] for each in node.inputs), node.plans)
        elif group.output is node:
            done[node] = _call(group, done)
    return Plan(plan.inputs, done[plan.output])


def _groups(plan: Plan) -> dict[Node, _Group]:
    """Return the group of every node that can be in a stage; a group of packs alone has no work to batch."""
    consumers: defaultdict[Node, list[Node]] = defaultdict(list)
    level: dict[Node, int] = dict.fromkeys(plan.inputs, 0)
    for node in plan.order:
        for each in node.inputs:
            consumers[each].append(node)
        # How many things that wait stand on the way here.
        level[node] = max((level[each] + (each in plan.waiting) for each in node.inputs), default=0)
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


def _call(group: _Group, done: dict[Node, Node]) -> Node:
    outside: dict[Node, Input] = {}
    inner: dict[Node, Node] = {}
    for node in reversed(group.nodes):
        for each in node.inputs:
            if each not in inner and each not in outside:
                outside[each] = Input()
        inner[node] = node.rebuild(tuple(inner.get(each) or outside[each] for each in node.inputs), node.plans)
    stage = Stage(Plan(tuple(outside.values()), inner[group.output]))
    return Call(tuple(done[each] for each in outside), step=stage)
