"""What a plan means, over a batch.

This is the only meaning a plan has besides the oracle in `stretto.testing`. A node's value is a column of rows with
an outcome each, so routing splits a batch, recovery re-runs only the rows that failed, and one bad row never fails
its neighbours. Tasks are started only where something can wait: a plan in which nothing does never suspends.
"""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import anyio

from stretto.batch.batch import Batch, Part, scatter
from stretto.engine.apply import apply
from stretto.engine.backend import Backend
from stretto.engine.context import Context
from stretto.engine.join import by_failure, join
from stretto.engine.threads import run_sync
from stretto.errors import InputError, StepError, StrettoError
from stretto.plan.nodes import Around, Aside, Call, Choose, Each, Input, Instead, Join, Node, Pack, Recover, Sub, Within
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step


async def evaluate(plan: Plan, columns: tuple[Batch, ...], backend: Backend, context: Context) -> Batch:
    """Return the plan's output for the rows of its inputs; failures are outcomes of rows, never raised."""
    values: dict[Node, Batch] = dict(zip(plan.inputs, columns, strict=True))
    if len(plan.waiting) > 1:
        await _Flow(plan, values, backend, context).run()
    else:
        for node in plan.order:
            values[node] = await visit(node, [values[each] for each in node.inputs], backend, context)
    return values[plan.output]


def evaluate_stage(stage: Stage, columns: tuple[Batch, ...], context: Context) -> Batch:
    """Return a stage's output: what `evaluate` gives, at once, since nothing in a stage waits.

    What stages are mostly made of, vectorised steps and dicts of their answers, is called without a coroutine.
    """
    plan = stage.plan
    values: dict[Node, Batch] = dict(zip(plan.inputs, columns, strict=True))
    for node in plan.order:
        given = [values[each] for each in node.inputs]
        match node:
            case Pack():
                found = _pack(node, given, context)
            case Call(step=Step() as step) if not given[0].errors:
                found = apply(step, given[0], context)
            case Call(step=Stage() as inner):
                found = _nested(inner, tuple(given), context)
            case _:
                found = None
        values[node] = run_sync(visit(node, given, _DIRECT, context)) if found is None else found
    return values[plan.output]


def _nested(stage: Stage, columns: tuple[Batch, ...], context: Context) -> Batch:
    """Return the output of a stage inside another: computed in one call, unless its steps are traced."""
    if stage.compute is not None and context.spans is None and not context.expired and not columns[0].errors:
        found = stage.compute(columns[0])
        if found is not None:
            return found
    return evaluate_stage(stage, columns, context)


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
        """Evaluate what is ready and what that makes ready; all that waits but one goes to tasks of its own."""
        while ready:
            waiting = [node for node in ready if node in self.plan.waiting]
            node = next((node for node in ready if node not in self.plan.waiting), ready[0])
            ready.remove(node)
            for each in waiting:
                if each is not node:
                    ready.remove(each)
                    self.tasks.start_soon(self.follow, deque([each]))
            self.values[node] = await visit(
                node, [self.values[each] for each in node.inputs], self.backend, self.context
            )
            for consumer in self.consumers[node]:
                self.missing[consumer] -= 1
                if not self.missing[consumer]:
                    ready.append(consumer)


async def visit(node: Node, columns: list[Batch], backend: Backend, context: Context) -> Batch:
    """Return a node's column from its inputs' columns."""
    match node:
        case Call(step=Stage() as stage):
            return await backend.run(stage, tuple(columns), context)
        case Pack():
            return _pack(node, columns, context)
        case Join(own_inputs=True):
            return await _join(node, [(each,) for each in columns], backend, context)
        case Input():
            raise AssertionError("an input has its value from outside")
        case _:
            size = columns[0].size
    if not any(column.errors for column in columns):
        return await _meaning(node, columns, backend, context)
    # As for a dict of them: a row of which one input failed fails as the first of them, in order, did.
    errors = Batch.pack(tuple(map(str, range(len(columns)))), columns, size).errors
    fine = [i for i in range(size) if i not in errors]
    if not fine:
        return Batch([None] * size, size, errors)
    result = await _meaning(node, [each.take(fine) for each in columns], backend, context)
    return scatter(size, [(fine, result)], errors)


