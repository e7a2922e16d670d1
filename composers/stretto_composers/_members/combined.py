"""One number made of each row's several: in one go where they are arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from stretto.errors import PipelineError
from stretto.nodes import Node, Pack
from stretto_composers._members.members import call, common_classes, known
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
        return self._combine(columns) if isinstance(columns, dict) and columns else None

    def one(self, row: Any) -> Any:
        """Return the rule's value for the answers of a fan-out to one row."""
        if not isinstance(row, Mapping):
            name = self.composer
            raise TypeError(f"{name}() takes the answers of a fan-out, as in parallel(a, b) >> {name}(), not {row!r}")
        if not row:
            raise ValueError("no branch of the fan-out has answered")
        return self._combine(cast("Mapping[str, Any]", row))

    def _combine(self, answers: Mapping[str, Any]) -> Any:
        members = list(answers.values())
        if all(isinstance(member, Mapping) for member in members):
            if any(member.keys() != members[0].keys() for member in members):
                raise ValueError(f"the members give different keys: {[list(member) for member in members]}")
            return {key: self._combine({name: each[key] for name, each in answers.items()}) for key in members[0]}
        numbers = [self._numbers(name, member) for name, member in answers.items()]
        shapes = [each.shape for each in numbers]
        if len(set(shapes)) > 1:
            raise ValueError(f"the members give numbers of different shapes: {shapes}")
        answer = self.rule(tuple(answers), np.stack(numbers))
        return answer if answer.ndim else float(answer)

    def _numbers(self, name: str, value: Any) -> np.ndarray:
        try:
            numbers = np.asarray(value)
        except ValueError:  # lists of different lengths
            numbers = np.empty(0, dtype=object)
        if numbers.dtype.kind not in "fiub":
            raise TypeError(f"{self.composer}() takes numbers, and {name!r} answers {value!r}")
        return numbers


@dataclass(frozen=True)
class Mean:
    """The mean of arrays stacked along the first axis; only the weights of the members that are there count."""

    weights: Weights | None = None

    def __call__(self, names: tuple[str, ...], numbers: np.ndarray) -> np.ndarray:
        return np.average(numbers, axis=0, weights=self.weights and list(self.weights.by(names).values()))


def combining(composer: str, x: Node, rule: Rule) -> Node:
    """Return the node that combines the answers of a fan-out."""
    if isinstance(x, Pack):
        _check_labels(composer, x)
        _check_probabilities(composer, x)
    return call(x, Combined(composer, rule), composer)


def _check_labels(composer: str, x: Pack) -> None:
    for name, each in known(x).items():
        numeric = all(isinstance(label, int | float) for label in each.classes or ())
        if each.output == "predict" and not numeric:
            raise PipelineError(
                f"{composer}() takes numbers, and {name!r} answers with labels: write model(..., "
                "output='label_proba') for their probabilities, or use vote()"
            )


def _check_probabilities(composer: str, x: Pack) -> None:
    """Raise for probabilities whose columns are not the same classes."""
    members = {name: each for name, each in known(x).items() if each.output in ("proba", "label_proba")}
    if not members:
        return
    (first, one), *others = members.items()
    common_classes(composer, x)
    for name, other in others:
        differ = f"{first!r} answers with output={one.output!r} and {name!r} with {other.output!r}"
        if other.output == one.output == "proba" and other.classes != one.classes:
            differ = f"{first!r} and {name!r} have the same classes in another order"
        elif other.output == one.output:
            continue
        raise PipelineError(f"{composer}(): {differ}: give both output='label_proba', so that they go by name")
