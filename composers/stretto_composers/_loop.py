"""Bounded repetition."""

from __future__ import annotations

from typing import Any, NoReturn

from stretto import Pipeline, composer
from stretto.errors import PipelineError
from stretto.nodes import Call, Choose, Input, Node, Pack, Part, Plan, Step, as_pipeline
from stretto_composers._inside import inside, unchanged
from stretto_composers._select import picked

MOST = 100
"""The largest limit: each turn is a node of the plan, which rows that have finished pass through."""

DONE, AGAIN = "done", "again"


@composer
def loop(
    x: Node, body: Part[Any, Any], until: Part[Any, Any], limit: int, on_limit: Part[Any, Any] | None = None
) -> Node:
    """Repeat `body` on its own answer until `until` says true of it, at most `limit` times.

    `body` runs at least once. In a batch the rows that have finished stop, and the others go on together. A row that
    has not finished after `limit` turns goes, with its last value, to `on_limit`, such as ``lambda last: last``;
    without that it fails.

    Raises:
        PipelineError: `limit` is no whole number from 1 to 100.

    >>> import asyncio
    >>> from stretto import Client
    >>> async def main():
    ...     async with Client(loop(lambda x: 2 * x, until=lambda x: x > 50, limit=8)) as client:
    ...         return await client.predict_many([1, 20, 100])
    >>> asyncio.run(main())
    [64, 80, 200]
    """
    if type(limit) is not int or not 1 <= limit <= MOST:
        raise PipelineError(
            f"loop(limit={limit!r}): give a whole number from 1 to {MOST}, the most turns a row may take"
        )
    start, state = Input(), Input()
    first = Plan((start,), _turn(start, as_pipeline(body), as_pipeline(until)))
    again = Plan((state,), _turn(picked(state, "value"), as_pipeline(body), as_pipeline(until)))
    same = unchanged()
    node = inside(x, first, "loop")
    for _ in range(limit - 1):
        node = Choose((node, picked(node, "next")), cases=((DONE, same), (AGAIN, again)), name="loop")
    last = Input()
    value = picked(last, "value")
    stop = Call((value,), step=Step(fn=Stop(limit), name="limit", named=False))
    over = stop if on_limit is None else as_pipeline(on_limit)(value)
    return Choose((node, picked(node, "next")), cases=((DONE, Plan((last,), value)), (AGAIN, Plan((last,), over))))


def _turn(value: Node, body: Pipeline[Any, Any], until: Pipeline[Any, Any]) -> Node:
    """Return what is known after a turn: the value, and what comes next."""
    made = body(value)
    known = Call((until(made),), step=Step(fn=what_next, name="until", named=False))
    return Pack((made, known), names=("value", "next"))


def what_next(finished: Any) -> str:
    """Return what an answer of `until` means, by Python's truth."""
    return DONE if finished else AGAIN


class Stop:
    """Fails what has not finished."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def __call__(self, last: Any) -> NoReturn:
        """Raise what says the limit and the last value."""
        shown = repr(last)
        shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
        raise LimitReached(
            f"not finished after {self.limit} turns, the last value is {shown}; raise limit=, or give on_limit= a part"
        )


class LimitReached(Exception):
    """A row took as many turns as it may, and has not finished."""
