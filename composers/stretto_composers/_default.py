"""A value for where a part fails."""

import copy
from functools import partial
from typing import Any

from stretto import composer
from stretto.nodes import Call, Input, Node, Part, Plan, Recover, Step, plan_of


@composer
def default(x: Node, part: Part[Any, Any], value: Any) -> Node:
    """Return the part's answer, or `value` where a step of it failed or its deadline was exceeded.

    A request that the part refuses as bad input is not a failure and stays refused; and once the request's own time is
    up there is no answer at all. Each row gets a copy of its own of a value that can change.

    >>> import asyncio
    >>> from stretto import Client
    >>> asyncio.run(Client(default(lambda x: 1 / x, None)).predict_many([4, 0]))
    [0.25, None]
    """
    start = Input()
    constant = Call((start,), step=Step(fn=partial(copied, value), name="default", named=False, internal=True))
    return Recover((x,), body=plan_of(part), handler=Plan((start,), constant))


def copied(value: Any, _: Any) -> Any:
    """Return a copy of the value, whatever the row is."""
    return copy.deepcopy(value)
