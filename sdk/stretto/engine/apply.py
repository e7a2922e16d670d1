"""A step applied to a column: what each kind of function means for many rows, and how culprits are found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import CoroutineType
from typing import Any, cast

import anyio
import numpy as np

from stretto.batch.batch import Batch, Part, scatter
from stretto.engine.context import Context, late
from stretto.engine.threads import T, Threads, run_sync
from stretto.errors import BadRows, InputError, StepError, StrettoError
from stretto.plan.steps import Step

AT_ONCE = 256
"""How many rows of one call an asynchronous row function is started on before the first has to end."""


async def apply(step: Step, column: Batch, context: Context, threads: Threads | None = None) -> Batch:
    """Return the step's outcomes for rows none of which has failed. It suspends only if the step waits.

    Work that does not wait can't be interrupted: what it gives after the deadline is late all the same.
    """
    if context.expired:
        return Batch.failed([late(f"before step {step.name!r}") for _ in range(column.size)])
    if context.spans is None:
        return await _applied(step, column, context, threads)
    with context.span(step.name, "step", column.size):
        return await _applied(step, column, context, threads)


async def _applied(step: Step, column: Batch, context: Context, threads: Threads | None) -> Batch:
    if step.vectorized:
        return await _vector(step, column, context, threads)
    if _waits(step):
        return await _rows_waiting(step, column, context, _caller(step, threads))
    return _rows(step, column, context)


def _waits(step: Step) -> bool:
    return step.asynchronous or step.blocking


async def _vector(step: Step, column: Batch, context: Context, threads: Threads | None) -> Batch:
    """Call a vectorised function for the rows of each form, side by side where it waits."""
    parts = column.parts()
    if len(parts) == 1 and not _waits(step):
        return await _columns(step, column, context, _called(step))
    call = _caller(step, threads)
    done: list[Part] = []

    async def one(rows: Sequence[int], part: Batch) -> None:
        done.append((rows, await _columns(step, part, context, call)))

    if not _waits(step):
        for rows, part in parts:
            await one(rows, part)
    else:
        with anyio.move_on_after(context.budget):
            async with anyio.create_task_group() as tasks:
                for rows, part in parts:
                    tasks.start_soon(one, rows, part)
    ended = {id(rows) for rows, _ in done}
    missed = [i for rows, _ in parts if id(rows) not in ended for i in rows]
    return scatter(column.size, done, {i: late(f"in step {step.name!r}") for i in missed})


def _caller(step: Step, threads: Threads | None) -> Callable[[Any], Awaitable[Any]]:
    if not _waits(step):
        return _called(step)

    async def call(value: Any) -> Any:
        if step.asynchronous:
            return await _own(step.fn(value))
        if threads is None:
            raise AssertionError("a stage holds nothing that waits")
        return _awaited(await threads.run(step.fn, value))

    return call


def _called(step: Step) -> Callable[[Any], Awaitable[Any]]:
    async def call(value: Any) -> Any:
        return _awaited(step.fn(value))

    return call


def _awaited(result: Any) -> Any:
    if type(result) is CoroutineType:
        raise _unawaited(cast("CoroutineType[Any, Any, Any]", result))
    return result


async def _own(work: Awaitable[T]) -> T:
    """Await a step's work; when something it waits for was cancelled, and not the step itself, that is its failure."""
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("something the function waited for was cancelled") from error


def _failure(step: Step, error: Exception, own: bool) -> StrettoError:
    # The caller's own value is at fault only where the step was given that value, not one the pipeline made of it.
    return error if own and isinstance(error, InputError) else StepError.of(step.name, error)


def _rows(step: Step, column: Batch, context: Context) -> Batch:
    values: list[Any] = []
    errors: dict[int, StrettoError] = {}
    fn = step.fn
    limited = context.deadline is not None
    for i, row in enumerate(column.rows()):
        try:
            value = fn(row)
            if type(value) is CoroutineType:
                raise _unawaited(value)
        except Exception as error:
            errors[i] = _failure(step, error, column.own(i))
            value = None
        values.append(value)
        if limited and context.expired:
            values += [None] * (column.size - len(values))
            errors = {j: late(f"in step {step.name!r}") for j in range(i, column.size)} | errors
            break
    return Batch(values, column.size, errors)


def _unawaited(value: CoroutineType[Any, Any, Any]) -> TypeError:
    value.close()
    return TypeError("the function gave a coroutine without being 'async def'; make it 'async def' and await inside")


