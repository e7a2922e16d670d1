"""The weighted mean of the members' numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Node, Pack, Part
from stretto_composers._members.combined import Mean, combining
from stretto_composers._members.members import fan_out
from stretto_composers._members.weights import weights_of


@composer
def weighted(x: Node, *members: Part[Any, Any], weights: Mapping[str, float] | Sequence[float]) -> Node:
    """Return the weighted mean of the answers: numbers, arrays of one shape, or dicts of numbers.

    `weights` go by branch name, or in the order of members; a member without one weighs 1. They need not add up to one:
    as in scikit-learn's ``VotingRegressor(weights=...)`` the sum is divided by theirs. ``weighted(a, b, weights=[2,
    1])`` and ``parallel(a, b) >> weighted(weights=[2, 1])`` mean the same. A member that fails fails the row; after
    ``parallel(..., on_error="omit")`` the weights of the others count.

    Raises:
        PipelineError: a weight is negative, not finite or belongs to no member, there are not as many as members, or
            all are zero; or members are models that answer with labels, or with probabilities of different classes.

    >>> import asyncio
    >>> from stretto import Client
    >>> asyncio.run(Client(weighted(abs, lambda x: 4 * x, weights=[2, 1])).predict(2.0))
    4.0
    """
    if cast("object", weights) is None:
        raise PipelineError("weighted(weights=None): give each member's weight, or use average()")
    x = fan_out(x, members)
    names = x.names if isinstance(x, Pack) else None
    return combining("weighted", x, Mean(weights_of("weighted", weights, names)))
