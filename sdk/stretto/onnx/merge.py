"""The pass that puts compiled models that stand together into one graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, Final, TypeAlias, cast

import numpy as np

from stretto.batch.batch import Batch
from stretto.batch.returned import shaped
from stretto.engine.context import Context
from stretto.engine.evaluate import Program
from stretto.errors import BadRows, ModelError
from stretto.models import ModelFunction
from stretto.models.compiled import Compiled
from stretto.models.engines import Plurality
from stretto.models.extras import import_extra
from stretto.models.input.numeric import is_finite
from stretto.models.verify import differing, probes
from stretto.onnx.session import TOLERANCES, WHAT, GraphKernel, Session
from stretto.plan.nodes import Call, Join, Node, Pack
from stretto.plan.plan import Plan, between, ending, outside, rebuilt
from stretto.plan.steps import Stage, Step

ROWS: Final = 64
"""From this number of rows on each model runs by itself: a call then costs little next to the work."""

SIZE: Final = 64_000_000
"""The most bytes of graphs to put together: copying large forests takes longer than one call saves."""

Reader: TypeAlias = Callable[[Sequence[np.ndarray], int], Batch]
"""A function from the outputs of a graph, one of each of its models, and their length."""


def merge(plan: Plan) -> Plan:
    """Return the plan in whose stages chains, fan-outs and votes of compiled models are one call of one graph.

    The models stay next to the graph: they run for what it can't compute, such as bad rows.
    """

    def merged(stage: Step | Stage) -> Step | Stage:
        if not isinstance(stage, Stage) or stage.deployment:
            return stage
        inner = stage.plan.fold(_with_plans, lambda plan, output: _grouped(ending(plan, output)))
        return stage if inner is stage.plan else replace(stage, plan=inner)

    return plan.with_calls(merged)


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
    try:
        compute = Merged.of(plan)
    except (ModelError, RuntimeError, ValueError):  # onnx is not installed, or the graphs don't go together
        return None
    if not _agrees(compute, plan):
        return None
    return Call(tuple(sources), step=Stage(plan, reason="one graph on ONNX Runtime", compute=compute))


class _Models:
    """The models of a plan, each once and after its source, by place; `read` makes the plan's output of theirs.

    Raises:
        ValueError: it has a value that no model makes, or votes that can't be counted here.
    """

    def __init__(self, plan: Plan) -> None:
        self.places: dict[tuple[Any, int | None], int] = {}
        values: dict[Node, int | Reader | None] = dict.fromkeys(plan.inputs)
        for node in plan.order:
            values[node] = self._value(node, [values[each] for each in node.inputs])
        self.read = self._reader(values[plan.output])

    def _value(self, node: Node, inputs: Sequence[Any]) -> int | Reader:
        """Return the place of a node's model, or what reads its value."""
        match node:
            case Pack(names=names):
                readers = [self._reader(each) for each in inputs]
                return lambda raw, size: Batch.pack(names, [each(raw, size) for each in readers], size)
            case Join(members=members, feeds=feeds, names=names):
                own: dict[Node, Any] = dict(zip(node.inputs, inputs, strict=True))
                places = [
                    reduce(self._model, plan.order, own[fed[0]]) for plan, fed in zip(members, feeds, strict=True)
                ]
                weights = _weights(node) or {}
                return self._vote(places, [float(weights[name]) for name in names])
            case _:
                return self._model(inputs[0], node)

    def _model(self, source: int | None, node: Node) -> int:
        return self.places.setdefault((_model(node), source), len(self.places))

    def _reader(self, value: int | Reader | None) -> Reader:
        if value is None:
            raise ValueError("a graph holds models alone")
        if not isinstance(value, int):
            return value
        fn = self._at(value)
        return lambda raw, size: shaped(fn.labelled(fn.method.shaped(fn.method.kernel.read(raw[value]))), size)

    def _at(self, place: int) -> Any:
        return list(self.places)[place][0]

    def _vote(self, places: Sequence[int | None], weights: Sequence[float]) -> Reader:
        """Return what counts votes: of equal labels the first in sort order wins."""
        if None in places:
            raise ValueError("a graph holds models alone")
        fns = [self._at(cast("int", each)) for each in places]
        classes = [each.classes if each.method.kernel.classes is not None else (None,) for each in fns]
        kinds = {type(label) for each in classes for label in each}
        if kinds not in ({str}, {int}) or not all(weight.is_integer() for weight in weights):
            raise ValueError("votes are counted of strings, or of whole numbers, and with whole weights")
        labels: list[Any] = sorted({label for each in classes for label in each})
        # What each class of a model adds to each label.
        tables = [
            np.array([[weight * (label == own) for label in labels] for own in each])
            for each, weight in zip(classes, weights, strict=True)
        ]
        names = np.array(labels, dtype=object if kinds == {str} else np.int64)
        ballots = list(zip(cast("list[int]", places), tables, strict=True))
        return lambda raw, size: Batch(names[np.sum([table[raw[at]] for at, table in ballots], 0).argmax(1)], size)


