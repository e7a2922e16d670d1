"""A composer for Stretto: a guard that may refuse a row."""

# --8<-- [start:composer]
from __future__ import annotations

from typing import Any

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Choose, Node, Part, as_pipeline, plan_of

__all__ = ["veto"]


@composer
def veto(x: Node, main: Part[Any, Any], guard: Part[Any, Any], instead: Part[Any, Any]) -> Node:
    """Return the answer of `main`, or of `instead` where the guard is false.

    All three take the same value. Where the guard answers false the main part never starts.

    Raises:
        PipelineError: one of them is no part, or `main` and `instead` are the same.

    >>> import asyncio
    >>> from stretto import Client
    >>> pipeline = veto(lambda x: 1 / x, guard=lambda x: x != 0, instead=lambda x: 0.0)
    >>> asyncio.run(Client(pipeline).predict_many([4, 0]))
    [0.25, 0.0]
    """
    if main is instead:
        raise PipelineError(f"veto(instead={instead!r}): that is the main part itself, so nothing would change")
    plan = plan_of(main)
    return Choose((x, as_pipeline(guard)(x)), cases=((True, plan),), default=plan_of(instead))


# --8<-- [end:composer]
