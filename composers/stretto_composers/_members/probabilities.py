"""Adding up the probabilities of members."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from stretto.errors import PipelineError
from stretto.nodes import Node, Pack, answering, answers_of
from stretto_composers._members.members import SEVERAL, short
from stretto_composers._members.votes import SLACK, Arrived, Count, Election

ROUNDING = 1e-6
"""How far probabilities may be outside of 0 to 1, as float32 leaves them."""


class Probabilities(Election):
    """Adds up probabilities, each member's as many times as it weighs, as scikit-learn does.

    A model answers an array, with its classes as `columns`; another member, a dict of label to probability.
    """

    @cached_property
    def ranked(self) -> list[Any]:
        """The labels, where they are known."""
        return self.tie.ranked(self.classes or ())

    @classmethod
    def over(cls, x: Pack) -> Pack:
        return replace(x, inputs=tuple(map(_probabilities_of, x.names, x.inputs)))

    def count(self, arrived: Arrived, weigh: Mapping[str, float]) -> Count | None:
        labels = self._labels(arrived.answers)
        tables: dict[str, np.ndarray] = {}
        for name, answer in list(arrived.answers.items()):
            try:
                tables[name] = self._row(name, answer, labels)
            except (TypeError, ValueError) as error:
                arrived.failed[name] = error
                del arrived.answers[name]
        if not any(weigh[name] for name in tables):
            return None
        count = self._count(labels, tables, weigh)
        count.votes = count.votes[:, 0].tolist()
        return count

    def count_many(self, columns: Mapping[str, Any], weigh: Mapping[str, float]) -> Count | None:
        labels = self._labels(columns)
        try:
            tables = {name: self._table(name, column, labels) for name, column in columns.items()}
        except (TypeError, ValueError):
            return None
        return self._count(np.array([*labels, None], dtype=object)[:-1], tables, weigh)

    def favourites(self, arrived: Arrived, labels: Sequence[Any]) -> Mapping[str, Any]:
        every = self._labels(arrived.answers)
        tables = {name: self._row(name, answer, every) for name, answer in arrived.answers.items()}
        return {name: max(labels, key=lambda label: table[0, every.index(label)]) for name, table in tables.items()}

    def _labels(self, answers: Mapping[str, Any]) -> list[Any]:
        """Return the labels of all members, or else of the first dict of probabilities there is."""
        if self.classes is not None:
            return self.ranked
        return self.tie.ranked(next((tuple(each) for each in answers.values() if isinstance(each, Mapping)), ()))

    def _count(self, labels: Any, tables: Mapping[str, np.ndarray], weigh: Mapping[str, float]) -> Count:
        weights, numbers = [weigh[name] for name in tables], np.array(list(tables.values()))
        votes = np.average(numbers, axis=0, weights=None if self.weights.values is None else weights).T
        rounding = max(SLACK, 64 * float(np.finfo(votes.dtype).eps))  # sums of float32 are rounded as such
        settled, largest = self.tie.settled, 1 + 2 * ROUNDING
        return Count(labels, np.ascontiguousarray(votes), settled, -np.inf, rounding, largest, sum(weights))

    def _row(self, name: str, answer: Any, labels: list[Any]) -> np.ndarray:
        if isinstance(answer, Mapping):
            answer = {key: np.asarray([each]) for key, each in cast("Mapping[Any, Any]", answer).items()}
        elif name in self.columns:
            answer = np.asarray(answer).reshape(1, -1)
        return self._table(name, answer, labels)

    def _table(self, name: str, column: Any, labels: list[Any]) -> np.ndarray:
        """Return a member's probabilities as an array of shape (n_rows, n_labels), in the order of the labels."""
        if isinstance(column, dict):
            table = _in_columns(name, cast("dict[Any, Any]", column), labels)
        elif isinstance(column, np.ndarray) and name in self.columns:
            own = self.columns[name]
            if column.shape[1:] != (len(own),):
                raise ValueError(
                    f"{name!r} gives probabilities of shape {column.shape[1:]}, and has {len(own)} classes"
                )
            table = column if list(own) == labels else column[:, [own.index(label) for label in labels]]
        else:
            raise TypeError(
                f"{name!r} answers {short(column)}, and a soft vote needs a dict of label to probability: "
                "a model gives it with output='label_proba'"
            )
        # More than its weight would make a label that is certain early a guess.
        if table.dtype.kind not in "fiu" or not ((table >= -ROUNDING) & (table <= 1 + ROUNDING)).all():
            raise ValueError("probabilities are numbers from 0 to 1")
        return table


def _in_columns(name: str, by_label: dict[Any, Any], labels: list[Any]) -> np.ndarray:
    # A model's own keys are text, whatever its classes are.
    keys = labels if set(by_label) == set(labels) else list(map(str, labels))
    if by_label.keys() != set(keys):
        raise ValueError(f"{name!r} gives probabilities of {list(by_label)}, and others of {labels}")
    columns = [by_label[key] for key in keys]
    if not all(isinstance(each, np.ndarray) and each.ndim == 1 for each in columns):
        raise TypeError("probabilities are numbers from 0 to 1")
    return np.column_stack(columns)


def _probabilities_of(name: str, node: Node) -> Node:
    """Return the branch with its model's probabilities; a branch that is no model as it is."""
    answers = answers_of(node)
    if answers.kind == "regressor":
        raise PipelineError(f"vote(voting='soft'): {name!r} is a regressor, which has no probabilities: use average()")
    if answers.several_labels:
        raise PipelineError(f"vote(voting='soft'): {name!r} {SEVERAL}")
    if not answers.output or answers.output == "proba":
        return node
    proba = answering(node, "proba")
    if proba is None and answers.output == "label_proba":
        return node
    if answers.output not in ("predict", "label_proba") or proba is None or answers.classes is None:
        if not answers.outputs:
            raise PipelineError(f"vote(voting='soft'): give {name!r} output='label_proba': it can't be asked otherwise")
        what = f"answers with output={answers.output!r}" if "proba" in answers.outputs else "has no predict_proba"
        raise PipelineError(
            f"vote(voting='soft'): {name!r} {what}: leave it out, write voting='hard', or fit it so that it gives "
            "probabilities, as with CalibratedClassifierCV"
        )
    return proba
