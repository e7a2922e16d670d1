"""A step applied to a batch: what each kind of function means for many rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from stretto.batch.batch import Batch, Part, scatter
from stretto.batch.contain import contained, failure
from stretto.batch.isolate import Outcomes, each_row, isolate
from stretto.batch.returned import are_values, as_value, shaped
from stretto.engine.context import Context, limit
from stretto.engine.held import watched
from stretto.engine.threads import Threads, run_sync
from stretto.errors import InputError, Overloaded, StepError, StrettoError
from stretto.plan.steps import Step

T = TypeVar("T")

AT_ONCE = 256
"""The rows of one call on which an asynchronous row function is started before the first has to end."""


def apply(step: Step, batch: Batch, context: Context) -> Batch:
    """Return the outcomes of a step that does not wait, for rows none of which has failed.

    Such work can't be interrupted: what it returns after the deadline is late all the same.
    """
    if context.deadline is not None and context.expired:
        return Batch.failed(context.exceeded(f"the steps before {step.name!r}") for _ in range(batch.size))
    run = _together if step.vectorized else _rows
    if context.spans is None or step.internal:
        return run(step, batch, context)
    with context.span(step.name, "step", batch.size):
        return run(step, batch, context)


async def apply_waiting(step: Step, batch: Batch, context: Context, threads: Threads) -> Batch:
    """Return the outcomes of a step that may wait, by the deadline, for rows none of which has failed."""
    if not (step.asynchronous or step.blocking):
        return apply(step, batch, context)
    if context.expired:
        return Batch.failed(context.exceeded(f"the steps before {step.name!r}") for _ in range(batch.size))
    if step.asynchronous:
        watched()
    with context.span(step.name, "step", batch.size):
        if step.vectorized:
            return await _together_waiting(step, batch, context, threads)
        return await _rows_waiting(step, batch, context, threads)


def _rows(step: Step, batch: Batch, context: Context) -> Batch:
    one = _in_time(step.fn, context)

    # A traceback keeps alive the frames of all callers up to the nearest coroutine. As a coroutine that never suspends,
    # this keeps a failed row from holding the whole stack, with its batch, until the garbage collector comes.
    async def rows() -> Outcomes:
        return each_row(batch, one)

    values, errors = run_sync(rows())
    # Coroutines and the like are looked for at the end, in all values: a check in each call would double its cost.
    if not are_values(values):
        values, others = each_row(values, as_value)
        errors = others | errors
    failed = {i: _failure(step, error, batch.from_request(i), context) for i, error in errors.items()}
    return Batch(values, batch.size, failed)


def _in_time(fn: Callable[[Any], Any], context: Context) -> Callable[[Any], Any]:
    """Return the row function with a check of the deadline, where there is one."""
    if context.deadline is None:
        return fn

    def one(row: Any) -> Any:
        if context.expired:
            raise _OverdueError
        value = fn(row)
        if context.expired:
            raise _OverdueError
        return value

    return one


class _OverdueError(Exception):
    """A row's turn came, or ended, after the deadline."""


def _together(step: Step, batch: Batch, context: Context) -> Batch:
    """Call a vectorised function that is not async, for the rows of each form."""
    if not batch.is_even:
        return scatter(batch.size, [(rows, _together(step, part, context)) for rows, part in batch.parts()], {})
    if step.pure and context.deadline is None:
        # The usual case, on the hot path. What is pure may be called once more where it fails, as a coroutine then: its
        # errors hold no frames of callers.
        try:
            return _called(step, batch, context)
        except Exception:
            pass
    return run_sync(_isolated(step, batch, context))


async def _isolated(step: Step, batch: Batch, context: Context) -> Batch:
    """Call a vectorised function for rows of one form, and where it fails for fewer of them."""
    try:
        # The usual case, on the hot path, has nothing else on its way.
        at_once = context.deadline is None and not step.asynchronous
        return _called(step, batch, context) if at_once else await _asked(step, batch, context)
    except Exception as error:
        # Without a name for the answers in this frame, which the error's traceback holds.
        return _gathered(
            step,
            batch,
            context,
            await isolate(batch.size, lambda rows: _asked(step, batch.take(rows), context), first=error),
        )


