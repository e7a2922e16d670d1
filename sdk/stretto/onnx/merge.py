"""The pass that puts compiled models that stand together into one graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, cast

import numpy as np

from stretto.batch.batch import Batch
from stretto.engine.context import Context
from stretto.engine.evaluate import Program
from stretto.models import ModelFunction
from stretto.models.compiled import Compiled
from stretto.models.engines import Plurality
from stretto.models.verify import differing, probes
from stretto.onnx.kernel import TOLERANCES, GraphKernel
from stretto.onnx.merged import ROWS, Answer, Fields, Merged, Model, Vote, merged, models_of
from stretto.plan.nodes import Call, Join, Node, Pack
from stretto.plan.plan import Plan, between, ending, outside, rebuilt
from stretto.plan.steps import Stage, Step


def merge(plan: Plan) -> Plan:
    """Return the plan in whose stages chains, fan-outs and votes of compiled models are one call of one graph.

    The models stay next to the graph: they run for what it can't compute, such as bad rows.
    """

    def rule(node: Node) -> Node:
        if not isinstance(node, Call) or not isinstance(node.step, Stage) or node.step.deployment:
            return node
        inner = node.step.plan.fold(_with_plans, lambda plan, output: _grouped(ending(plan, output)))
        return node if inner is node.step.plan else replace(node, step=replace(node.step, plan=inner))

    return plan.rewrite(rule)


def _with_plans(node: Node, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Node:
    # The members of a vote will be inside a graph, where one of their own has no use.
    return rebuilt(node, inputs, node.plans if _is_computable(node) else plans)


def _model(node: Node) -> ModelFunction | None:
    """Return the model that a node calls, if a graph computes it."""
    fn: Any = node.step.fn if isinstance(node, Call) and isinstance(node.step, Step) else None
    method = fn.method if isinstance(fn, ModelFunction) else None
    return fn if isinstance(method, Compiled) and isinstance(method.kernel, GraphKernel) else None


def _transforms(node: Node) -> bool:
    """Return whether a node calls a compiled model whose answers are the rows of another."""
    fn = _model(node)
    return fn is not None and fn.transforms


def _is_computable(node: Node) -> bool:
    """Return whether a graph can compute the node, given its inputs."""
    if not isinstance(node, Join):
        return isinstance(node, Pack) or _model(node) is not None
    chains = all(_model(each) for plan in node.members for each in plan.order)
    inner = all(_transforms(each) for plan in node.members for each in plan.order[:-1])
    return chains and inner and _weights(node) is not None


def _weights(node: Join) -> Mapping[str, float] | None:
    return node.until.plurality(node.names) if isinstance(node.until, Plurality) else None


def _takes(consumer: Node, node: Node) -> bool:
    """Return whether a graph can compute both: a value that one model makes for another is a row of numbers."""
    if isinstance(consumer, Join):
        direct = all(not plan.order for plan, fed in zip(consumer.members, consumer.feeds, strict=True) if node in fed)
        return _transforms(node) or (direct and _model(node) is not None)
    return isinstance(consumer, Pack) or _transforms(node)


def _grouped(plan: Plan) -> Plan:
    """Return the plan in which the largest groups of nodes that a graph can compute are calls of one each."""
    consumers: defaultdict[Node, list[Node]] = defaultdict(list)
    for node in plan.order:
        for source in node.inputs:
            consumers[source].append(node)
    groups: dict[Node, list[Node]] = {}
    for node in filter(_is_computable, reversed(plan.order)):
        above = [groups.get(each) if _takes(each, node) else None for each in consumers[node]]
        group = above[0] if above and node is not plan.output and all(each is above[0] for each in above) else None
        groups[node] = [] if group is None else group
        groups[node].append(node)
    calls = {node: _call(group) for node, group in groups.items() if group[0] is node}
    done: dict[Node, Node] = {}
    for node in (*plan.inputs, *plan.order):
        call = calls.get(node) or node
        done[node] = rebuilt(call, tuple([done[each] for each in call.inputs]), call.plans)
    return ending(plan, done[plan.output])


def _call(group: list[Node]) -> Node | None:
    """Return the call of one graph for a group, whose output comes first; None where there can be none."""
    sources = outside(group)
    if len(sources) != 1:
        return None
    plan = between(sources, group[0])
    answer = plan.fold(_answer)
    models = [] if answer is None else models_of(answer)
    compute = merged(answer, models) if answer is not None and len(models) > 1 else None
    if compute is None or not _agrees(compute, plan, probes(models[0].fn.estimator)[: ROWS - 1]):
        return None
    return Call(tuple(sources), step=Stage(plan, reason="one graph on ONNX Runtime", compute=compute))


def _answer(node: Node, inputs: tuple[Answer | None, ...], plans: Sequence[Any]) -> Answer | None:
    """Return what makes a node's value from the one input of a group's plan, which is None itself."""
    match node:
        case Call():
            return Model(_model(node), cast("Model | None", inputs[0]))
        case Pack(names=names):
            return None if None in inputs else Fields(names, cast("tuple[Answer, ...]", inputs))
        case Join(members=members, feeds=feeds, names=names):
            own: dict[Node, Any] = dict(zip(node.inputs, inputs, strict=True))
            models: list[Any] = []
            for plan, fed in zip(members, feeds, strict=True):
                models.append(reduce(lambda source, each: Model(_model(each), source), plan.order, own[fed[0]]))
            weights = _weights(node) or {}
            return None if None in models else Vote(tuple(models), tuple(float(weights[name]) for name in names))
        case _:
            return None


def _agrees(compute: Merged, plan: Plan, table: np.ndarray) -> bool:
    """Return whether the graph's answers to the rows of a table are those of the plan."""
    expected = Program(plan)((Batch(table, len(table)),), Context())
    answers = compute(Batch(table, len(table)))
    return answers is not None and not expected.errors and _same(table, expected.data(), answers.data())


def _same(table: np.ndarray, expected: Any, answers: Any) -> bool:
    if isinstance(expected, dict):
        columns = cast("dict[str, Any]", expected)
        return all(_same(table, column, answers[key]) for key, column in columns.items())
    return not differing(table, np.asarray(expected), answers, TOLERANCES["double"])
