"""Some members of a dict."""

from collections.abc import Sequence
from typing import cast

from stretto import composer
from stretto.nodes import Node
from stretto_composers._members.dicts import check_names, members_of


@composer
def select(x: Node, *names: str | Sequence[str]) -> Node:
    """Return the named members of a dict: the value of one name, or for several, or a list, a dict in that order.

    It takes a request's features or a fan-out's answers; of those it passes whole columns on, so it costs nothing
    in a batch. A row that lacks a name fails; the request's own row is refused as bad input.

    Raises:
        PipelineError: there is no name, one is no string or comes twice, or the fan-out before it has no such branch.

    >>> import asyncio
    >>> from stretto import Client, parallel
    >>> numbers = parallel(low=min, high=max, count=len)
    >>> asyncio.run(Client(numbers >> select("low", "high")).predict([3, 1, 2]))
    {'low': 1, 'high': 3}
    >>> asyncio.run(Client(numbers >> select("count")).predict([3, 1, 2]))
    3
    """
    alone = len(names) == 1 and isinstance(names[0], str)
    wanted = tuple(names[0]) if len(names) == 1 and isinstance(names[0], list | tuple) else names
    check_names("select", wanted, x)
    return members_of(x, cast("tuple[str, ...]", wanted), alone=alone)
