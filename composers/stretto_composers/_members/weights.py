"""How much each member counts."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from stretto.errors import PipelineError
from stretto_composers._policies.numbers import number

Given: TypeAlias = Mapping[str, float] | Sequence[float] | None
"""Weights as users give them: by branch name, or in the order of members."""
MOST = 1e100
"""A weight is below it: sums of them stay finite."""


@dataclass(frozen=True)
class Weights:
    """What each member weighs: `values` by name, where one that is not there weighs 1; or in order; or 1 each.

    With `checked`, the names are known to be those of members.
    """

    values: Mapping[str, float] | tuple[float, ...] | None = None
    checked: bool = False

    @cached_property
    def exact(self) -> bool:
        """Whether sums of the weights are exact."""
        values = self.values.values() if isinstance(self.values, Mapping) else self.values or ()
        return all(weight.is_integer() and weight < 2**40 for weight in values)

    def by(self, names: Sequence[str]) -> dict[str, float]:
        """Return the weights of the members with these names, some of which may be missing."""
        values = self.values
        if values is None:
            return dict.fromkeys(names, 1.0)
        if not isinstance(values, Mapping):
            if len(values) != len(names):
                raise ValueError(f"{len(values)} weights for {len(names)} members")
            values = dict(zip(names, values, strict=True))
        unknown = () if self.checked else values.keys() - set(names)
        if unknown:
            raise ValueError(f"weights for {sorted(unknown)}, and the members are {sorted(names)}")
        weights = {name: values.get(name, 1.0) for name in names}
        if not any(weights.values()):
            raise ValueError(f"the members {list(names)} all weigh nothing")
        return weights


def weights_of(composer: str, weights: Given, names: tuple[str, ...] | None) -> Weights:
    """Return weights as users give them; `names` are the members', where they are known."""
    where = f"{composer}(weights={weights!r})"
    if weights is None:
        return Weights()
    numbers = _numbers(where, weights)
    values: dict[str, float] | tuple[float, ...] = tuple(numbers)
    if isinstance(weights, Mapping):
        values = dict(zip(weights, numbers, strict=True))
        unknown = [name for name in values if names is not None and name not in names]
        if unknown:
            raise PipelineError(f"{where}: no member is named {unknown[0]!r}; they are {list(names or ())}")
    elif names is not None:
        if len(numbers) != len(names):
            raise PipelineError(f"{where}: {len(numbers)} weights for {len(names)} members, {list(names)}")
        values = dict(zip(names, numbers, strict=True))
    # By name, those not named weigh 1: whether there are any is known only with the names.
    if not any(numbers) and not (isinstance(values, dict) and (names is None or set(names) > values.keys())):
        raise PipelineError(f"{where}: all weights are zero; give at least one member a weight above zero")
    return Weights(values, checked=names is not None)


def _numbers(where: str, weights: Any) -> list[float]:
    if isinstance(weights, str | bytes | Set) or not hasattr(weights, "__iter__"):
        raise PipelineError(f"{where}: give a dict of branch name to weight, or a list of weights in the order written")
    by_name = isinstance(weights, Mapping)
    numbers: list[float] = []
    for key, weight in weights.items() if by_name else enumerate(weights, 1):
        value = number(weight)
        if value is None or not 0 <= value < MOST:
            whose = f"the weight of {key!r}" if by_name else f"weight {key}"
            raise PipelineError(f"{where}: {whose} is {weight!r}; give a finite number, zero or more")
        numbers.append(value)
    return numbers
