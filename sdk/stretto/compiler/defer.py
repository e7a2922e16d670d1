"""Leave for later what may not be wanted."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

from stretto.plan.nodes import Input, Join, Node
from stretto.plan.plan import Plan

DEPTH = 50
"""How deep members of members are looked into: what stands deeper is done in any case."""


def defer(plan: Plan) -> Plan:
    """Return the plan in which the work that only one member of a `Join` needs is that member's own.

    So ``parallel(a, b, c) >> vote()`` asks no more branches than it takes. What several members share, or anything else
    uses, stays where it is and is done once.
    """
    return _deferred(plan, {}, DEPTH)


def _deferred(plan: Plan, seen: dict[Plan, Plan], depth: int) -> Plan:
    if plan in seen:
        return seen[plan]
    members = _own_work(plan) if depth else {}
    gone = {node for works in members.values() for work in works.values() for node in work}
    done: dict[Node, Node] = {node: node for node in plan.inputs}
    for node in plan.order:
        if node in gone:
            continue
        plans = [_deferred(each, seen, depth) for each in node.plans]
        inputs = list(node.inputs)
        for i, work in members.get(node, {}).items():
            (start,) = _outside(work)
            plans[i] = _deferred(_plan_of(work, start, inputs[i]), {}, depth - 1)
            inputs[i] = start
        done[node] = node.rebuild(tuple(done[each] for each in inputs), tuple(plans))
    seen[plan] = Plan(plan.inputs, done[plan.output])
    return seen[plan]


def _own_work(plan: Plan) -> dict[Node, dict[int, list[Node]]]:
    """Return for each `Join` with inputs of its members' own, by member, the nodes that it alone needs."""
    uses = Counter(each for node in plan.order for each in node.inputs)
    uses[plan.output] += 1
    found: defaultdict[Node, dict[int, list[Node]]] = defaultdict(dict)
    gone: set[Node] = set()
    for node in reversed(plan.order):
        if not isinstance(node, Join) or not node.inline or node in gone:
            continue
        for i, member in enumerate(node.members):
            work = _needed_only_by(node.inputs[i], uses)
            if work and member.output in member.inputs and len(_outside(work)) == 1:
                found[node][i] = work
                gone.update(work)
    return found


def _needed_only_by(node: Node, uses: Counter[Node]) -> list[Node]:
    work: dict[Node, None] = {}
    met = Counter([node])
    left = [node]
    while left:
        each = left.pop()
        if isinstance(each, Input) or each in work or met[each] < uses[each]:
            continue
        work[each] = None
        met.update(each.inputs)
        left += each.inputs
    return list(work)


def _outside(work: list[Node]) -> list[Node]:
    own = set(work)
    return list(dict.fromkeys(each for node in work for each in node.inputs if each not in own))


def _plan_of(work: list[Node], start: Node, output: Node) -> Plan:
    own = Input()
    done: dict[Node, Node] = {start: own}
    left = [output]
    while left:
        node = left[-1]
        missing = [each for each in node.inputs if each not in done]
        if node in done or not missing:
            done.setdefault(node, replace(node, inputs=tuple(done[each] for each in node.inputs)))
            left.pop()
        left += missing if node not in done else []
    return Plan((own,), done[output])