async def _rows_waiting(step: Step, column: Batch, context: Context, call: Callable[[Any], Awaitable[Any]]) -> Batch:
    values: list[Any] = [None] * column.size
    errors: dict[int, StrettoError] = {i: late(f"in step {step.name!r}") for i in range(column.size)}

    async def one(i: int, row: Any) -> None:
        try:
            values[i] = await call(row)
            if not context.expired:
                del errors[i]
        except Exception as error:
            errors[i] = _failure(step, error, column.own(i))

    with anyio.move_on_after(context.budget):
        if column.size == 1:
            await one(0, column.rows()[0])
        else:
            await _all(one, column.rows())
    return Batch(values, column.size, errors)


async def _all(one: Callable[[int, Any], Awaitable[None]], rows: list[Any]) -> None:
    places = anyio.Semaphore(AT_ONCE)

    async def placed(i: int, row: Any) -> None:
        try:
            await one(i, row)
        finally:
            places.release()

    async with anyio.create_task_group() as tasks:
        for i, row in enumerate(rows):
            await places.acquire()
            tasks.start_soon(placed, i, row)


def apply_whole(step: Step, column: Batch, context: Context) -> Batch | None:
    """Return what `apply` gives for a vectorised function that does not wait, and rows of one form; otherwise None.

    This is the hot path of a stage, and has nothing on it that the usual case does not need.
    """
    if not step.vectorized or _waits(step) or context.expired or len(column.parts()) > 1:
        return None
    try:
        result = shaped(_awaited(step.fn(_given(step, column))), column.size)
    except Exception as error:
        return run_sync(_columns(step, column, context, _called(step), error))
    return Batch.failed(late(f"in step {step.name!r}") for _ in range(column.size)) if context.expired else result


def _given(step: Step, column: Batch) -> Any:
    return column.data() if step.reading is None else column.read(step.reading)


async def _columns(
    step: Step,
    column: Batch,
    context: Context,
    call: Callable[[Any], Awaitable[Any]],
    raised: Exception | None = None,
) -> Batch:
    """Call a vectorised function; when it raises, halve the column until only the culprits fail.

    `raised` is what it has raised already when it was called for all of them.
    """
    done: list[Part] = []
    errors: dict[int, StrettoError] = {}
    left: list[Sequence[int]] = [range(column.size)]
    while left:
        rows = left.pop()
        part = column if len(rows) == column.size else column.take(rows)
        try:
            if raised is not None:
                error, raised = raised, None
                raise error
            result = shaped(await call(_given(step, part)), len(rows))
        except BadRows as bad:
            culprits = {i: error for i, error in bad.errors.items() if 0 <= i < len(rows)}
            errors |= {rows[i]: _failure(step, error, column.request) for i, error in culprits.items()}
            rest = [row for i, row in enumerate(rows) if i not in culprits]
            if not culprits:
                errors |= {row: StepError.of(step.name, bad) for row in rows}
            elif rest:
                left.append(rest)
        except Exception as error:
            if len(rows) == 1:
                errors[rows[0]] = _failure(step, error, column.request)
            else:
                left += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
        else:
            if context.expired:
                left.append(rows)
            else:
                done.append((rows, result))
        if context.expired:
            errors |= {row: late(f"in step {step.name!r}") for rows in left for row in rows}
            break
    return scatter(column.size, done, errors)


def shaped(result: Any, size: int) -> Batch:
    """Take what a vectorised function gave as a column of `size` rows."""
    if isinstance(result, dict):
        members = cast("dict[str, Any]", result)
        return Batch.pack(tuple(members), [shaped(each, size) for each in members.values()], size)
    if isinstance(result, tuple):
        result = list(cast("tuple[Any, ...]", result))
    elif not isinstance(result, list | np.ndarray) and hasattr(result, "__array__"):
        result = np.asarray(result)
    if not isinstance(result, list | np.ndarray) or (isinstance(result, np.ndarray) and not result.ndim):
        kind = type(result).__name__
        raise TypeError(f"a vectorized step gives a list or an array with a row each, not {kind}")
    rows = len(cast("list[Any]", result))
    if rows != size:
        raise ValueError(f"was given {size} rows and gave {rows}; a vectorized step gives as many as it takes")
    return Batch(cast("list[Any]", result), size)
