"""A value for where a part fails."""

from __future__ import annotations

import copy
from dataclasses import dataclass
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
    >>> async def main():
    ...     async with Client(default(lambda x: 1 / x, None)) as client:
    ...         return await client.predict_many([4, 0])
    >>> asyncio.run(main())
    [0.25, None]
    """
    start = Input()
    constant = Call((start,), step=Step(fn=Constant(value), name="default", named=False, internal=True))
    return Recover((x,), body=plan_of(part), handler=Plan((start,), constant))


@dataclass(frozen=True)
class Constant:
    """Returns one value, whatever its argument is."""

    value: Any

    def __call__(self, _: Any) -> Any:
        """Return a copy of the value."""
        return copy.deepcopy(self.value)
