"""A step applied to a column: what each kind of function means for many rows, and how culprits are found."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext, suppress
from types import CoroutineType
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread
import numpy as np

from stretto._column import Column, scatter
from stretto._ir import Step
from stretto._scope import Scope, late
from stretto.backends.base import step_error
from stretto.errors import BadRows, InputError, StepError, StrettoError

T = TypeVar("T")
AT_ONCE = 256
"""How many rows of one call an asynchronous row function is started on before the first has to end."""


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, such as the evaluation of a stage, without an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    work.close()
    raise RuntimeError("what runs in a stage must not wait")


async def in_thread(limiter: anyio.CapacityLimiter, fn: Callable[..., T], *args: Any) -> T:
    """Call `fn` in a worker thread. Cancelling leaves it to end by itself, and it keeps its place until it has.

    AnyIO alone would free an abandoned thread's place at once, and work that timed out would pile up past the bound.
    """
    place = object()
    await limiter.acquire_on_behalf_of(place)
    loop = asyncio.get_running_loop()

    def call() -> T:
        try:
            return fn(*args)
        finally:
            _release(loop, limiter, place)

    unbounded = anyio.CapacityLimiter(math.inf)
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=unbounded)


def _release(loop: asyncio.AbstractEventLoop, limiter: anyio.CapacityLimiter, place: object) -> None:
    with suppress(RuntimeError):  # the event loop may be gone by the time an abandoned call ends
        loop.call_soon_threadsafe(limiter.release_on_behalf_of, place)


async def apply(step: Step, column: Column, scope: Scope, limiter: anyio.CapacityLimiter | None = None) -> Column:
    """Give the step's outcomes for rows none of which has failed. It suspends only if the step waits."""
    if scope.expired:
        return Column.failed([late(f"before step {step.name!r}") for _ in range(column.size)])
    with scope.span(step.name, "step", column.size):
        waits = step.asynchronous or step.blocking
        if waits and limiter is None:
            raise RuntimeError(f"step {step.name!r} waits, and there is nothing here to wait in")
        if step.vectorized:
            call = _caller(step, limiter) if waits else _direct(step)
            with anyio.move_on_after(scope.budget) if waits and scope.deadline is not None else nullcontext():
                return await _columns(step, column, call)
            return Column.failed([late(f"in step {step.name!r}") for _ in range(column.size)])
        if waits:
            return await _rows_waiting(step, column, scope, _caller(step, limiter))
        return _rows(step, column)


def _direct(step: Step) -> Callable[[Any], Awaitable[Any]]:
    async def call(value: Any) -> Any:
        return step.fn(value)

    return call


def _caller(step: Step, limiter: anyio.CapacityLimiter | None) -> Callable[[Any], Awaitable[Any]]:
    if step.asynchronous:
        return step.fn
    assert limiter is not None

    async def call(value: Any) -> Any:
        return await in_thread(limiter, step.fn, value)

    return call


def _failure(step: Step, error: Exception, column: Column) -> StrettoError:
    # The caller's own value is at fault only where the step was given that value, not one the pipeline made of it.
    if isinstance(error, InputError) and column.request:
        return error.at(error.row) if error.row is not None else error
    return step_error(step.name, error)


def _rows(step: Step, column: Column) -> Column:
    values: list[Any] = []
    errors: dict[int, StrettoError] = {}
    fn = step.fn
    for i, row in enumerate(column.rows()):
        try:
            value = fn(row)
            if type(value) is CoroutineType:
                raise _unawaited(value)
        except Exception as error:
            errors[i] = _failure(step, error, column)
            value = None
        values.append(value)
    return Column(values, column.size, errors)


def _unawaited(value: CoroutineType[Any, Any, Any]) -> TypeError:
    value.close()
    return TypeError("the function gave a coroutine without being 'async def'; make it 'async def' and await inside")


async def _rows_waiting(
    step: Step, column: Column, scope: Scope, call: Callable[[Any], Awaitable[Any]]
) -> Column:
    values: list[Any] = [None] * column.size
    errors: dict[int, StrettoError] = {i: late(f"in step {step.name!r}") for i in range(column.size)}

    async def one(i: int, row: Any) -> None:
        try:
            values[i] = await call(row)
            del errors[i]
        except Exception as error:
            errors[i] = _failure(step, error, column)

    with anyio.move_on_after(scope.budget):
        if column.size == 1:
            await one(0, column.rows()[0])
        else:
            await _all(one, column.rows())
    return Column(values, column.size, errors)


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


async def _columns(step: Step, column: Column, call: Callable[[Any], Awaitable[Any]]) -> Column:
    """Call a vectorised function; when it raises, halve the column until only the culprits fail."""
    done: list[tuple[list[int], Column]] = []
    errors: dict[int, StrettoError] = {}
    left = [list(range(column.size))]
    while left:
        rows = left.pop()
        part = column if len(rows) == column.size else column.take(rows)
        try:
            done.append((rows, _shaped(step, await call(part.data()), len(rows))))
        except BadRows as bad:
            culprits = {i: error for i, error in bad.errors.items() if 0 <= i < len(rows)}
            errors |= {rows[i]: _failure(step, error, column) for i, error in culprits.items()}
            rest = [row for i, row in enumerate(rows) if i not in culprits]
            if not culprits:
                errors |= {row: step_error(step.name, bad) for row in rows}
            elif rest:
                left.append(rest)
        except Exception as error:
            if len(rows) == 1:
                errors[rows[0]] = _failure(step, error, column)
            else:
                left += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    return scatter(column.size, done, errors)


def _shaped(step: Step, result: Any, size: int) -> Column:
    """Take what a vectorised function gave as a column of `size` rows."""
    if isinstance(result, dict):
        members = cast("dict[str, Any]", result)
        return Column.pack(tuple(members), [_shaped(step, each, size) for each in members.values()], size)
    if isinstance(result, tuple):
        result = list(cast("tuple[Any, ...]", result))
    elif not isinstance(result, list | np.ndarray) and hasattr(result, "__array__"):
        result = np.asarray(result)
    if not isinstance(result, list | np.ndarray) or (isinstance(result, np.ndarray) and not result.ndim):
        raise StepError(step.name, "TypeError", f"a vectorized step gives a list or an array with a row each, not {type(result).__name__}")
    if len(cast("list[Any]", result)) != size:
        raise StepError(step.name, "ValueError", f"was given {size} rows and gave {len(cast('list[Any]', result))}; a vectorized step gives as many as it takes")
    return Column(cast("list[Any]", result), size)