async def _meaning(node: Node, columns: list[Batch], backend: Backend, context: Context) -> Batch:
    """Return the meaning of a node over rows none of which has failed."""
    match node:
        case Call(step=step):
            return await backend.run(step, (columns[0],), context)
        case Sub():
            return under(node, await evaluate(node.body, tuple(columns), backend, context))
        case Choose():
            return await _choose(node, columns[:-1], columns[-1], backend, context)
        case Recover():
            return await _recover(node, columns, backend, context)
        case Join():
            return await _join(node, [tuple(columns)] * len(node.members), backend, context)
        case Within():
            return under(node, await evaluate(node.body, tuple(columns), backend, context.within(node.seconds)))
        case Each():
            return await _each(node, columns, backend, context)
        case Around():
            return await _around(node, columns, backend, context)
        case Aside():
            taken = tuple(columns[1:] or columns)
            started = backend.aside(lambda: evaluate(node.body, taken, backend, Context()))
            if not started and node.dropped is not None:
                node.dropped(taken[0].size)
            return columns[0]
        case _:
            raise AssertionError(f"no meaning for {type(node).__name__}")


def _pack(node: Pack, columns: list[Batch], context: Context) -> Batch:
    size = columns[0].size
    whole = Batch.pack(node.names, columns, size)
    # There is no more to be had once time is up: an answer made of what was late would hide that.
    if node.on_error == "raise" or not whole.errors or context.expired:
        return whole
    refused: dict[int, StrettoError] = {}
    parts: list[Part] = []
    by_name = dict(zip(node.names, columns, strict=True))
    for failed, rows in by_failure(by_name, size).items():
        bad = {i: error for i in rows if (error := _refusal(by_name[name].errors[i] for name in failed))}
        refused |= bad
        rest = [i for i in rows if i not in bad] if bad else rows
        if rest:
            parts.append((rest, _without(node, failed, columns, rest)))
    return scatter(size, parts, refused)


def _refusal(errors: Iterable[StrettoError]) -> InputError | None:
    return next((error for error in errors if isinstance(error, InputError)), None)


def _without(node: Pack, failed: tuple[str, ...], columns: list[Batch], rows: Sequence[int]) -> Batch:
    """Return the dicts of rows in which the same branches failed."""
    there: dict[str, Batch] = {}
    for name, column in zip(node.names, columns, strict=True):
        if name not in failed:
            there[name] = column.take(rows)
        elif isinstance(node.on_error, Instead):
            # Each row gets its own copy: a step may change it, and no other request may see that.
            there[name] = Batch.of([copy.deepcopy(node.on_error.value) for _ in rows])
    return Batch.pack(tuple(there), list(there.values()), len(rows))


async def _choose(node: Choose, columns: list[Batch], keys: Batch, backend: Backend, context: Context) -> Batch:
    plans = dict(node.cases)
    chosen: dict[Plan, list[int]] = {}
    errors: dict[int, StrettoError] = {}
    for i, key in enumerate(keys.rows()):
        try:
            plan = plans.get(key, node.default)
        except TypeError:  # a key that is not hashable equals none of the cases
            plan = node.default
        if plan is None:
            known = ", ".join(repr(case) for case, _ in node.cases)
            errors[i] = StepError(
                node.title, "KeyError", f"no case for the key {key!r}, and no default; cases: {known}"
            )
        else:
            chosen.setdefault(plan, []).append(i)
    size = keys.size
    branches = [
        (plan, tuple(columns) if len(rows) == size else tuple(each.take(rows) for each in columns))
        for plan, rows in chosen.items()
    ]
    if context.spans is None:
        results = await _side_by_side(branches, backend, context)
    else:
        with context.span(f"{node.title}/{_taken(node, chosen)}", "case", size):
            results = await _side_by_side(branches, backend, context)
    parts = [(rows, under(node, result)) for rows, result in zip(chosen.values(), results, strict=True)]
    return scatter(size, parts, errors)


def _taken(node: Choose, chosen: Iterable[Plan]) -> str:
    """Return the cases that rows took, in the order written."""
    taken = set(chosen)
    return ", ".join(
        [*(f"{key}" for key, plan in node.cases if plan in taken), *(["default"] * (node.default in taken))]
    )


