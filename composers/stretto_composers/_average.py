"""The mean of the members' numbers."""

from typing import Any

from stretto import composer
from stretto.nodes import Node, Part
from stretto_composers._members.combined import Mean, combining
from stretto_composers._members.members import fan_out


@composer
def average(x: Node, *members: Part[Any, Any]) -> Node:
    """Return the mean of the answers: numbers, arrays of one shape, or dicts of numbers with the same keys.

    ``average(a, b)`` and ``parallel(a, b) >> average()`` mean the same: members are asked side by side. The mean is
    that of scikit-learn's ``VotingRegressor``, and of probabilities that of its soft ``VotingClassifier``. A member
    that fails fails the row; after ``parallel(..., on_error="omit")`` the mean is that of the others.

    Raises:
        PipelineError: members are models that answer with labels, or with probabilities of different classes.

    >>> import asyncio
    >>> from stretto import Client
    >>> asyncio.run(Client(average(lambda x: x, lambda x: 3 * x)).predict(2.0))
    4.0
    """
    return combining("average", fan_out(x, members), Mean())
