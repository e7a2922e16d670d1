"""A look at a value on its way."""

from typing import Any

from stretto import composer
from stretto.nodes import Input, Node, Part, Plan, Sub, plan_of


@composer
def tap(x: Node, part: Part[Any, Any]) -> Node:
    """Pass the value to `part`, wait for it, and return the value itself: for logs, counters and checks.

    Where `part` fails the row fails, so that a check can refuse a row; to go on all the same, write
    ``tap(fallback(part, lambda x: None))``.

    >>> import asyncio
    >>> from stretto import Client, Pipeline
    >>> seen = []
    >>> asyncio.run(Client(Pipeline(abs) >> tap(seen.append) >> float).predict(-2)), seen
    (2.0, [2])
    """
    # The value goes on as it came, the request's own as such: so a model behind can still reject it as bad input.
    value, seen = Input(), Input()
    return Sub((x, Sub((x,), body=plan_of(part), name="tap")), body=Plan((value, seen), value))
