"""The median of the members' numbers."""

from typing import Any

import numpy as np

from stretto import composer
from stretto.nodes import Node, Part
from stretto_composers._members.combined import combining
from stretto_composers._members.members import fan_out


@composer
def median(x: Node, *members: Part[Any, Any]) -> Node:
    """Return the median of the answers: numbers, arrays of one shape, or dicts of numbers with the same keys.

    One member that is far off moves it no further than one that is a little off. Of an even number of answers it is the
    mean of the two in the middle. Arrays and dicts are taken entry by entry, so medians of probabilities need not add
    up to one. A member that fails fails the row; after ``parallel(..., on_error="omit")`` it is that of the others.

    Raises:
        PipelineError: members are models that answer with labels, or with probabilities of different classes.

    >>> import asyncio
    >>> from stretto import Client
    >>> asyncio.run(Client(median(lambda x: x, lambda x: x + 1, lambda x: 1000.0)).predict(2.0))
    3.0
    """
    return combining("median", fan_out(x, members), middle)


def middle(names: tuple[str, ...], numbers: np.ndarray) -> np.ndarray:
    """Return the median of arrays stacked along the first axis; NaN where one of them is."""
    return np.median(numbers, axis=0)
