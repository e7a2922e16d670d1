"""A plan evaluated over a batch: awaited by `evaluate`, or at once by a `Program`.

These, and the meanings of nodes that they run, are the only meaning that a plan has besides the oracle in
`stretto.testing`. Tasks are started only where something can wait.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import anyio

from stretto.batch.batch import Batch
from stretto.engine.apply import apply
from stretto.engine.backend import Backend
from stretto.engine.context import Context
from stretto.engine.join import join
from stretto.engine.meaning import Work, meaning, pack, under
from stretto.errors import StepError, StrettoError
from stretto.plan.nodes import Around, Aside, Call, Join, Node, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step


async def evaluate(plan: Plan, columns: Sequence[Batch], backend: Backend, context: Context) -> Batch:
    """Return the plan's output for the rows of its inputs' batches; failures are outcomes of rows, never raised."""
    values: dict[Node, Batch] = dict(zip(plan.inputs, columns, strict=True))
    if len(plan.waiting) > 1:
        await _Flow(plan, values, backend, context).run()
    else:
        for node in plan.order:
            values[node] = await _visit(node, [values[each] for each in node.inputs], backend, context)
    return values[plan.output]


async def _visit(node: Node, columns: Sequence[Batch], backend: Backend, context: Context) -> Batch:
    steps = meaning(node, columns, context)
    try:
        work = next(steps)
        while True:
            work = steps.send(await _all_done(work, backend))
    except StopIteration as end:
        return end.value


async def _all_done(work: Sequence[Work], backend: Backend) -> Sequence[Batch]:
    if len(work) == 1 or sum(not isinstance(each.what, Plan) or each.what.waits for each in work) < 2:
        return [await _done(each, backend) for each in work]
    results: dict[int, Batch] = {}

    async def one(at: int, each: Work) -> None:
        results[at] = await _done(each, backend)

    async with anyio.create_task_group() as tasks:
        for at, each in enumerate(work):
            tasks.start_soon(one, at, each)
    return [results[at] for at in range(len(work))]


async def _done(work: Work, backend: Backend) -> Batch:
    match work:
        case Work(Plan() as plan, columns, context):
            return await evaluate(plan, columns, backend, context)
        case Work(Step() | Stage() as step, columns, context):
            return await backend.run(step, tuple(columns), context)
        case Work(Join() as node, columns, context):
            return await join(node, columns, context, lambda plan, some: evaluate(plan, some, backend, context))
        case Work(Around() as node, columns, context):
            return await _around(node, columns, backend, context)
        case Work(Aside() as node, columns, _):
            return _aside(node, columns, backend)
        case _:
            raise AssertionError(f"no way to do {work.what!r}")


def _aside(node: Aside, columns: Sequence[Batch], backend: Backend) -> Batch:
    taken = columns[1:] or columns
    if not backend.aside(lambda: evaluate(node.body, taken, backend, Context())) and node.dropped is not None:
        node.dropped(columns[0].size)
    return columns[0]


async def _around(node: Around, columns: Sequence[Batch], backend: Backend, context: Context) -> Batch:
    size = columns[0].size
    try:
        outcomes = await node.policy(_Body(node, columns, backend, context))
        if len(outcomes) != size:
            raise ValueError(f"{size} rows went in and {len(outcomes)} outcomes came out")
    except StrettoError as error:
        return Batch.failed(error.copy() for _ in range(size))
    except Exception as error:
        return Batch.failed(StepError.of(node.title, error) for _ in range(size))
    return Batch.of_outcomes(outcomes)


class _Body:
    """The body of an `Around` over the rows at hand."""

    def __init__(self, node: Around, columns: Sequence[Batch], backend: Backend, context: Context) -> None:
        self._node, self._columns, self._backend, self._context = node, columns, backend, context

    @property
    def rows(self) -> Sequence[Any]:
        rows = [each.rows() for each in self._columns]
        return rows[0] if len(rows) == 1 else list(zip(*rows, strict=True))

    @property
    def budget(self) -> float | None:
        return self._context.budget

    async def run(self, rows: Sequence[int] | None = None, /) -> Sequence[Any]:
        columns = self._columns if rows is None else [each.take(rows) for each in self._columns]
        result = await evaluate(self._node.body, columns, self._backend, self._context)
        return under(self._node, result).outcomes()


class _Flow:
    """Evaluates a plan in which several nodes wait, each as soon as its inputs are there."""

    def __init__(self, plan: Plan, values: dict[Node, Batch], backend: Backend, context: Context) -> None:
        self.plan, self.values, self.backend, self.context = plan, values, backend, context
        self.missing: dict[Node, int] = {}
        self.consumers: defaultdict[Node, list[Node]] = defaultdict(list)
        for node in plan.order:
            needed = {each for each in node.inputs if each not in values}
            self.missing[node] = len(needed)
            for each in needed:
                self.consumers[each].append(node)

    async def run(self) -> None:
        ready = [node for node in self.plan.order if not self.missing[node]]
        async with anyio.create_task_group() as self.tasks:
            await self.follow(deque(ready))

    async def follow(self, ready: deque[Node]) -> None:
        """Evaluate the ready nodes, and those that this makes ready; all that wait but one get tasks of their own."""
        while ready:
            waiting = [node for node in ready if node in self.plan.waiting]
            node = next((node for node in ready if node not in self.plan.waiting), ready[0])
            ready.remove(node)
            for each in waiting:
                if each is not node:
                    ready.remove(each)
                    self.tasks.start_soon(self.follow, deque([each]))
            columns = [self.values[each] for each in node.inputs]
            self.values[node] = await _visit(node, columns, self.backend, self.context)
            for consumer in self.consumers[node]:
                self.missing[consumer] -= 1
                if not self.missing[consumer]:
                    ready.append(consumer)


Function: TypeAlias = Callable[[Sequence[Batch], Context], Batch]


class Program:
    """A plan in which nothing waits, made once into a list of functions; calling it evaluates the plan at once.

    Between two models all code runs from a cold cache, so the usual nodes, calls of steps and dicts of their answers,
    have nothing else on their way.
    """

    def __init__(self, plan: Plan, programs: dict[Plan, Program] | None = None) -> None:
        programs = {} if programs is None else programs
        place: dict[Node, int] = {node: at for at, node in enumerate(plan.inputs)}
        self._code: list[tuple[Function, tuple[int, ...]]] = []
        for node in plan.order:
            self._code.append((_function(node, programs), tuple(place[each] for each in node.inputs)))
            place[node] = len(place)
        self._output = place[plan.output]

    def __call__(self, columns: Sequence[Batch], context: Context) -> Batch:
        """Return the plan's output for the rows of its inputs' batches."""
        values = list(columns)
        for function, inputs in self._code:
            values.append(function([values[at] for at in inputs], context))
        return values[self._output]


def _function(node: Node, programs: dict[Plan, Program]) -> Function:
    """Return a node's meaning as a function: in a plan that does not wait, all its work can be done at once."""
    for plan in (*node.plans, *([node.step.plan] if isinstance(node, Call) and isinstance(node.step, Stage) else [])):
        if plan not in programs:
            programs[plan] = Program(plan, programs)

    def done(work: Work) -> Batch:
        match work:
            case Work(Plan() as plan, columns, context):
                return programs[plan](columns, context)
            case Work(Step() as step, columns, context):
                return apply(step, columns[0], context)
            case Work(Stage() as stage, columns, context):
                return _computed(stage, columns, context) or programs[stage.plan](columns, context)
            case _:
                raise AssertionError(f"a stage holds {work.what!r}, which waits")

    def visit(columns: Sequence[Batch], context: Context) -> Batch:
        steps = meaning(node, columns, context)
        try:
            work = next(steps)
            while True:
                work = steps.send([done(each) for each in work])
        except StopIteration as end:
            return end.value

    match node:
        case Pack():
            return lambda columns, context: pack(node, columns, context)
        case Call(step=Step() as step):
            return lambda columns, context: (
                visit(columns, context) if columns[0].errors else apply(step, columns[0], context)
            )
        case _:
            return visit


def _computed(stage: Stage, columns: Sequence[Batch], context: Context) -> Batch | None:
    """Return the output of a stage inside another, computed in one call, unless its steps are traced."""
    if stage.compute is None or context.spans is not None or context.expired or columns[0].errors:
        return None
    return stage.compute(columns[0])