class Merged:
    """Computes the output of a plan of models by one call of a graph of them all."""

    __slots__ = ("_content", "_plan", "_read", "_reader", "_session", "_sources")

    def __init__(self, plan: Plan, content: bytes) -> None:
        self._plan, self._content = plan, content
        self._session = Session(content)
        models = _Models(plan)
        self._read = models.read
        self._sources = {source for _, source in models.places if source is not None}
        self._reader = next(fn.reader for fn, source in models.places if source is None)

    def __reduce__(self) -> tuple[type[Merged], tuple[Any, ...]]:
        return Merged, (self._plan, self._content)

    @classmethod
    def of(cls, plan: Plan) -> Merged:
        """Return what computes a plan.

        Raises:
            ModelError: onnx is not installed.
            RuntimeError: ONNX Runtime can't load the graph.
            ValueError: the plan's models do not go together.
        """
        models = list(_Models(plan).places)
        kernels = [fn.method.kernel for fn, _ in models]
        readers = {fn.reader.key for fn, source in models if source is None}
        size = sum(len(each.content) for each in kernels)
        if len(models) < 2 or len(readers) > 1 or size > SIZE or any(each.precision != "double" for each in kernels):
            raise ValueError("these models are no graph")
        whole = _joined([(kernel.content, source) for kernel, (_, source) in zip(kernels, models, strict=True)])
        return cls(plan, whole.SerializeToString())

    def __call__(self, batch: Batch) -> Batch | None:
        """Return the answers to the rows; None where each model must run by itself."""
        if isinstance(batch.values, tuple):
            return None
        try:
            rows = batch.read(self._reader)
        except BadRows:
            return None
        if not rows.finite or not 0 < rows.size < ROWS:
            return None
        raw = self._session(rows.data)
        return self._read(raw, rows.size) if all(is_finite(raw[at]) for at in self._sources) else None


def _agrees(compute: Merged, plan: Plan) -> bool:
    """Return whether the graph's answers to drawn rows are those of the plan."""
    table = probes(cast("Any", next(plan.steps()).fn).estimator)[: ROWS - 1]
    expected = Program(plan)((Batch(table, len(table)),), Context())
    answers = compute(Batch(table, len(table)))
    return answers is not None and not expected.errors and _same(table, expected.data(), answers.data())


def _same(table: np.ndarray, expected: Any, answers: Any) -> bool:
    if isinstance(expected, dict):
        columns = cast("dict[str, Any]", expected)
        return all(_same(table, column, answers[key]) for key, column in columns.items())
    return not differing(table, np.asarray(expected), answers, TOLERANCES["double"])


def _joined(models: Sequence[tuple[bytes, int | None]]) -> Any:
    """Return the graph of models, each given by its graph and its source; the output of one is ``outPLACE``."""
    onnx: Any = import_extra("onnx", "onnx", WHAT)
    compose: Any = import_extra("onnx.compose", "onnx", WHAT)
    parts: list[Any] = []
    for at, (content, source) in enumerate(models):
        part = compose.add_prefix(onnx.load_from_string(content), f"m{at}_")
        names = {
            part.graph.input[0].name: "rows" if source is None else f"out{source}",
            part.graph.output[0].name: f"out{at}",
        }
        for node in part.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        part.graph.output[0].name = f"out{at}"
        parts.append(part)
    whole = parts[0]
    whole.graph.input[0].name = "rows"
    for part in parts[1:]:
        for kind in ("node", "initializer", "output"):
            getattr(whole.graph, kind).extend(getattr(part.graph, kind))
    # A node that has another meaning in the newer version fails to load, and each model then runs by itself.
    newest: dict[str, int] = {}
    for each in (each for part in parts for each in part.opset_import):
        newest[each.domain] = max(each.version, newest.get(each.domain, 0))
    del whole.opset_import[:]
    for domain, version in newest.items():
        whole.opset_import.add(domain=domain, version=version)
    return whole
