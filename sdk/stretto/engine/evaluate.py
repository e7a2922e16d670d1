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
import numpy as np

from stretto.batch.batch import Batch, scatter
from stretto.engine.apply import apply
from stretto.engine.backend import Backend
from stretto.engine.context import Context
from stretto.engine.threads import run_sync
from stretto.errors import DeadlineExceeded, InputError, StepError, StrettoError
from stretto.plan.nodes import Around, Aside, Call, Choose, Each, Input, Instead, Join, Node, Pack, Recover, Within
from stretto.plan.plan import Plan
from stretto.plan.protocols import UNDECIDED, UntilMany
from stretto.plan.steps import Stage, Step


async def evaluate(plan: Plan, columns: tuple[Batch, ...], backend: Backend, context: Context) -> Batch:
    """Return the plan's output for the rows of its inputs' columns. Failures are outcomes of rows, never raised."""
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
        case Join(inline=True):
            return await _join(node, columns, backend, context)
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
        case Choose():
            return await _choose(node, columns[0], columns[1], backend, context)
        case Recover():
            return await _recover(node, columns[0], backend, context)
        case Join():
            return await _join(node, [columns[0]] * len(node.members), backend, context)
        case Within():
            return await _within(node, columns[0], backend, context)
        case Each():
            return await _each(node, columns[0], backend, context)
        case Around():
            return await _around(node, columns[0], backend, context)
        case Aside():
            given = columns[-1]
            if (
                not backend.aside(lambda: evaluate(node.body, (given,), backend, Context()))
                and node.dropped is not None
            ):
                node.dropped(given.size)
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
    failed: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    fine = whole.fine()
    if fine:
        failed[()] = list(fine)
    for i in sorted(whole.errors):
        errors = {name: each.errors[i] for name, each in zip(node.names, columns, strict=True) if i in each.errors}
        bad = next((error for error in errors.values() if isinstance(error, InputError)), None)
        if bad is not None:
            refused[i] = bad
        else:
            failed[tuple(errors)].append(i)
    return scatter(size, [(rows, _without(node, gone, columns, rows)) for gone, rows in failed.items()], refused)


def _without(node: Pack, gone: tuple[str, ...], columns: list[Batch], rows: list[int]) -> Batch:
    """Return the dicts of rows in which the same branches failed."""
    there: dict[str, Batch] = {}
    for name, column in zip(node.names, columns, strict=True):
        if name not in gone:
            there[name] = column.take(rows)
        elif isinstance(node.on_error, Instead):
            # Each row its own, lest what one request does to it be seen by others.
            there[name] = Batch.of([copy.deepcopy(node.on_error.value) for _ in rows])
    return Batch.pack(tuple(there), list(there.values()), len(rows))


async def _choose(node: Choose, column: Batch, keys: Batch, backend: Backend, context: Context) -> Batch:
    if not node.cases and node.default is not None:
        return under(node, await evaluate(node.default, (column,), backend, context))
    plans = dict(reversed(node.cases))
    chosen: dict[Plan, list[int]] = {}
    errors: dict[int, StrettoError] = {}
    for i, key in enumerate(keys.rows()):
        try:
            plan = plans.get(key, node.default)
        except TypeError:
            plan = node.default
        if plan is None:
            known = ", ".join(repr(case) for case, _ in node.cases)
            errors[i] = StepError(
                named(node), "KeyError", f"no case for the key {key!r}, and no default; cases: {known}"
            )
        else:
            chosen.setdefault(plan, []).append(i)
    branches = [(plan, column if len(rows) == column.size else column.take(rows)) for plan, rows in chosen.items()]
    if context.spans is None:
        results = await _side_by_side(branches, backend, context)
    else:
        with context.span(f"{named(node)}/{_taken(node, chosen)}", "case", column.size):
            results = await _side_by_side(branches, backend, context)
    parts = [(rows, under(node, result)) for rows, result in zip(chosen.values(), results, strict=True)]
    return scatter(column.size, parts, errors)


def _taken(node: Choose, chosen: Iterable[Plan]) -> str:
    """Return the cases that rows took, in the order written."""
    taken = set(chosen)
    return ", ".join(
        [*(f"{key}" for key, plan in node.cases if plan in taken), *(["default"] * (node.default in taken))]
    )


async def _side_by_side(branches: list[tuple[Plan, Batch]], backend: Backend, context: Context) -> list[Batch]:
    if sum(plan.waits for plan, _ in branches) < 2:
        return [await evaluate(plan, (column,), backend, context) for plan, column in branches]
    results: dict[int, Batch] = {}

    async def branch(index: int, plan: Plan, column: Batch) -> None:
        results[index] = await evaluate(plan, (column,), backend, context)

    async with anyio.create_task_group() as tasks:
        for index, (plan, column) in enumerate(branches):
            tasks.start_soon(branch, index, plan, column)
    return [results[index] for index in range(len(branches))]


