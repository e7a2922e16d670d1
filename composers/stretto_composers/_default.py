"""A value for where a part fails."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from stretto import composer, step
from stretto.nodes import Node, Part, Recover, plan_of


@composer
def default(x: Node, part: Part[Any, Any], value: Any) -> Node:
    """Answer with the part; with `value` where a step of it failed or its time was up.

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
    return Recover((x,), body=plan_of(part), handler=step(Constant(value)).plan())


@dataclass(frozen=True)
class Constant:
    """Gives one value, whatever it is asked."""

    value: Any

    def __call__(self, _: Any) -> Any:
        """Return the value."""
        return copy.deepcopy(self.value)
