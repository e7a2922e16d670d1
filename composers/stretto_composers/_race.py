"""The first of several to succeed."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from stretto import composer
from stretto.errors import PipelineError, StrettoError
from stretto.nodes import UNDECIDED, Join, Node, Part, plan_of
from stretto_composers._members.members import labels_of


@composer
def race(x: Node, *members: Part[Any, Any]) -> Node:
    """Return the answer of the first member that succeeds; the others are cancelled, or never started.

    A member that fails is out of the race; where all fail, the error is that of the first one written.

    Raises:
        PipelineError: there are fewer than two members.

    >>> import asyncio
    >>> from stretto import Client
    >>> async def slow(x):
    ...     await asyncio.sleep(60)
    >>> async def quick(x):
    ...     return x + 1
    >>> asyncio.run(Client(race(slow, quick)).predict(1))
    2
    """
    if len(members) < 2:
        raise PipelineError(f"race() needs at least two members, got {len(members)}")
    names = labels_of(members)
    until = partial(first_success, names[0])
    return Join((x,), members=tuple(map(plan_of, members)), names=names, until=until)


def first_success(first: str, arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
    """Return the first value to arrive; raise the error of the member `first` once all have failed."""
    for outcome in arrived.values():
        if not isinstance(outcome, StrettoError):
            return outcome
    if waiting:
        return UNDECIDED
    raise arrived[first]