def _gathered(
    step: Step, batch: Batch, context: Context, answers: Sequence[tuple[Sequence[int], Batch | Exception]]
) -> Batch:
    done: list[Part] = []
    errors: dict[int, StrettoError] = {}
    for rows, answer in answers:
        if isinstance(answer, Batch):
            done.append((rows, answer))
        else:
            errors |= {row: _failure(step, answer, batch.request, context) for row in rows}
    return scatter(batch.size, done, errors)


async def _asked(step: Step, batch: Batch, context: Context) -> Batch:
    if context.expired:
        return _late(step, batch.size, context)
    if step.asynchronous:
        result = shaped(await _own(step.fn, batch.read(step.reader)), batch.size)
    else:
        result = _called(step, batch, context)
    return _late(step, batch.size, context) if context.expired else result


def _called(step: Step, batch: Batch, context: Context) -> Batch:
    one = step.one
    if one is None:
        try:
            return shaped(step.fn(batch.read(step.reader)), batch.size)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            raise contained(error) from None

    def many(batch: Batch) -> Batch | None:
        result = step.fn(batch.read(step.reader))
        return None if result is None else shaped(result, batch.size)

    # Where rows failed the others are asked for together again, so that their form is what it is without the failed.
    values = each_row(batch, _in_time(lambda row: as_value(one(row)), context), many).require()
    return values if isinstance(values, Batch) else Batch(values, batch.size)


def _failure(step: Step, error: Exception, own: bool, context: Context) -> StrettoError:
    if isinstance(error, _OverdueError):
        return context.exceeded(f"step {step.name!r}")
    # The caller's own value is at fault only where the step was called with it, not with one the pipeline made of it.
    return InputError.of(error) if own and isinstance(error, InputError) else failure(step.name, error)


def _late(step: Step, size: int, context: Context) -> Batch:
    return Batch.failed(context.exceeded(f"step {step.name!r}") for _ in range(size))


async def _together_waiting(step: Step, batch: Batch, context: Context, threads: Threads) -> Batch:
    """Call a vectorised function that waits, side by side for the rows of each form."""
    late = set(range(batch.size))
    done: list[Part] = []

    async def part(rows: Sequence[int], some: Batch) -> None:
        run = _isolated(step, some, context) if step.asynchronous else threads.run(_together, step, some, context)
        done.append((rows, await run))
        late.difference_update(rows)

    with limit(context.budget):
        async with anyio.create_task_group() as tasks:
            for rows, some in batch.parts():
                tasks.start_soon(part, rows, some)
    return scatter(batch.size, done, {i: context.exceeded(f"step {step.name!r}") for i in late})


async def _rows_waiting(step: Step, batch: Batch, context: Context, threads: Threads) -> Batch:
    values: list[Any] = [None] * batch.size
    errors: dict[int, StrettoError] = {}
    late = set(range(batch.size))

    async def one(i: int, row: Any) -> None:
        try:
            if step.asynchronous:
                values[i] = await _own(step.fn, row)
            else:
                value, error = await threads.row(step, row, context.deadline)
                if error is None:
                    values[i] = as_value(value)
                else:
                    errors[i] = _failure(step, error, batch.from_request(i), context)
            if context.expired:
                return
        except Overloaded as full:
            # Of the queue in front of the threads; what an asynchronous function raises is its own.
            errors[i] = StepError.of(step.name, full) if step.asynchronous else full
        except Exception as error:
            errors[i] = _failure(step, error, batch.from_request(i), context)
        late.discard(i)

    with limit(context.budget):
        if batch.size == 1:
            await one(0, batch.rows()[0])
        else:
            await _all(one, batch.rows())
    errors |= {i: context.exceeded(f"step {step.name!r}") for i in late}
    return Batch(values, batch.size, errors)


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


async def _own(fn: Callable[[Any], Awaitable[T]], rows: Any) -> T:
    """Await a step's work; when something it waits for was cancelled, and not the step itself, that is its failure."""
    try:
        return as_value(await fn(rows))
    except BaseException as error:
        if isinstance(error, Exception):
            raise
        raise contained(error, awaited=True) from None
