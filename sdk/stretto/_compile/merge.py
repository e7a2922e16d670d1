"""Put compiled models that stand together into one graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from stretto._apply import shaped
from stretto._column import Column
from stretto._ir import Call, Input, Node, Pack, Plan, Stage, Step
from stretto._models import Member, Merged, is_compiled, merged

Shape: TypeAlias = "int | Mapping[str, Shape]"
"""Which member's answers, or a dict of them."""


def merge(plan: Plan) -> Plan:
    """Give the plan in whose stages chains and fan-outs of compiled models are one call of one graph.

    The graph stands beside the models as they were: they answer what it can't, such as rows that are wrong.
    """

    def rule(node: Node) -> Node:
        if isinstance(node, Call) and isinstance(node.step, Stage) and not node.step.host:
            inner = _merged(node.step.plan)
            return node if inner is node.step.plan else replace(node, step=replace(node.step, plan=inner))
        return node

    return plan.rewrite(rule)


@dataclass(frozen=True, slots=True)
class Graph:
    """Gives a stage's column by one call of a graph."""

    models: Merged
    shape: Shape

    def __call__(self, column: Column) -> Column | None:
        """Give the column, or None where the models must be asked one by one."""
        if isinstance(column.values, tuple):
            return None
        answers = self.models(column.data())
        return None if answers is None else shaped(_put(self.shape, answers), column.size)


def _put(shape: Shape, answers: list[Any]) -> Any:
    if isinstance(shape, int):
        return answers[shape]
    return {name: _put(each, answers) for name, each in shape.items()}


def _merged(plan: Plan) -> Plan:
    consumers: defaultdict[Node, set[Node]] = defaultdict(set)
    for node in plan.order:
        for each in node.inputs:
            consumers[each].add(node)
    taken: set[Node] = set()
    found: dict[Node, Node] = {}
    for node in reversed(plan.order):
        group = None if node in taken else _group(node, consumers)
        if group is not None:
            members, inside = group
            taken |= inside
            call = _call(node, members, inside)
            if call is not None:
                found[node] = call
    if not found:
        return plan
    done: dict[Node, Node] = {node: node for node in plan.inputs}
    for node in plan.order:
        made = found.get(node, node)
        done[node] = made.rebuild(tuple(done[each] for each in made.inputs), made.plans)
    return Plan(plan.inputs, done[plan.output])


def _group(node: Node, consumers: Mapping[Node, set[Node]]) -> tuple[list[Node], set[Node]] | None:
    """Give the calls of models that make a node's value and nothing else, in order, and all nodes among them."""
    calls: list[Node] = []
    inside: set[Node] = set()
    roots: set[Node] = set()

    def visit(each: Node) -> bool:
        if each in inside:
            return True
        if each is not node and not consumers[each] <= inside:
            return False
        match each:
            case Pack():
                inside.add(each)
                return all(visit(one) for one in each.inputs)
            case Call(step=Step() as step, inputs=[given]) if is_compiled(step):
                inside.add(each)
                if isinstance(given, Call) and isinstance(given.step, Step) and is_compiled(given.step, inner=True):
                    if not visit(given):
                        roots.add(given)
                else:
                    roots.add(given)
                calls.append(each)
                return True
            case _:
                return False

    whole = visit(node)
    return (calls, inside) if whole and len(calls) > 1 and len(roots) == 1 else None


def _call(node: Node, calls: list[Node], inside: set[Node]) -> Node | None:
    place = {each: at for at, each in enumerate(calls)}
    members = [Member(_fn(each), place.get(each.inputs[0])) for each in calls]
    models = merged(members)
    if models is None:
        return None
    root = next(each.inputs[0] for each in calls if each.inputs[0] not in place)
    start = Input()
    copies: dict[Node, Node] = {root: start}

    def copy(each: Node) -> Node:
        if each not in copies:
            copies[each] = each.rebuild(tuple(copy(one) for one in each.inputs), each.plans)
        return copies[each]

    stage = Stage(
        Plan((start,), copy(node)), reason="one graph on ONNX Runtime", graph=Graph(models, _shape(node, place))
    )
    return Call((root,), step=stage)


def _fn(node: Node) -> Any:
    assert isinstance(node, Call) and isinstance(node.step, Step)  # noqa: PT018
    return node.step.fn


def _shape(node: Node, place: Mapping[Node, int]) -> Shape:
    if isinstance(node, Pack):
        return {name: _shape(each, place) for name, each in zip(node.names, node.inputs, strict=True)}
    return place[node]
