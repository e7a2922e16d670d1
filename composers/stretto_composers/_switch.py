"""A branch picked by a key, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from stretto import Choose, Node, Part, Pipeline, composer
from stretto.errors import PipelineError


@composer
def switch(
    x: Node, key: Part[Any, Any], cases: Mapping[Any, Part[Any, Any]], default: Part[Any, Any] | None = None
) -> Node:
    """Answer with the case that `key` picks for the row, or with `default` where it picks none; the others never start.

    In a batch the rows part, each case gets its own in one go, and they come together in order. A key without a case
    and without `default` fails the row.

    Raises:
        PipelineError: there are no cases.

    >>> import asyncio
    >>> from stretto import Client
    >>> sign = switch(lambda x: x < 0, {True: lambda x: "negative"}, default=lambda x: "positive")
    >>> async def main():
    ...     async with Client(sign) as client:
    ...         return await client.predict_many([1, -1])
    >>> asyncio.run(main())
    ['positive', 'negative']
    """
    if not isinstance(cast("object", cases), Mapping):
        raise PipelineError(f"switch() takes a dict from each key to its part, not {cases!r}")
    if not cases:
        raise PipelineError("switch() needs at least one case")
    plans = tuple((case, Pipeline(part).plan()) for case, part in cases.items())
    return Choose((x, Pipeline(key)(x)), cases=plans, default=None if default is None else Pipeline(default).plan())
