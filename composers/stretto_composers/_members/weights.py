"""How much each member counts."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from stretto.errors import PipelineError
from stretto_composers._policies.settings import number

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
    where, by_name = f"{composer}(weights={weights!r})", isinstance(weights, Mapping)
    if weights is None:
        return Weights()
    if isinstance(weights, str | bytes | Set) or not hasattr(weights, "__iter__"):
        raise PipelineError(f"{where}: give a dict of branch name to weight, or a list of weights in the order written")
    values: dict[Any, float] = {}
    for key, weight in weights.items() if isinstance(weights, Mapping) else enumerate(weights, 1):
        real = number(weight)
        if real is None or not 0 <= real < MOST:
            whose = f"the weight of {key!r}" if by_name else f"weight {key}"
            raise PipelineError(f"{where}: {whose} is {weight!r}; give a finite number, zero or more")
        values[key] = real
    if names is not None and not by_name:
        if len(values) != len(names):
            raise PipelineError(f"{where}: {len(values)} weights for {len(names)} members, {list(names)}")
        values = dict(zip(names, values.values(), strict=True))
    unknown = [] if names is None else [name for name in values if name not in names]
    if unknown:
        raise PipelineError(f"{where}: no member is named {unknown[0]!r}; they are {list(names or ())}")
    # By name, those not named weigh 1: whether there are any is known only with the names.
    others = by_name if names is None else len(values) < len(names)
    if not any(values.values()) and not others:
        raise PipelineError(f"{where}: all weights are zero; give at least one member a weight above zero")
    in_order = names is None and not by_name
    return Weights(tuple(values.values()) if in_order else values, checked=names is not None)
