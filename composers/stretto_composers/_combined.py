"""One number made of each row's several, over columns where they are arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from stretto.errors import BadRows, PipelineError
from stretto.nodes import Call, Node, Pack, Step
from stretto_composers._agree import agreed, orders
from stretto_composers._columns import rows_of
from stretto_composers._members import known

Rule: TypeAlias = Callable[[tuple[str, ...], np.ndarray], np.ndarray]
"""Makes one of several arrays, stacked along the first axis, given the members' names."""


@dataclass(frozen=True)
class Combined:
    """Gives for each row what a rule makes of the members' numbers, arrays, or dicts of these by their keys."""

    composer: str
    rule: Rule

    def __call__(self, columns: Any) -> Any:
        """Return the answers of a fan-out's columns.

        Raises:
            BadRows: some rows' answers can't be combined; it names every one of them.
        """
        if columns == {}:
            raise ValueError("no branch of the fan-out has answered")
        try:
            answers = self._together(cast("dict[str, Any]", columns)) if isinstance(columns, dict) else None
        except ValueError:  # each row by itself says what is wrong with it
            answers = None
        return self._row_by_row(columns) if answers is None else answers

    def _together(self, columns: Mapping[str, Any]) -> Any:
        """Return the answers of all rows; None where each must be seen by itself."""
        members = list(columns.values())
        if all(isinstance(member, dict) for member in members):
            if any(member.keys() != members[0].keys() for member in members):
                return None
            by_key = {
                key: self._together({name: member[key] for name, member in columns.items()}) for key in members[0]
            }
            return None if any(each is None for each in by_key.values()) else by_key
        if all(isinstance(member, np.ndarray) and member.dtype.kind in "fiub" for member in members):
            alike = len({member.shape for member in members}) == 1
            return self.rule(tuple(columns), np.stack(members)) if alike else None
        return None

    def _row_by_row(self, columns: Any) -> list[Any]:
        answers: list[Any] = []
        errors: dict[int, Exception] = {}
        for i, row in enumerate(rows_of(columns)):
            try:
                answers.append(self._of(row))
            except Exception as error:
                errors[i] = error
        if errors:
            raise BadRows(errors)
        return answers

    def _of(self, row: Any) -> Any:
        if not isinstance(row, Mapping) or not row:
            name = self.composer
            raise TypeError(f"{name}() takes the answers of a fan-out, as in parallel(a, b) >> {name}(), not {row!r}")
        said = cast("Mapping[str, Any]", row)
        members = list(said.values())
        if all(isinstance(member, Mapping) for member in members):
            if any(member.keys() != members[0].keys() for member in members):
                raise ValueError(f"the members give different keys: {[list(member) for member in members]}")
            return {key: self._of({name: member[key] for name, member in said.items()}) for key in members[0]}
        numbers = [_numbers(name, member, self.composer) for name, member in said.items()]
        shapes = {each.shape for each in numbers}
        if len(shapes) > 1:
            raise ValueError(f"the members give numbers of different shapes: {[each.shape for each in numbers]}")
        answer = self.rule(tuple(said), np.stack(numbers))
        return answer if answer.ndim else float(answer)


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
    return Call((x,), step=Step(fn=Combined(composer, rule), name=composer, vectorized=True, named=False))


def _check(composer: str, x: Pack) -> None:
    """Refuse labels, and probabilities whose columns are not the same classes."""
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
