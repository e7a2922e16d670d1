"""The slow and plain meaning of a plan: recursive, sequential, a row at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from stretto.engine.context import now
from stretto.errors import BadRows, DeadlineExceeded, InputError, StepError, StrettoError
from stretto.pipeline import Pipeline
from stretto.plan.nodes import Around, Aside, Call, Choose, Each, Instead, Join, Node, Pack, Recover, Sub, Within
from stretto.plan.plan import Plan
from stretto.plan.protocols import UNDECIDED
from stretto.plan.steps import Stage, Step


async def oracle(target: Pipeline[Any, Any] | Plan, row: Any) -> Any:
    """Return a pipeline's answer to one row, the slow and plain way: recursive, sequential, a row at a time.

    It shares no code with the evaluator, so that the two can disagree.

    Raises:
        StrettoError: what the row fails with.
    """
    plan = target if isinstance(target, Plan) else target.plan()
    request = [row]
    return _value(await _plan(plan, [request], request))


async def oracle_outcome(target: Pipeline[Any, Any] | Plan, row: Any) -> Any:
    """Return the oracle's answer to one row, or the error it fails with."""
    try:
        return await oracle(target, row)
    except StrettoError as error:
        return error


# A value here is a cell: what a vectorised step takes for this one row, a list or an array of one, or a dict of these.
# `request` is the caller's own cell: a step that takes this very cell, and raises InputError, blames the caller.
def _value(cell: Any) -> Any:
    if isinstance(cell, dict):
        return {key: _value(each) for key, each in cast("dict[str, Any]", cell).items()}
    if isinstance(cell, np.ndarray) and cell.ndim == 1:
        return _date(cell[0]) if cell.dtype.kind in "mM" else cell.tolist()[0]
    return cell[0]


def _date(value: Any) -> Any:
    """Return a date or span of numpy as Python's, where it has one that is equal."""
    for same in (value, value.astype(f"{value.dtype.kind}8[us]")):
        if not isinstance(same.item(), int) and (same == value or np.isnat(value)):
            return same.item()
    return value


async def _plan(plan: Plan, values: Sequence[Any], request: Any) -> Any:
    return await _node(plan.output, dict[Node, Any](zip(plan.inputs, values, strict=True)), request)


async def _node(node: Node, memo: dict[Node, Any], request: Any) -> Any:
    # A failed input fails every node that needs it, each time with the same error.
    if node not in memo:
        try:
            memo[node] = await _meaning(node, memo, request)
        except StrettoError as error:
            memo[node] = error
    if isinstance(memo[node], StrettoError):
        raise memo[node]
    return memo[node]


async def _meaning(node: Node, memo: dict[Node, Any], request: Any) -> Any:
    if isinstance(node, Call) and isinstance(node.step, Stage):
        # What failed before a stage fails whatever needs it inside.
        outcomes = [await _outcome(each, memo, request) for each in node.inputs]
        return await _plan(node.step.plan, outcomes, request)
    if isinstance(node, Join) and node.own_inputs:
        return await _join(node, [], memo, request)
    if isinstance(node, Pack) and node.on_error != "raise":
        return _pack(node, [await _outcome(each, memo, request) for each in node.inputs])
    inputs = [await _node(each, memo, request) for each in node.inputs]
    try:
        match node:
            case Call(step=Step() as step):
                return await _call(step, inputs[0], request)
            case Pack(names=names):
                return dict(zip(names, inputs, strict=True))
            case Sub(body=body):
                return await _plan(body, inputs, request)
            case Choose():
                return await _choose(node, inputs, request)
            case Recover():
                return await _recover(node, inputs, request)
            case Join():
                return await _join(node, inputs, memo, request)
            case Within():
                return await _within(node, inputs, request)
            case Each():
                return await _each(node, inputs, request)
            case Around(body=body):
                return [_value(await _plan(body, inputs, request))]
            case Aside():
                return inputs[0]
            case _:
                raise AssertionError(f"no meaning for {type(node).__name__}")
    except StrettoError as error:
        raise error.under(_name(node)) if node.plans else error from None


async def _outcome(node: Node, memo: dict[Node, Any], request: Any) -> Any:
    try:
        return await _node(node, memo, request)
    except StrettoError as error:
        return error


async def _call(step: Step, cell: Any, request: Any) -> Any:
    try:
        if step.one is not None:
            return _together_or_alone(step.fn, step.one, cell)
        answer = step.fn(cell if step.vectorized else _value(cell))
        if asyncio.iscoroutine(answer):
            if not step.asynchronous:
                answer.close()
                raise TypeError("the function gave a coroutine without being 'async def'")
            answer = await answer
        if isinstance(answer, Iterator | AsyncIterator | Pipeline):
            raise TypeError(f"the function gave no value but {answer!r}")
        return _cell(answer) if step.vectorized else [answer]
    except BadRows as bad:
        raise _failure(step, bad.errors.get(0, bad) if step.vectorized else bad, cell is request) from None
    except Exception as error:
        raise _failure(step, error, cell is request) from error


def _together_or_alone(many: Callable[[Any], Any], one: Callable[[Any], Any], cell: Any) -> Any:
    """Return the answer of a function over many rows; where it raises or returns None, that of its row form."""
    try:
        answer = many(cell)
        if answer is not None:
            return _cell(answer)
    except BadRows:
        raise
    except Exception:
        pass
    return [one(_value(cell))]


