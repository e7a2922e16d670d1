"""Leave for later what may not be wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from stretto.plan.nodes import Input, Join, Node
from stretto.plan.plan import Plan, between, ending, outside, rebuilt

DEPTH = 50
"""How deep this pass nests plans in each other: evaluation and pickling recurse on it. What stands before deeper work
is done in any case."""


def defer(plan: Plan) -> Plan:
    """Return the plan in which the work that only one member of a `Join` needs is that member's own.

    So ``parallel(a, b, c) >> vote()`` runs no more branches than it needs. Work that several members share, or that
    anything else uses, stays where it is and is done once.
    """
    uses = Counter(each for inner in plan.nested() for node in inner.order for each in node.inputs)
    uses.update(inner.output for inner in plan.nested())
    copies: dict[Node, Node] = {}
    depth: Counter[Node] = Counter()

    def rule(node: Node, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Node:
        starts, members = list(inputs), list(plans)
        for at, work in _own_work(node, uses, depth):
            deepest = max(depth[each] for each in work)
            depth[node] = max(depth[node], deepest + 1)
            if deepest < DEPTH:
                starts[at] = copies[outside(work)[0]]
                members[at] = between(starts[at : at + 1], inputs[at])
        copies[node] = rebuilt(node, tuple(starts), tuple(members))
        return copies[node]

    return plan.fold(rule, ending)


def _own_work(node: Node, uses: Mapping[Node, int], depth: Mapping[Node, int]) -> list[tuple[int, list[Node]]]:
    """Return, by member, the nodes that it alone needs, where they are made from one value."""
    if not isinstance(node, Join) or not node.own_inputs:
        return []
    works = [(at, _needed_only_by(each, uses, depth)) for at, each in enumerate(node.inputs)]
    return [
        (at, work)
        for at, work in works
        if work and node.members[at].output in node.members[at].inputs and len(outside(work)) == 1
    ]


def _needed_only_by(node: Node, uses: Mapping[Node, int], depth: Mapping[Node, int]) -> list[Node]:
    work: dict[Node, None] = {}
    met = Counter([node])
    left = [node]
    while left:
        each = left.pop()
        if isinstance(each, Input) or each in work or met[each] < uses[each]:
            continue
        work[each] = None
        if depth[each] >= DEPTH:  # it stays put, and so does all that needs it
            break
        met.update(each.inputs)
        left += each.inputs
    return list(work)