async def _side_by_side(
    branches: list[tuple[Plan, tuple[Batch, ...]]], backend: Backend, context: Context
) -> list[Batch]:
    if sum(plan.waits for plan, _ in branches) < 2:
        return [await evaluate(plan, columns, backend, context) for plan, columns in branches]
    results: dict[int, Batch] = {}

    async def branch(index: int, plan: Plan, columns: tuple[Batch, ...]) -> None:
        results[index] = await evaluate(plan, columns, backend, context)

    async with anyio.create_task_group() as tasks:
        for index, (plan, columns) in enumerate(branches):
            tasks.start_soon(branch, index, plan, columns)
    return [results[index] for index in range(len(branches))]


async def _recover(node: Recover, columns: list[Batch], backend: Backend, context: Context) -> Batch:
    result = await evaluate(node.body, tuple(columns), backend, context)
    # A bad request is the caller's mistake and stays one; and after the deadline there is no time to recover in.
    failed = [i for i, error in sorted(result.errors.items()) if not isinstance(error, InputError)]
    if not failed or context.expired:
        return under(node, result)
    recovered = await evaluate(node.handler, tuple(each.take(failed) for each in columns), backend, context)
    kept = {i: error for i, error in result.errors.items() if isinstance(error, InputError)}
    fine = result.ok_rows()
    parts: list[Part] = [(failed, under(node, recovered))]
    if fine:
        parts.append((fine, result.take(fine)))
    return scatter(columns[0].size, parts, kept)


async def _each(node: Each, columns: list[Batch], backend: Backend, context: Context) -> Batch:
    size = columns[0].size
    errors: dict[int, StrettoError] = {}
    lists: list[list[Any]] = []
    for i, row in enumerate(columns[0].rows()):
        try:
            lists.append(_elements(row))
        except TypeError:
            errors[i] = StepError(node.title, "TypeError", f"needs a list, got {type(row).__name__}")
            lists.append([])
    flat = [element for row in lists for element in row]
    source = [i for i, row in enumerate(lists) for _ in row]
    along = [each.take(source) for each in columns[1:]]
    result = await evaluate(node.body, (Batch.of(flat), *along), backend, context) if flat else Batch.of([])
    answers, start, values = result.rows(), 0, list[Any]()
    for i, row in enumerate(lists):
        values.append(answers[start : start + len(row)])
        failed = next((at for at in range(start, start + len(row)) if at in result.errors), None)
        if failed is not None:
            errors[i] = result.errors[failed].under(str(failed - start)).under(node.title)
        start += len(row)
    return Batch(values, size, errors)


def _elements(row: Any) -> list[Any]:
    # Text and dicts can be iterated too, but their letters and keys are never what was meant.
    if isinstance(row, str | bytes | Mapping):
        raise TypeError
    return list(cast("Iterable[Any]", row))


async def _join(node: Join, inputs: Sequence[tuple[Batch, ...]], backend: Backend, context: Context) -> Batch:
    return await join(node, inputs, context, lambda plan, columns: evaluate(plan, columns, backend, context))


class _Body:
    """The body of an `Around` over the rows at hand."""

    def __init__(self, node: Around, columns: list[Batch], backend: Backend, context: Context) -> None:
        self._node, self._columns, self._backend, self._context = node, columns, backend, context

    @property
    def rows(self) -> Sequence[Any]:
        rows = [each.rows() for each in self._columns]
        return rows[0] if len(rows) == 1 else list(zip(*rows, strict=True))

    @property
    def budget(self) -> float | None:
        return self._context.budget

    async def run(self, rows: Sequence[int] | None = None, /) -> Sequence[Any]:
        columns = tuple(each if rows is None else each.take(rows) for each in self._columns)
        result = await evaluate(self._node.body, columns, self._backend, self._context)
        return under(self._node, result).outcomes()


async def _around(node: Around, columns: list[Batch], backend: Backend, context: Context) -> Batch:
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


def under(node: Node, column: Batch) -> Batch:
    """Return the batch with the composer's name in front of its errors' paths."""
    if not column.errors:
        return column
    return column.with_errors({i: error.under(node.title) for i, error in column.errors.items()})


class _Direct(Backend):
    """Runs the steps of a stage one after the other, at once: nothing in a stage waits."""

    async def run(self, step: Step | Stage, columns: tuple[Batch, ...], context: Context) -> Batch:
        """Apply a step, or evaluate a stage inside this one."""
        if isinstance(step, Step):
            return apply(step, columns[0], context)
        return _nested(step, columns, context)

    def aside(self, work: object) -> bool:
        """Raise: an `Aside` is never part of a stage."""
        raise AssertionError("a stage holds nothing that waits")


_DIRECT = _Direct()
