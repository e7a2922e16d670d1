"""The mean of the members' numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from stretto import Answers, Call, Node, Pack, Part, Pipeline, Step, composer
from stretto.errors import PipelineError
from stretto_composers._members import labels_of


@composer
def average(x: Node, *members: Part[Any, Any]) -> Node:
    """Answer with the mean of the answers: numbers, arrays of one shape, or dicts of numbers with the same keys.

    ``average(a, b)`` asks members side by side; ``parallel(a, b) >> average()`` takes the answers of a fan-out. The
    mean is that of scikit-learn's ``VotingRegressor``. A member that fails fails the row.

    Raises:
        PipelineError: members answer with labels, or with probabilities of other classes or in another order.

    >>> import asyncio
    >>> from stretto import Client
    >>> async def main():
    ...     async with Client(average(lambda x: x, lambda x: 3 * x)) as client:
    ...         return await client.predict(2.0)
    >>> asyncio.run(main())
    4.0
    """
    parts = [Pipeline(member) for member in members]
    if parts:
        x = Pack(tuple(part(x) for part in parts), names=labels_of(parts))
    return Call((x,), step=Step(fn=Averaging(), name="average", vectorized=True, named=False))


class Averaging:
    """The mean of a fan-out's columns."""

    def __call__(self, columns: Any) -> Any:
        """Give the mean a row."""
        return mean(columns)

    def check_members(self, members: Mapping[str, Answers]) -> None:
        """Refuse members whose answers have no mean, or one that means nothing.

        Raises:
            PipelineError: there are such members; it names them.
        """
        known = {name: said for name, said in members.items() if said.output and said.classes is not None}
        for name, said in known.items():
            if said.output == "predict" and not all(isinstance(each, int | float) for each in said.classes or ()):
                raise PipelineError(
                    f"average() takes numbers, and {name!r} answers with labels: give it output='label_proba', or "
                    "use vote()"
                )
        tables = [(name, said) for name, said in known.items() if said.output in ("proba", "label_proba")]
        for name, said in tables[1:]:
            first, other = tables[0]
            same = _sorted(said.classes) == _sorted(other.classes)
            if said.output != other.output:
                raise PipelineError(
                    f"average(): {first!r} answers with {other.output!r}, {name!r} with {said.output!r}"
                )
            if said.classes != other.classes and not (same and said.output == "label_proba"):
                hint = "in another order; use output='label_proba'" if same else "which are others"
                raise PipelineError(
                    f"average(): {first!r} gives probabilities of {_list(other.classes)}, {name!r} of "
                    f"{_list(said.classes)}, {hint}"
                )


def _sorted(classes: tuple[Any, ...] | None) -> list[str]:
    return sorted(map(str, classes or ()))


def _list(classes: tuple[Any, ...] | None) -> list[Any]:
    return list(classes or ())


def mean(columns: Any) -> Any:
    """Give the mean over a fan-out's columns, row by row."""
    if isinstance(columns, list) and all(isinstance(row, Mapping) for row in cast("list[Any]", columns)):
        return [_mean_of(tuple(row.values())) for row in cast("list[Mapping[str, Any]]", columns)]
    if not isinstance(columns, dict):
        raise TypeError("average() takes the answers of a fan-out, as in parallel(a, b) >> average()")
    members = list(cast("dict[str, Any]", columns).values())
    if all(isinstance(member, dict) for member in members):
        keys = list(members[0])
        if any(member.keys() != members[0].keys() for member in members):
            raise ValueError(f"the members give different keys: {[list(member) for member in members]}")
        return {key: mean({str(i): member[key] for i, member in enumerate(members)}) for key in keys}
    if all(isinstance(member, np.ndarray) and member.dtype.kind in "fiub" for member in members):
        return np.average(np.stack(members), axis=0)
    return [_mean_of(row) for row in zip(*members, strict=True)]


def _mean_of(values: tuple[Any, ...]) -> Any:
    if all(isinstance(value, Mapping) for value in values):
        keys = list(values[0])
        if any(value.keys() != values[0].keys() for value in values):
            raise ValueError(f"the members give different keys: {[list(value) for value in values]}")
        return {key: _mean_of(tuple(value[key] for value in values)) for key in keys}
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "fiub":
        raise TypeError(f"average() takes numbers, not {values!r}")
    result = np.average(numbers, axis=0)
    return result if result.ndim else float(result)
