"""Put compiled models that stand together into one graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from stretto.batch.batch import Batch
from stretto.engine.apply import shaped
from stretto.errors import BadRows
from stretto.models import Member, Merged, ModelFunction, Votes, merged
from stretto.plan.nodes import Call, Input, Join, Node, Pack
from stretto.plan.plan import Plan
from stretto.plan.protocols import Plurality
from stretto.plan.steps import ModelInfo, Stage, Step

Shape: TypeAlias = "int | Mapping[str, Shape]"
"""Whose answers: a member's by its place, those of a vote by the complement of its place, or a dict of them."""

Env: TypeAlias = "dict[Node, tuple[Node, Env]]"
"""What the inputs of a member's plan stand for, in the plan around it."""


def merge(plan: Plan) -> Plan:
    """Return the plan in whose stages chains, fan-outs and votes of compiled models are one call of one graph.

    The graph stands beside the models as they were: they answer what it can't, such as rows that are wrong.
    """

    def rule(node: Node) -> Node:
        if isinstance(node, Call) and isinstance(node.step, Stage) and not node.step.deployment:
            inner = _merged(node.step.plan, {})
            return node if inner is node.step.plan else replace(node, step=replace(node.step, plan=inner))
        return node

    return plan.rewrite(rule)


@dataclass(frozen=True, slots=True)
class Graph:
    """Gives a stage's column by one call of a graph."""

    models: Merged
    shape: Shape

    def __call__(self, column: Batch) -> Batch | None:
        """Return the column, or None where the models must be asked one by one."""
        if isinstance(column.values, tuple):
            return None
        try:
            answers = self.models(column.read(self.models.schema))
        except BadRows:
            return None
        return None if answers is None else _put(self.shape, answers, column.size)


def _put(shape: Shape, answers: Mapping[int, Any], size: int) -> Batch:
    if isinstance(shape, int):
        answer = answers[shape]
        return shaped(answer, size) if isinstance(answer, dict) else Batch(answer, size)
    return Batch.pack(tuple(shape), [_put(each, answers, size) for each in shape.values()], size)


def _merged(plan: Plan, seen: dict[Plan, Plan]) -> Plan:
    if plan in seen:
        return seen[plan]
    consumers: defaultdict[Node, set[Node]] = defaultdict(set)
    for node in plan.order:
        for each in node.inputs:
            consumers[each].add(node)
    found: dict[Node, Call] = {}
    taken: set[Node] = set()
    for node in reversed(plan.order):
        call, inside = (None, set[Node]()) if node in taken else _together(node, consumers)
        if call is not None:
            found[node] = call
            taken |= inside
    done: dict[Node, Node] = {node: node for node in plan.inputs}
    for node in plan.order:
        made = found.get(node, node)
        plans = tuple(_merged(each, seen) for each in made.plans)
        same = made is node and all(a is b for a, b in zip(plans, node.plans, strict=True))
        same = same and all(done[each] is each for each in node.inputs)
        if node not in taken or made is not node:
            done[node] = node if same else made.rebuild(tuple(done[each] for each in made.inputs), plans)
        else:
            done[node] = node
    seen[plan] = plan if done[plan.output] is plan.output else Plan(plan.inputs, done[plan.output])
    return seen[plan]


class _UnfitError(Exception):
    """What is read is not made by compiled models alone."""


class _Reader:
    """Reads what makes a node's value, back to the one node that all of it is made from."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.votes: list[Votes] = []
        self.roots: set[Node] = set()
        self.inside: set[Node] = set()
        self._places: dict[tuple[Node, int], int] = {}

    def read(self, node: Node, env: Env) -> Shape:
        node, env = _resolved(node, env)
        if not env:
            self.inside.add(node)
        match node:
            case Pack(names=names):
                return {name: self.read(each, env) for name, each in zip(names, node.inputs, strict=True)}
            case Call(step=Step(model=ModelInfo(engine="onnx")) as step):
                return self._member(node, step, env)
            case Join() if isinstance(node.until, Plurality):
                return self._vote(node, node.until.plurality(node.names), env)
            case _:
                raise _UnfitError

    def _member(self, node: Node, step: Step, env: Env) -> int:
        key = (node, id(env) if env else 0)
        if key not in self._places:
            given, outer = _resolved(node.inputs[0], env)
            source = None
            if isinstance(given, Call) and isinstance(given.step, Step) and _makes_rows(given.step):
                source = cast("int", self.read(given, outer))
            elif outer:
                raise _UnfitError
            else:
                self.roots.add(given)
            self._places[key] = len(self.members)
            self.members.append(Member(step.fn, source))
        return self._places[key]

    def _vote(self, node: Join, weights: Mapping[str, float] | None, env: Env) -> int:
        if weights is None:
            raise _UnfitError
        places: list[int] = []
        for at, plan in enumerate(node.members):
            given = node.inputs[at if node.own_inputs else 0]
            shape = self.read(plan.output, {plan.inputs[0]: (given, env)})
            if not isinstance(shape, int) or shape < 0:
                raise _UnfitError
            places.append(shape)
        self.votes.append(Votes(tuple(places), tuple(float(weights[name]) for name in node.names)))
        return ~(len(self.votes) - 1)


def _makes_rows(step: Step) -> bool:
    """Return whether the step is a compiled model whose answers are rows of numbers for another."""
    compiled = step.model is not None and step.model.engine == "onnx"
    return compiled and isinstance(step.fn, ModelFunction) and step.fn.transforms


def _resolved(node: Node, env: Env) -> tuple[Node, Env]:
    while node in env:
        node, env = env[node]
    return node, env


def _together(node: Node, consumers: Mapping[Node, set[Node]]) -> tuple[Call | None, set[Node]]:
    """Return the call of one graph for a node, with all nodes whose values are then needed by nobody else."""
    reader = _Reader()
    try:
        shape = reader.read(node, {})
    except _UnfitError:
        return None, set()
    inside = reader.inside
    alone = all(consumers[each] <= inside for each in inside - {node})
    if len(reader.members) < 2 or len(reader.roots) != 1 or not alone:
        return None, set()
    models = merged(reader.members, reader.votes)
    if models is None:
        return None, set()
    (root,) = reader.roots
    stage = Stage(_copied(node, root), reason="one graph on ONNX Runtime", compute=Graph(models, shape))
    return Call((root,), step=stage), inside


def _copied(node: Node, root: Node) -> Plan:
    """Return the plan from the root to the node."""
    start = Input()
    done: dict[Node, Node] = {root: start}
    left = [node]
    while left:
        each = left[-1]
        missing = [one for one in each.inputs if one not in done]
        if each not in done and not missing:
            done[each] = each.rebuild(tuple(done[one] for one in each.inputs), each.plans)
        if each in done:
            left.pop()
        left += missing if each not in done else []
    return Plan((start,), done[node])
