"""A plan evaluated over a batch: awaited by `evaluate`, or at once by a `Program`.

These, and the meanings of nodes that they run, are the only meaning that a plan has besides the oracle in
`stretto.testing`. Tasks are started only where something can wait.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import anyio

from stretto.batch.batch import Batch
from stretto.engine.apply import apply
from stretto.engine.backend import Backend
from stretto.engine.context import Context
from stretto.engine.meaning import meaning, pack
from stretto.engine.threads import run_sync
from stretto.plan.nodes import Call, Node, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step


async def evaluate(plan: Plan, columns: Sequence[Batch], backend: Backend, context: Context) -> Batch:
    """Return the plan's output for the rows of its inputs' batches; failures are outcomes of rows, never raised."""
    values: dict[Node, Batch] = dict(zip(plan.inputs, columns, strict=True))
    if plan.forks:
        await _Flow(plan, values, backend, context).run()
    else:
        for node in plan.order:
            values[node] = await meaning(node, [values[each] for each in node.inputs], context, backend)
    return values[plan.output]


class _Flow:
    """Evaluates a plan in which several nodes wait side by side, each as soon as its inputs are there."""

    def __init__(self, plan: Plan, values: dict[Node, Batch], backend: Backend, context: Context) -> None:
        self.values, self.backend, self.context = values, backend, context
        self.missing = {node: len({*node.inputs} - {*plan.inputs}) for node in plan.order}
        self.consumers: defaultdict[Node, list[Node]] = defaultdict(list)
        for node in plan.order:
            for each in {*node.inputs}:
                self.consumers[each].append(node)

    async def run(self) -> None:
        async with anyio.create_task_group() as self.tasks:
            await self.follow([node for node, missing in self.missing.items() if not missing])

    async def follow(self, ready: list[Node]) -> None:
        """Evaluate nodes, and those that this makes ready; all but the first get tasks of their own."""
        while ready:
            node, *others = ready
            for each in others:
                self.tasks.start_soon(self.follow, [each])
            columns = [self.values[each] for each in node.inputs]
            self.values[node] = await meaning(node, columns, self.context, self.backend)
            ready = []
            for consumer in self.consumers[node]:
                self.missing[consumer] -= 1
                ready += [] if self.missing[consumer] else [consumer]


Function: TypeAlias = Callable[[Sequence[Batch], Context], Batch]


class Program:
    """A plan in which nothing waits, made once into a list of functions; calling it evaluates the plan at once.

    Between two models all code runs from a cold cache, so the usual nodes, calls of steps and dicts of their answers,
    have nothing else on their way.
    """

    def __init__(self, plan: Plan, backend: _Now | None = None) -> None:
        backend = _Now() if backend is None else backend
        place: dict[Node, int] = {node: at for at, node in enumerate(plan.inputs)}
        self._code: list[tuple[Function, tuple[int, ...]]] = []
        for node in plan.order:
            self._code.append((_function(node, backend), tuple(place[each] for each in node.inputs)))
            place[node] = len(place)
        self._output = place[plan.output]

    def __call__(self, columns: Sequence[Batch], context: Context) -> Batch:
        """Return the plan's output for the rows of its inputs' batches."""
        values = list(columns)
        for function, inputs in self._code:
            values.append(function([values[at] for at in inputs], context))
        return values[self._output]


def _function(node: Node, backend: _Now) -> Function:
    """Return a node's meaning as a function: in a plan that does not wait, all its work can be done at once."""

    def visit(columns: Sequence[Batch], context: Context) -> Batch:
        return run_sync(meaning(node, columns, context, backend))

    match node:
        case Pack():
            return lambda columns, context: pack(node, columns, context)
        case Call(step=Step() as step):
            return lambda columns, context: (
                visit(columns, context) if columns[0].errors else apply(step, columns[0], context)
            )
        case _:
            return visit


class _Now(Backend):
    """Runs the calls of a plan that does not wait at once, and keeps the programs of its sub-plans."""

    def __init__(self) -> None:
        self._programs: dict[Plan, Program] = {}

    def program(self, plan: Plan) -> Program:
        if plan not in self._programs:
            self._programs[plan] = Program(plan, self)
        return self._programs[plan]

    async def run(self, step: Step | Stage, columns: Sequence[Batch], context: Context) -> Batch:
        if isinstance(step, Step):
            return apply(step, columns[0], context)
        # A stage inside another computes its output in one call, unless its steps are traced.
        if step.compute is not None and context.spans is None and not context.expired and not columns[0].errors:
            result = step.compute(columns[0])
            if result is not None:
                return result
        return self.program(step.plan)(columns, context)

    async def evaluate(self, plan: Plan, columns: Sequence[Batch], context: Context) -> Batch:
        return self.program(plan)(columns, context)

    def aside(self, work: Callable[[], Any]) -> bool:
        raise AssertionError("a stage holds nothing that waits")
