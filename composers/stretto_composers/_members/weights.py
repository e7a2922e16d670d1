"""How much each member counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from stretto.errors import PipelineError
from stretto_composers._policies.numbers import number

Given: TypeAlias = Mapping[str, float] | Sequence[float] | None
"""Weights as users give them: by branch name, or in the order of members."""
MOST = 1e100
"""A weight is below it: sums of them stay finite."""


@dataclass(frozen=True)
class Weights:
    """What each member weighs: by its name, where one that is not there weighs 1; or in order; or each 1."""

    by_name: Mapping[str, float] | None = None
    in_order: tuple[float, ...] | None = None
    names: tuple[str, ...] | None = None

    @property
    def even(self) -> bool:
        """Whether nobody gave any."""
        return self.by_name is None and self.in_order is None

    def of(self, names: Sequence[str]) -> list[float]:
        """Return the weights of the members with these names, some of which may be missing.

        Raises:
            ValueError: they are not for these members, or all of these weigh nothing.
        """
        if self.even:
            return [1.0] * len(names)
        weights = self._of(names)
        if not any(weights):
            raise ValueError(f"the members {list(names)} all weigh nothing")
        return weights

    def by(self, names: Sequence[str]) -> dict[str, float]:
        """Return the weights of these members by name, as `of` does."""
        return dict(zip(names, self.of(names), strict=True))

    def _of(self, names: Sequence[str]) -> list[float]:
        if self.by_name is None:
            numbers = self.in_order or ()
            if len(numbers) != len(names):
                raise ValueError(f"{len(numbers)} weights for {len(names)} members")
            return list(numbers)
        # What the members are called was checked at the build, where that was known.
        unknown = self.by_name.keys() - set(names) if self.names is None else None
        if unknown:
            raise ValueError(f"weights for {sorted(unknown)}, and the members are {sorted(names)}")
        return [self.by_name.get(name, 1.0) for name in names]


def exact(weights: Mapping[str, float]) -> bool:
    """Return whether sums of the weights are exact."""
    return all(weight.is_integer() and weight < 2**40 for weight in weights.values())


def checked(composer: str, weights: Given, names: tuple[str, ...] | None) -> Weights:
    """Take weights as users give them; `names` are the members', where they are known.

    Raises:
        PipelineError: a weight is no number, or negative, or not finite; all are zero; one belongs to no member; or
            there are not as many as members.
    """
    where = f"{composer}(weights={weights!r})"
    if weights is None:
        return Weights(names=names)
    by_name = dict(weights) if isinstance(weights, Mapping) else None
    numbers = _numbers(where, weights if by_name is None else by_name)
    if by_name is not None:
        by_name = dict(zip(by_name, numbers, strict=True))
        unknown = [name for name in by_name if names is not None and name not in names]
        if unknown:
            raise PipelineError(f"{where}: no member is named {unknown[0]!r}; they are {list(names or ())}")
    elif names is not None:
        if len(numbers) != len(names):
            raise PipelineError(f"{where}: {len(numbers)} weights for {len(names)} members, {list(names)}")
        by_name = dict(zip(names, numbers, strict=True))
    # By name, those not named weigh 1: whether there are any is known only with the names.
    nothing = not any(numbers) and (by_name is None or (names is not None and set(names) <= by_name.keys()))
    if nothing:
        raise PipelineError(f"{where}: all weights are zero; give at least one member a weight above zero")
    return Weights(by_name, None if by_name is not None else tuple(numbers), names)


def _numbers(where: str, weights: Any) -> list[float]:
    if isinstance(weights, str | bytes | set | frozenset) or not hasattr(weights, "__iter__"):
        raise PipelineError(f"{where}: give a dict of branch name to weight, or a list of weights in the order written")
    pairs = cast("dict[Any, Any]", weights).items() if isinstance(weights, dict) else enumerate(weights)
    numbers: list[float] = []
    for key, weight in pairs:
        whose = f"the weight of {key!r}" if isinstance(weights, dict) else f"weight {cast('int', key) + 1}"
        value = number(weight)
        if value is None or not 0 <= value < MOST:
            raise PipelineError(f"{where}: {whose} is {weight!r}; give a finite number, zero or more")
        numbers.append(value)
    return numbers