async def _recover(node: Recover, column: Batch, backend: Backend, context: Context) -> Batch:
    result = await evaluate(node.body, (column,), backend, context)
    # A bad request is the caller's mistake and stays one; and there is nothing to recover with once time is up.
    failed = [i for i, error in sorted(result.errors.items()) if not isinstance(error, InputError)]
    if not failed or context.expired:
        return under(node, result)
    spare = await evaluate(node.handler, (column.take(failed),), backend, context)
    kept = {i: error for i, error in result.errors.items() if isinstance(error, InputError)}
    fine = result.fine()
    parts: list[tuple[Sequence[int], Batch]] = [(failed, under(node, spare))]
    if fine:
        parts.append((fine, result.take(fine)))
    return scatter(column.size, parts, kept)


async def _within(node: Within, column: Batch, backend: Backend, context: Context) -> Batch:
    return under(node, await evaluate(node.body, (column,), backend, context.within(node.seconds)))


async def _each(node: Each, column: Batch, backend: Backend, context: Context) -> Batch:
    errors: dict[int, StrettoError] = {}
    lists: list[list[Any]] = []
    for i, row in enumerate(column.rows()):
        try:
            lists.append(_elements(row))
        except TypeError:
            errors[i] = StepError(named(node), "TypeError", f"needs a list, got {type(row).__name__}")
            lists.append([])
    flat = [element for row in lists for element in row]
    result = await evaluate(node.body, (Batch.of(flat),), backend, context) if flat else Batch.of([])
    answers, start, values = result.rows(), 0, list[Any]()
    for i, row in enumerate(lists):
        values.append(answers[start : start + len(row)])
        failed = next((at for at in range(start, start + len(row)) if at in result.errors), None)
        if failed is not None:
            errors[i] = result.errors[failed].under(str(failed - start)).under(named(node))
        start += len(row)
    return Batch(values, column.size, errors)


def _elements(row: Any) -> list[Any]:
    # Text and dicts can be iterated, and whoever gives one where a list belongs does not mean its letters or keys.
    if isinstance(row, str | bytes | Mapping):
        raise TypeError
    return list(cast("Iterable[Any]", row))


class _Together:
    """The rows of a `Join` while they are decided in one go: as long as members give arrays and none has failed."""

    def __init__(self, node: Join, size: int) -> None:
        self.node = node
        self.open = np.arange(size)
        self.answers = np.empty(size, dtype=object)
        self.arrays: dict[str, np.ndarray] = {}

    def add(self, name: str, result: Batch) -> bool:
        """Decide what can be with one more member's answers to the open rows, or say that rows must go apart."""
        if not isinstance(result.values, np.ndarray) or result.errors:
            return False
        arrays = {**self.arrays, name: result.values}
        waiting = tuple(each for each in self.node.names if each not in arrays)
        try:
            found = cast("UntilMany", self.node.until).many(arrays, waiting)
        except Exception:
            return False  # each row by itself says what is wrong with it
        if found is None or not (waiting or found[1].all()):
            return False
        answers, decided = found
        if not decided.any():
            self.arrays = arrays
            return True
        self.answers[self.open[decided]] = answers[decided]
        self.open = self.open[~decided]
        self.arrays = {each: array[~decided] for each, array in arrays.items()}
        return True


