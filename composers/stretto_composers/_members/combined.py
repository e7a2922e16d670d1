"""One number made of each row's several: in one go where they are arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from stretto.errors import PipelineError
from stretto.nodes import Node, Pack
from stretto_composers._members.classes import agreed, orders
from stretto_composers._members.members import call, known
from stretto_composers._members.weights import Weights

Rule: TypeAlias = Callable[[tuple[str, ...], np.ndarray], np.ndarray]
"""Makes one array of several, stacked along the first axis; the first argument is the members' names."""


@dataclass(frozen=True)
class Combined:
    """Applies a rule to the members' numbers, arrays, or dicts of these by their keys."""

    composer: str
    rule: Rule

    def __call__(self, columns: Any) -> Any:
        """Return the rule's values for the columns of a fan-out; None where each row must be seen by itself."""
        members = list(cast("dict[str, Any]", columns).values()) if isinstance(columns, dict) else []
        if members and all(isinstance(member, dict) for member in members):
            return self._by_key(columns, members, self)
        if not all(isinstance(member, np.ndarray) and member.dtype.kind in "fiub" for member in members):
            return None
        alike = len({member.shape for member in members}) == 1
        return self.rule(tuple(columns), np.stack(members)) if alike else None

    def one(self, row: Any) -> Any:
        """Return the rule's value for the answers of a fan-out to one row."""
        if not isinstance(row, Mapping):
            name = self.composer
            raise TypeError(f"{name}() takes the answers of a fan-out, as in parallel(a, b) >> {name}(), not {row!r}")
        if not row:
            raise ValueError("no branch of the fan-out has answered")
        answers = cast("Mapping[str, Any]", row)
        members = list(answers.values())
        if all(isinstance(member, Mapping) for member in members):
            return self._by_key(answers, members, self.one)
        numbers = [_numbers(name, member, self.composer) for name, member in answers.items()]
        shapes = [each.shape for each in numbers]
        if len(set(shapes)) > 1:
            raise ValueError(f"the members give numbers of different shapes: {shapes}")
        answer = self.rule(tuple(answers), np.stack(numbers))
        return answer if answer.ndim else float(answer)

    def _by_key(self, answers: Mapping[str, Any], members: list[Any], combine: Callable[[Any], Any]) -> Any:
        if any(member.keys() != members[0].keys() for member in members):
            raise ValueError(f"the members give different keys: {[list(member) for member in members]}")
        by_key = {key: combine({name: member[key] for name, member in answers.items()}) for key in members[0]}
        return None if any(each is None for each in by_key.values()) else by_key


@dataclass(frozen=True)
class Mean:
    """The mean of arrays stacked along the first axis, weighted where there are weights."""

    weights: Weights | None = None

    def __call__(self, names: tuple[str, ...], numbers: np.ndarray) -> np.ndarray:
        """Return the mean; only the weights of the members that are there count."""
        return np.average(numbers, axis=0, weights=None if self.weights is None else self.weights.of(names))


def _numbers(name: str, value: Any, composer: str) -> np.ndarray:
    try:
        numbers = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{composer}() takes numbers, and {name!r} answers {value!r}") from error
    if numbers.dtype.kind not in "fiub":
        raise TypeError(f"{composer}() takes numbers, and {name!r} answers {value!r}")
    return numbers


def combining(composer: str, x: Node, rule: Rule) -> Node:
    """Return the node that combines the answers of a fan-out.

    Raises:
        PipelineError: its branches are models whose answers have no common meaning; it names them.
    """
    if isinstance(x, Pack):
        _check(composer, x)
    return call(x, Combined(composer, rule), composer)


def _check(composer: str, x: Pack) -> None:
    """Raise for labels, and for probabilities whose columns are not the same classes."""
    answers = known(x)
    for name, each in answers.items():
        if each.output == "predict" and each.classes is not None and not _are_numbers(each.classes):
            raise PipelineError(
                f"{composer}() takes numbers, and {name!r} answers with labels: write model(..., "
                "output='label_proba') for their probabilities, or use vote()"
            )
    kinds = {name: each.output for name, each in answers.items() if each.output in ("proba", "label_proba")}
    if not kinds:
        return
    (first, kind), *others = kinds.items()
    for name, other in others:
        if other != kind:
            raise PipelineError(
                f"{composer}(): {first!r} answers with output={kind!r} and {name!r} with {other!r}: give both "
                "output='label_proba'"
            )
    agreed(composer, x)
    tables = {name: own for name, own in orders(x).items() if kinds.get(name) == "proba"}
    moved = [name for name, own in tables.items() if own != next(iter(tables.values()))]
    if moved:
        raise PipelineError(
            f"{composer}(): {next(iter(tables))!r} and {moved[0]!r} have the same classes in another order: give both "
            "output='label_proba', so that they go by name"
        )


def _are_numbers(classes: Sequence[Any]) -> bool:
    return all(isinstance(each, int | float) for each in classes)