def _cell(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {key: _cell(each) for key, each in cast("dict[str, Any]", answer).items()}
    table = getattr(answer, "columns", None) is not None
    if table and hasattr(answer, "iloc") and list(answer.columns) == list(range(answer.shape[1])):
        return answer.to_numpy()
    if table:
        names = answer.column_names if hasattr(answer, "column_names") else answer.columns
        return {str(name): _cell(answer[name]) for name in names}
    for listing in ("to_list", "to_pylist"):
        if hasattr(answer, listing):
            return [_plain(each) for each in getattr(answer, listing)()]
    cell = answer if isinstance(answer, np.ndarray) else np.asarray(answer) if hasattr(answer, "__array__") else answer
    if isinstance(cell, tuple) and any(np.ndim(each) for each in cast("tuple[Any, ...]", cell)):
        raise TypeError(f"a tuple of columns or of rows: {answer!r}")
    if not isinstance(cell, list | tuple | np.ndarray) or len(cast("list[Any]", cell)) != 1:
        raise TypeError(f"a vectorized step gives a list or an array with a row each, not {answer!r}")
    return cell if isinstance(cell, np.ndarray) else list(cast("list[Any]", cell))


def _plain(value: Any) -> Any:
    """Return a value of a series as Python's; it has None where one is missing."""
    kind = type(value).__name__
    if kind in ("NAType", "NaTType"):
        return None
    return value.to_pydatetime() if kind == "Timestamp" else value.to_pytimedelta() if kind == "Timedelta" else value


def _failure(step: Step, error: Exception, own: bool) -> StrettoError:
    if isinstance(error, InputError) and own:
        return error
    return StepError.of(step.name, error)


def _pack(node: Pack, outcomes: list[Any]) -> dict[str, Any]:
    for outcome in outcomes:
        if isinstance(outcome, InputError):
            raise outcome
    by_name = dict(zip(node.names, outcomes, strict=True))
    fine = {name: outcome for name, outcome in by_name.items() if not isinstance(outcome, StrettoError)}
    if isinstance(node.on_error, Instead):
        return {name: fine.get(name, [node.on_error.value]) for name in node.names}
    return fine


async def _choose(node: Choose, inputs: list[Any], request: Any) -> Any:
    *cells, last = inputs
    key = _value(last)
    for case, plan in node.cases:
        if case == key:
            return await _plan(plan, cells, request)
    if node.default is None:
        raise StepError("", "KeyError", f"no case for the key {key!r}")
    return await _plan(node.default, cells, request)


async def _recover(node: Recover, cells: list[Any], request: Any) -> Any:
    try:
        return await _plan(node.body, cells, request)
    except InputError:
        raise
    except StrettoError:
        return await _plan(node.handler, cells, request)


async def _within(node: Within, cells: list[Any], request: Any) -> Any:
    start = now()
    answer = await _plan(node.body, cells, request)
    if now() - start >= node.seconds:
        raise DeadlineExceeded(seconds=node.seconds)
    return answer


async def _each(node: Each, cells: list[Any], request: Any) -> Any:
    try:
        value = _value(cells[0])
        if isinstance(value, str | bytes | dict):
            raise TypeError(f"not {value!r}")
        elements = list(value)
    except TypeError as error:
        raise StepError("", "TypeError", f"needs a list: {error}") from error
    answers: list[Any] = []
    for place, element in enumerate(elements):
        try:
            answers.append(_value(await _plan(node.body, [[element], *cells[1:]], request)))
        except StrettoError as error:
            raise error.under(str(place)) from None
    return [answers]


async def _join(node: Join, inputs: list[Any], memo: dict[Node, Any], request: Any) -> Any:
    """Run the members one after the other: in turn they share the node's seconds, side by side each has them all."""
    arrived: dict[str, Any] = {}
    start = now()
    for at, (member, plan) in enumerate(zip(node.names, node.members, strict=True)):
        spent = now() - start if node.in_turn else 0.0
        try:
            async with asyncio.timeout(None if node.seconds is None else node.seconds - spent):
                try:
                    cells = inputs or [await _node(node.inputs[at], memo, request)]
                    arrived[member] = _value(await _plan(plan, cells, request))
                except StrettoError as error:
                    arrived[member] = error
        except TimeoutError:
            continue
        waiting = tuple(each for each in node.names if each not in arrived)
        answer = _decided(node, arrived, waiting)
        if answer is not UNDECIDED:
            return [answer]
    answer = UNDECIDED if len(arrived) == len(node.names) else _decided(node, arrived, ())
    if answer is not UNDECIDED:
        return [answer]
    if len(arrived) < len(node.names):
        raise DeadlineExceeded(seconds=node.seconds)
    raise StepError(_name(node) if node.own_inputs else "", "Undecided", "all members answered, and none of it decides")


def _decided(node: Join, arrived: dict[str, Any], waiting: tuple[str, ...]) -> Any:
    try:
        return node.one(arrived, waiting)
    except StrettoError:
        raise
    except Exception as error:
        raise StepError.of(_name(node) if node.own_inputs else "", error) from error


def _name(node: Node) -> str:
    return getattr(node, "name", "") or type(node).__name__.lower()


def same(a: Any, b: Any) -> bool:
    """Return whether two outcomes are equal: labels exactly, floats within rounding, errors by class and place."""
    if isinstance(a, StrettoError) or isinstance(b, StrettoError):
        return type(a) is type(b) and getattr(a, "step", None) == getattr(b, "step", None)
    if isinstance(a, dict) and isinstance(b, dict):
        left, right = cast("dict[Any, Any]", a), cast("dict[Any, Any]", b)
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        xs, ys = cast("list[Any]", a), cast("list[Any]", b)
        return len(xs) == len(ys) and all(same(x, y) for x, y in zip(xs, ys, strict=True))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        x, y = np.asarray(a), np.asarray(b)
        return x.shape == y.shape and bool(
            np.allclose(x, y, rtol=1e-9, atol=1e-12, equal_nan=True) if x.dtype.kind == "f" else (x == y).all()
        )
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b)) or (a != a and b != b)
    return bool(a == b)
