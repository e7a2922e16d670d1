"""What each kind of node means, over a batch.

A node's value is a batch of rows with an outcome each, so routing splits a batch, recovery runs only the rows that
failed, and one bad row never fails its neighbours. Sub-plans and calls are the backend's: it runs them here and now,
or awaits what waits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import anyio

from stretto.batch.batch import Batch, Part, scatter
from stretto.batch.contain import contained, failure
from stretto.engine.backend import Backend
from stretto.engine.context import UNLIMITED, Context
from stretto.engine.join import by_failure, join
from stretto.errors import InputError, StepError, StrettoError, quoted
from stretto.plan.nodes import Around, Aside, Call, Choose, Each, Instead, Join, Node, Pack, Recover, Sub, Within
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage


async def meaning(node: Node, columns: Sequence[Batch], context: Context, backend: Backend) -> Batch:
    """Return a node's batch from those of its inputs."""
    match node:
        case Call(step=Stage() as stage):
            return await backend.run(stage, columns, context)
        case Pack():
            return pack(node, columns, context)
        case Join(own_inputs=True):
            return await join(node, columns, context, backend)
        case _:
            pass
    failed = failures(columns)
    if not failed:
        return await _of_fine_rows(node, columns, context, backend)
    size = columns[0].size
    fine = [i for i in range(size) if i not in failed]
    if not fine:
        return Batch([None] * size, size, failed)
    result = await _of_fine_rows(node, [each.take(fine) for each in columns], context, backend)
    return scatter(size, [(fine, result)], failed)


def failures(columns: Sequence[Batch]) -> Mapping[int, StrettoError]:
    """Return the errors of the rows in which a batch has failed: the error of the first batch, in order."""
    if len(columns) == 1:
        return columns[0].errors
    errors: dict[int, StrettoError] = {}
    for column in reversed(columns):
        errors |= column.errors
    return errors


async def _of_fine_rows(node: Node, columns: Sequence[Batch], context: Context, backend: Backend) -> Batch:
    match node:
        case Call(step=step):
            return await backend.run(step, columns, context)
        case Sub(body=body):
            return _under(node, await backend.evaluate(body, columns, context))
        case Within(body=body, seconds=seconds):
            return _under(node, await backend.evaluate(body, columns, context.within(seconds)))
        case Choose():
            return await _choose(node, columns, context, backend)
        case Recover():
            return await _recover(node, columns, context, backend)
        case Each():
            return await _each(node, columns, context, backend)
        case Join():
            return await join(node, columns, context, backend)
        case Around():
            return await _around(node, columns, context, backend)
        case Aside():
            return _aside(node, columns, backend)
        case _:
            raise AssertionError(f"no meaning for {type(node).__name__}")


def _under(node: Node, batch: Batch) -> Batch:
    """Return the batch with the composer's name in front of its errors' paths."""
    if not batch.errors:
        return batch
    return batch.with_errors({i: error.under(node.title) for i, error in batch.errors.items()})


def pack(node: Pack, columns: Sequence[Batch], context: Context) -> Batch:
    """Return the dicts of a fan-out's answers."""
    size = columns[0].size
    whole = Batch.pack(node.names, columns, size)
    # After the deadline there is no more to be had: an answer without the late branches would hide that.
    if node.on_error == "raise" or not whole.errors or context.expired:
        return whole
    by_name = dict(zip(node.names, columns, strict=True))
    refused: dict[int, StrettoError] = {}
    parts: list[Part] = []
    for failed, rows in by_failure(by_name, size).items():
        bad = {i: error for i in rows if (error := _refusal(by_name[name].errors[i] for name in failed))}
        rest = [i for i in rows if i not in bad] if bad else rows
        refused |= bad
        if rest:
            parts.append((rest, _without(node, failed, by_name, rest)))
    return scatter(size, parts, refused)


def _refusal(errors: Iterable[StrettoError]) -> InputError | None:
    return next((error for error in errors if isinstance(error, InputError)), None)


def _without(node: Pack, failed: Sequence[str], columns: Mapping[str, Batch], rows: Sequence[int]) -> Batch:
    """Return the dicts of rows in which the same branches failed."""
    members: dict[str, Batch] = {}
    for name, column in columns.items():
        if name not in failed:
            members[name] = column.take(rows)
        elif isinstance(node.on_error, Instead):
            # Each row gets a copy: a step may change it, and no other request may see that.
            members[name] = Batch.of([copy.deepcopy(node.on_error.value) for _ in rows])
    return Batch.pack(tuple(members), list(members.values()), len(rows))


async def _choose(node: Choose, columns: Sequence[Batch], context: Context, backend: Backend) -> Batch:
    *values, keys = columns
    size = keys.size
    chosen, errors = _chosen(node, keys.rows())
    parts: list[Part] = []

    async def case(plan: Plan, rows: Sequence[int]) -> None:
        some = values if len(rows) == size else [each.take(rows) for each in values]
        parts.append((rows, _under(node, await backend.evaluate(plan, some, context))))

    taken = [f"{key}" for key, plan in node.cases if plan in chosen] + ["default"] * (node.default in chosen)
    with context.span(f"{node.title}/{', '.join(taken)}", "case", size):
        if sum(plan.waits for plan in chosen) < 2:
            for plan, rows in chosen.items():
                await case(plan, rows)
        else:
            async with anyio.create_task_group() as tasks:
                for plan, rows in chosen.items():
                    tasks.start_soon(case, plan, rows)
    return scatter(size, parts, errors)


