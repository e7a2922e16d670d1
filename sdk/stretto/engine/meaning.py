"""What each kind of node means, over a batch.

A node's value is a batch of rows with an outcome each, so routing splits a batch, recovery runs only the rows that
failed, and one bad row never fails its neighbours.

A meaning is a generator: it yields the work it needs (a plan, a step or a stage, over batches), is sent the results,
and returns the node's batch. It neither waits nor knows who does the work, so that `evaluate` can await it and a
`Program` can do it at once: the two ways to run a plan have one meaning. Kinds whose own work waits (an `Around`, an
`Aside`, a `Join` with members that wait) yield themselves, and only `evaluate` does that work.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from stretto.batch.batch import Batch, Part, scatter
from stretto.engine.context import Context
from stretto.engine.join import Tally, by_failure
from stretto.errors import InputError, StepError, StrettoError
from stretto.plan.nodes import Around, Aside, Call, Choose, Each, Instead, Join, Node, Pack, Recover, Sub, Within
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step


class Work(NamedTuple):
    """Something to be done over the batches of its inputs."""

    what: Plan | Step | Stage | Node
    columns: Sequence[Batch]
    context: Context


Meaning: TypeAlias = Generator[Sequence[Work], Sequence[Batch], Batch]
"""Yields work that may be done side by side, and is sent its results in the same order."""


def meaning(node: Node, columns: Sequence[Batch], context: Context) -> Meaning:
    """Return a node's batch from those of its inputs."""
    match node:
        case Call(step=Stage() as stage):
            return (yield from _one(stage, columns, context))
        case Pack():
            return pack(node, columns, context)
        case Join(own_inputs=True):
            return (yield from _join(node, columns, context))
        case _:
            pass
    failed = failures(columns)
    if not failed:
        return (yield from _of_fine_rows(node, columns, context))
    size = columns[0].size
    fine = [i for i in range(size) if i not in failed]
    if not fine:
        return Batch([None] * size, size, failed)
    result = yield from _of_fine_rows(node, [each.take(fine) for each in columns], context)
    return scatter(size, [(fine, result)], failed)


def failures(columns: Sequence[Batch]) -> Mapping[int, StrettoError]:
    """Return the errors of the rows in which a batch has failed: the error of the first batch, in order."""
    if len(columns) == 1:
        return columns[0].errors
    errors: dict[int, StrettoError] = {}
    for column in reversed(columns):
        errors |= column.errors
    return errors


def _of_fine_rows(node: Node, columns: Sequence[Batch], context: Context) -> Meaning:
    match node:
        case Call(step=step):
            return (yield from _one(step, columns, context))
        case Sub(body=body):
            return under(node, (yield from _one(body, columns, context)))
        case Within(body=body):
            return under(node, (yield from _one(body, columns, context.within(node.seconds))))
        case Choose():
            return (yield from _choose(node, columns, context))
        case Recover():
            return (yield from _recover(node, columns, context))
        case Each():
            return (yield from _each(node, columns, context))
        case Join():
            return (yield from _join(node, columns, context))
        case Around() | Aside():
            return (yield from _one(node, columns, context))
        case _:
            raise AssertionError(f"no meaning for {type(node).__name__}")


def _one(what: Plan | Step | Stage | Node, columns: Sequence[Batch], context: Context) -> Meaning:
    (result,) = yield (Work(what, columns, context),)
    return result


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


def _choose(node: Choose, columns: Sequence[Batch], context: Context) -> Meaning:
    *values, keys = columns
    size = keys.size
    chosen, errors = _chosen(node, keys.rows())
    work = [
        Work(plan, values if len(rows) == size else [each.take(rows) for each in values], context)
        for plan, rows in chosen.items()
    ]
    if context.spans is None:
        results = yield work
    else:
        taken = [f"{key}" for key, plan in node.cases if plan in chosen] + ["default"] * (node.default in chosen)
        with context.span(f"{node.title}/{', '.join(taken)}", "case", size):
            results = yield work
    parts = [(rows, under(node, result)) for rows, result in zip(chosen.values(), results, strict=True)]
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
        if plan is None:
            cases = ", ".join(repr(case) for case, _ in node.cases)
            errors[i] = StepError(
                node.title, "KeyError", f"no case for the key {key!r}, and no default; cases: {cases}"
            )
        else:
            chosen.setdefault(plan, []).append(i)
    return chosen, errors


def _recover(node: Recover, columns: Sequence[Batch], context: Context) -> Meaning:
    result = yield from _one(node.body, columns, context)
    # A bad request is the caller's mistake and stays one; and after the deadline there is no time to recover in.
    failed = [i for i, error in sorted(result.errors.items()) if not isinstance(error, InputError)]
    if not failed or context.expired:
        return under(node, result)
    recovered = yield from _one(node.handler, [each.take(failed) for each in columns], context)
    refused = {i: error for i, error in result.errors.items() if isinstance(error, InputError)}
    fine = result.ok_rows()
    parts: list[Part] = [(failed, under(node, recovered))]
    if fine:
        parts.append((fine, result.take(fine)))
    return scatter(columns[0].size, parts, refused)


def _each(node: Each, columns: Sequence[Batch], context: Context) -> Meaning:
    lists, others = columns[0].rows(), columns[1:]
    errors: dict[int, StrettoError] = {}
    elements: list[list[Any]] = []
    for i, row in enumerate(lists):
        try:
            elements.append(_elements(row))
        except TypeError:
            errors[i] = StepError(node.title, "TypeError", f"needs a list, got {type(row).__name__}")
            elements.append([])
    flat = [element for row in elements for element in row]
    source = [i for i, row in enumerate(elements) for _ in row]
    result = Batch.of([])
    if flat:
        result = yield from _one(node.body, [Batch.of(flat), *(each.take(source) for each in others)], context)
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


def _join(node: Join, columns: Sequence[Batch], context: Context) -> Meaning:
    if node.waits:
        return (yield from _one(node, columns, context))
    tally = Tally(node, columns, context)
    for at, member in enumerate(node.members):
        if len(rows := tally.open):
            tally.add(at, rows, (yield from _one(member, tally.inputs(at), context)))
    return tally.batch()


def under(node: Node, batch: Batch) -> Batch:
    """Return the batch with the composer's name in front of its errors' paths."""
    if not batch.errors:
        return batch
    return batch.with_errors({i: error.under(node.title) for i, error in batch.errors.items()})
