"""Bounded repetition."""

from __future__ import annotations

from typing import Any, NoReturn

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Call, Choose, Input, Node, Part, Plan, Step, Sub, as_pipeline, plan_of
from stretto_composers._members.text import short

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
    turn, test = plan_of(body), _finished(plan_of(until))
    (start, value, known), last = (Input(), Input(), Input()), Input()
    again, finished, over = as_pipeline(body), Plan((value, known), known), Plan((last,), last)
    x = Sub((x,), body=turn, name="loop")
    done: Node = Sub((x,), body=test, name="loop")
    return x
