"""A spare part for where the main one fails."""

from typing import Any

from stretto import composer
from stretto.nodes import Node, Part, Recover, plan_of


@composer
def fallback(x: Node, main: Part[Any, Any], spare: Part[Any, Any]) -> Node:
    """Return the main part's answer, or the spare part's to the same value where a step of the main part failed.

    In a batch only the rows that failed go to the spare part. A request that the main part refuses as bad input is
    not a failure and stays refused. Where both fail, the error is the spare part's.

    >>> import asyncio
    >>> from stretto import Client
    >>> asyncio.run(Client(fallback(lambda x: 1 / x, lambda x: 0.0)).predict_many([4, 0]))
    [0.25, 0.0]
    """
    return Recover((x,), body=plan_of(main), handler=plan_of(spare))
