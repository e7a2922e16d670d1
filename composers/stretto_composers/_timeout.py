"""A deadline for a part."""

from typing import Any

from stretto import composer
from stretto.nodes import Node, Part, Within, plan_of
from stretto_composers._policies.settings import seconds as checked


@composer
def timeout(x: Node, part: Part[Any, Any], seconds: float) -> Node:
    """Return the part's answer, or fail the rows that it has not answered after so many seconds.

    What is left of the request's own time still counts: the earlier deadline is kept. Work that waits is cancelled at
    that moment; a function that does not wait can't be interrupted, and its answer is late all the same.

    Raises:
        PipelineError: `seconds` is not above 0.

    >>> import asyncio
    >>> from stretto import Client
    >>> async def slow(x):
    ...     await asyncio.sleep(60)
    >>> asyncio.run(Client(timeout(slow, 0.01)).predict(1))
    Traceback (most recent call last):
        ...
    stretto.errors.DeadlineExceeded: deadline exceeded in step 'slow' (0.01 s): allow more with timeout=
    """
    return Within((x,), body=plan_of(part), seconds=checked("seconds", seconds))