class _Tally:
    """What has arrived at a `Join`, row by row, and which rows are still open."""

    def __init__(self, node: Join, size: int, context: Context) -> None:
        self.node = node
        self.size = size
        self.context = context
        self.errors: dict[int, StrettoError] = {}
        self.together = _Together(node, size) if hasattr(node.until, "many") else None
        if self.together is None:
            self.apart(range(size), [None] * size, {})

    def apart(self, rows: Iterable[int], answers: list[Any], arrays: dict[str, np.ndarray]) -> None:
        """Go on row by row: those at `rows` are open, and have the answers in `arrays`."""
        self.together = None
        self.answers = answers
        self.open: dict[int, dict[str, Any]] = {i: {} for i in rows}
        for name, array in arrays.items():
            for arrived, answer in zip(self.open.values(), array.tolist(), strict=True):
                arrived[name] = answer

    @property
    def rows(self) -> Sequence[int]:
        """The positions of the open rows."""
        return list(self.open) if self.together is None else cast("Sequence[int]", self.together.open)

    def add(self, name: str, rows: Sequence[int], result: Batch) -> None:
        if self.together is not None:
            if self.together.add(name, result):
                return
            self.apart(self.together.open.tolist(), self.together.answers.tolist(), self.together.arrays)
        for i, outcome in zip(rows, result.outcomes(), strict=True):
            i = int(i)
            if i not in self.open:
                continue
            if isinstance(outcome, DeadlineExceeded) and self.context.expired:
                # Once time is up there is no answer without the late: whoever decides would take it for a failure.
                self.errors[i] = outcome
                del self.open[i]
            else:
                self.open[i][name] = outcome
                self.decide(i)

    def decide(self, i: int) -> None:
        arrived = self.open[i]
        waiting = tuple(name for name in self.node.names if name not in arrived)
        try:
            answer = self.node.until(arrived, waiting)
        except StrettoError as error:
            self.errors[i] = error if self.node.inline else error.under(named(self.node))
        except Exception as error:
            self.errors[i] = StepError.of(named(self.node), error)
        else:
            if answer is UNDECIDED:
                if waiting:
                    return
                self.errors[i] = StepError(
                    named(self.node), "Undecided", "all members answered, and none of it decides"
                )
            self.answers[i] = answer
        del self.open[i]

    def column(self) -> Batch:
        if self.together is not None:
            self.apart(self.together.open.tolist(), self.together.answers.tolist(), {})
        for i in self.open:
            self.errors[i] = StepError(named(self.node), "Undecided", "the members ended before it could be decided")
        return Batch(self.answers, self.size, self.errors)


async def _join(node: Join, columns: list[Batch], backend: Backend, context: Context) -> Batch:
    size = columns[0].size
    tally = _Tally(node, size, context)

    async def member(name: str, plan: Plan, column: Batch) -> None:
        rows = tally.rows
        if len(rows):
            some = column if len(rows) == size else column.take(rows)
            tally.add(name, rows, await evaluate(plan, (some,), backend, context))

    members = list(zip(node.names, node.members, columns, strict=True))
    if not any(plan.waits for plan in node.members):
        for each in members:
            await member(*each)
        return tally.column()
    # As they arrive, rows are not all open to the same members.
    tally.apart(range(size), [None] * size, {})

    async def beside(name: str, plan: Plan, column: Batch) -> None:
        await member(name, plan, column)
        if not tally.open:
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for each in members:
            tasks.start_soon(beside, *each)
    return tally.column()


class _Body:
    """The body of an `Around` over the rows at hand."""

    def __init__(self, node: Around, column: Batch, backend: Backend, context: Context) -> None:
        self._node, self._column, self._backend, self._scope = node, column, backend, context

    @property
    def rows(self) -> Sequence[Any]:
        return self._column.rows()

    @property
    def budget(self) -> float | None:
        return self._scope.budget

    async def run(self, rows: Sequence[int] | None = None, /) -> Sequence[Any]:
        column = self._column if rows is None else self._column.take(rows)
        result = await evaluate(self._node.body, (column,), self._backend, self._scope)
        return under(self._node, result).outcomes()


async def _around(node: Around, column: Batch, backend: Backend, context: Context) -> Batch:
    try:
        outcomes = await node.policy(_Body(node, column, backend, context))
        if len(outcomes) != column.size:
            raise ValueError(f"{column.size} rows went in and {len(outcomes)} outcomes came out")
    except StrettoError as error:
        return Batch.failed(error.copy() for _ in range(column.size))
    except Exception as error:
        return Batch.failed(StepError.of(named(node), error) for _ in range(column.size))
    return Batch.of_outcomes(outcomes)


def named(node: Node) -> str:
    """Return the name of the composer a node stands for, or its kind."""
    return getattr(node, "name", "") or type(node).__name__.lower()


def under(node: Node, column: Batch) -> Batch:
    """Return the column with the composer's name in front of its errors' paths."""
    if not column.errors:
        return column
    return column.with_errors({i: error.under(named(node)) for i, error in column.errors.items()})


class _Direct(Backend):
    """Runs the steps of a stage one after the other, at once: nothing in a stage waits."""

    async def run(self, step: Step | Stage, columns: tuple[Batch, ...], context: Context) -> Batch:
        """Apply a step, or evaluate a stage inside this one."""
        if isinstance(step, Step):
            return apply(step, columns[0], context)
        return _nested(step, columns, context)

    def aside(self, work: object) -> bool:
        """Refuse: work on the side ends a stage."""
        raise AssertionError("a stage holds nothing that waits")


_DIRECT = _Direct()
