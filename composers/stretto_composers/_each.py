"""A part for every element of a list."""

from typing import Any

from stretto import composer
from stretto.nodes import Each, Node, Part, plan_of


@composer
def each(x: Node, body: Part[Any, Any]) -> Node:
    """Return a list: the answer of `body` to every element of the list that it receives.

    The elements of all rows of a batch go through `body` together. Where it fails on an element the row fails, with
    the element's position in the error's path: ``each/2/logistic``. To answer the others, let `body` recover, as in
    ``each(fallback(body, lambda x: None))``. What is no list (text, a dict, a number) fails the row.

    >>> import asyncio
    >>> from stretto import Client
    >>> asyncio.run(Client(each(abs)).predict_many([[1, -2], []]))
    [[1, 2], []]
    """
    return Each((x,), body=plan_of(body))