def _chosen(node: Choose, keys: Sequence[Any]) -> tuple[dict[Plan, list[int]], dict[int, StrettoError]]:
    plans = dict(node.cases)
    chosen: dict[Plan, list[int]] = {}
    errors: dict[int, StrettoError] = {}
    for i, key in enumerate(keys):
        try:
            plan = plans.get(key, node.default)
        except TypeError:  # a key that can't be hashed equals none of the cases
            plan = node.default
        except BaseException as error:  # of the key's own `__hash__` or `__eq__`
            errors[i] = failure(node.title, contained(error))
            continue
        if plan is None:
            errors[i] = StepError(node.title, "KeyError", _no_case(node, key))
        else:
            chosen.setdefault(plan, []).append(i)
    return chosen, errors


def _no_case(node: Choose, key: Any) -> str:
    cases = ", ".join(repr(case) for case, _ in node.cases)
    return f"no case for the key {quoted(key)}, and no default; cases: {cases}"


async def _recover(node: Recover, columns: Sequence[Batch], context: Context, backend: Backend) -> Batch:
    result = await backend.evaluate(node.body, columns, context)
    # A bad request is the caller's mistake and stays one; and after the deadline there is no time to recover in.
    failed = [i for i, error in sorted(result.errors.items()) if not isinstance(error, InputError)]
    if not failed or context.expired:
        return _under(node, result)
    recovered = _under(node, await backend.evaluate(node.handler, [each.take(failed) for each in columns], context))
    if len(failed) == result.size:
        return recovered
    refused = {i: error for i, error in result.errors.items() if isinstance(error, InputError)}
    fine = result.ok_rows()
    return scatter(result.size, [(failed, recovered), (fine, result.take(fine))], refused)


async def _each(node: Each, columns: Sequence[Batch], context: Context, backend: Backend) -> Batch:
    lists, others = columns[0].rows(), columns[1:]
    errors: dict[int, StrettoError] = {}
    elements: list[list[Any]] = []
    for i, row in enumerate(lists):
        try:
            elements.append(_elements(row))
        except TypeError:
            errors[i] = StepError(node.title, "TypeError", f"needs a list, got {type(row).__name__}")
            elements.append([])
        except BaseException as error:  # of the row's own `__iter__`
            errors[i] = failure(node.title, contained(error))
            elements.append([])
    flat = [element for row in elements for element in row]
    source = [i for i, row in enumerate(elements) for _ in row]
    result = Batch.of([])
    if flat:
        result = await backend.evaluate(node.body, [Batch.of(flat), *(each.take(source) for each in others)], context)
    answers, start, values = result.rows(), 0, list[Any]()
    for i, row in enumerate(elements):
        values.append(answers[start : start + len(row)])
        failed = next((at for at in range(start, start + len(row)) if at in result.errors), None)
        if failed is not None:
            errors[i] = result.errors[failed].under(str(failed - start)).under(node.title)
        start += len(row)
    return Batch(values, len(lists), errors)


def _elements(row: Any) -> list[Any]:
    # Text and dicts can be iterated too, but their letters and keys are never what was meant.
    if isinstance(row, str | bytes | Mapping):
        raise TypeError
    return list(cast("Iterable[Any]", row))


def _aside(node: Aside, columns: Sequence[Batch], backend: Backend) -> Batch:
    taken = columns[1:] or columns

    async def work() -> None:
        await backend.evaluate(node.body, taken, UNLIMITED)

    if not backend.aside(work) and node.dropped is not None:
        node.dropped(columns[0].size)
    return columns[0]


async def _around(node: Around, columns: Sequence[Batch], context: Context, backend: Backend) -> Batch:
    size = columns[0].size
    try:
        outcomes = await node.policy(_Body(node, columns, context, backend))
        if len(outcomes) != size:
            raise ValueError(f"{size} rows went in and {len(outcomes)} outcomes came out")
    except StrettoError as error:
        return Batch.failed(error.copy() for _ in range(size))
    except BaseException as error:
        why = contained(error, awaited=True)
        return Batch.failed(failure(node.title, why) for _ in range(size))
    return Batch.of_outcomes(outcomes)


class _Body:
    """The body of an `Around` over the rows at hand."""

    def __init__(self, node: Around, columns: Sequence[Batch], context: Context, backend: Backend) -> None:
        self._node, self._columns, self._context, self._backend = node, columns, context, backend

    @property
    def rows(self) -> Sequence[Any]:
        rows = [each.rows() for each in self._columns]
        return rows[0] if len(rows) == 1 else list(zip(*rows, strict=True))

    @property
    def budget(self) -> float | None:
        return self._context.budget

    async def run(self, rows: Sequence[int] | None = None, /) -> Sequence[Any]:
        columns = self._columns if rows is None else [each.take(rows) for each in self._columns]
        return _under(self._node, await self._backend.evaluate(self._node.body, columns, self._context)).outcomes()
