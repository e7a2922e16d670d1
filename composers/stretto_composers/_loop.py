"""Bounded repetition."""

from functools import partial
from typing import Any, NoReturn

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Call, Choose, Input, Node, Part, Plan, Step, Sub, as_pipeline, plan_of
from stretto_composers._members.members import short

MOST = 100
"""The largest limit: each turn has nodes of its own in the plan, which rows that have finished pass through."""


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
    >>> pipeline = loop(lambda x: 2 * x, until=lambda x: x > 50, limit=8)
    >>> asyncio.run(Client(pipeline).predict_many([1, 20, 100]))
    [64, 80, 200]
    """
    if type(limit) is not int or not 1 <= limit <= MOST:
        raise PipelineError(
            f"loop(limit={limit!r}): give a whole number from 1 to {MOST}, the most turns a row may take"
        )
    turn, value, state = plan_of(body), Input(), Input()
    finished = Call((as_pipeline(until)(value),), step=Step(fn=what_next, name="until", named=False, internal=True))
    same, still, test = Plan((value,), value), Plan((value, state), state), Plan((value, state), finished)
    x = Sub((x,), body=turn, name="loop")
    done: Node = Sub((x,), body=Plan((value,), finished), name="loop")
    for _ in range(limit - 1):
        x = Choose((x, done), cases=(("done", same), ("again", turn)), name="loop")
        done = Choose((x, done, done), cases=(("done", still), ("again", test)), name="loop")
    stop = Call((value,), step=Step(fn=partial(fail, limit), name="limit", named=False, internal=True))
    over = Plan((value,), stop) if on_limit is None else plan_of(on_limit)
    return Choose((x, done), cases=(("done", same), ("again", over)))


def what_next(finished: Any) -> str:
    """Return what an answer of `until` means, by Python's truth."""
    return "done" if finished else "again"


def fail(limit: int, last: Any) -> NoReturn:
    """Raise an error with the limit and the last value."""
    value = short(last, 200)
    raise LimitReached(
        f"not finished after {limit} turns, the last value is {value}; raise limit=, or give on_limit= a part"
    )


class LimitReached(Exception):
    """A row took as many turns as it may, and has not finished."""
