"""Adding up the probabilities of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from stretto.errors import PipelineError
from stretto.nodes import Node, answering, answers_of
from stretto_composers._members.arrived import Arrived
from stretto_composers._members.count import SLACK, Count
from stretto_composers._members.election import Election
from stretto_composers._members.text import short
from stretto_composers._members.ties import Tie, settled
from stretto_composers._members.weights import Weights

ROUNDING = 1e-6
"""How far probabilities may be outside of 0 to 1, as float32 leaves them."""


class Probabilities(Election):
    """Adds up probabilities, each member's as many times as it weighs, as scikit-learn does.

    `columns` are the labels of a member's probabilities where it answers an array, and `classes` those of all; where
    they are not known, a member answers a dict of them.
    """

    def __init__(
        self,
        weights: Weights,
        tie: Tie,
        names: tuple[str, ...] = (),
        *,
        classes: tuple[Any, ...] | None = None,
        columns: Mapping[str, tuple[Any, ...]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(weights, tie, names, **options)
        self.labels = None if classes is None else tie.ranked(classes)
        self.columns = dict(columns or {})

    def count(self, arrived: Arrived, weigh: Mapping[str, float]) -> Count | None:
        """Return the votes of one row."""
        labels = self._labels(arrived.answers)
        tables: dict[str, np.ndarray] = {}
        for name, answer in list(arrived.answers.items()):
            try:
                tables[name] = self._row(name, answer, labels)
            except (TypeError, ValueError) as error:
                arrived.fail(name, error)
        return self._of(labels, tables, weigh, alone=True) if any(weigh[name] for name in tables) else None

    def count_many(self, columns: Mapping[str, Any], weigh: Mapping[str, float]) -> Count | None:
        """Return the votes of many rows; None where members answer anything but tables or dicts of arrays."""
        labels = self._labels(columns)
        try:
            tables = {name: self._table(name, column, labels) for name, column in columns.items()}
        except (TypeError, ValueError):
            return None
        return self._of(np.array([*labels, None], dtype=object)[:-1], tables, weigh)

    def favourites(self, arrived: Arrived, labels: Sequence[Any]) -> Mapping[str, Any]:
        """Return which of these labels, which tie, each member finds likeliest."""
        every = self._labels(arrived.answers)
        tables = {name: self._row(name, answer, every) for name, answer in arrived.answers.items()}
        return {name: max(labels, key=lambda label: table[0, every.index(label)]) for name, table in tables.items()}

    def _labels(self, answers: Mapping[str, Any]) -> list[Any]:
        """Return the labels of all members, or else of the first dict of probabilities there is."""
        if self.labels is not None:
            return self.labels
        return self.tie.ranked(next((tuple(each) for each in answers.values() if isinstance(each, Mapping)), ()))

    def _of(
        self, labels: Any, tables: Mapping[str, np.ndarray], weigh: Mapping[str, float], alone: bool = False
    ) -> Count:
        weights = [weigh[name] for name in tables]
        means = np.average(np.asarray(list(tables.values())), axis=0, weights=None if self.weights.even else weights)
        votes = means[0].tolist() if alone else means.T
        return Count(
            labels,
            votes,
            settled(self.tie),
            # Sums of float32 are rounded as such.
            rounding=max(SLACK, 64 * float(np.finfo(means.dtype).eps)),
            largest=1 + 2 * ROUNDING,
            scale=sum(weights),
        )

    def _row(self, name: str, answer: Any, labels: list[Any]) -> np.ndarray:
        """Return the table of one row."""
        if isinstance(answer, Mapping):
            answer = {key: np.asarray([each]) for key, each in cast("Mapping[Any, Any]", answer).items()}
        elif name in self.columns:
            answer = np.asarray(answer).reshape(1, -1)
        return self._table(name, answer, labels)

    def _table(self, name: str, column: Any, labels: list[Any]) -> np.ndarray:
        """Return a member's probabilities as an array of shape (n_rows, n_labels), in the order of the labels.

        Raises:
            TypeError, ValueError: they are no probabilities, or not of these labels.
        """
        if isinstance(column, np.ndarray) and name in self.columns:
            table = self._in_order(name, column, labels)
        elif isinstance(column, dict):
            by_label = cast("dict[Any, Any]", column)
            # A model's own keys are text, whatever its classes are.
            keys = labels if set(by_label) == set(labels) else list(map(str, labels))
            if len(by_label) != len(labels) or not by_label.keys() >= set(keys):
                raise ValueError(f"{name!r} gives probabilities of {list(by_label)}, and others of {labels}")
            if not all(isinstance(by_label[key], np.ndarray) and by_label[key].ndim == 1 for key in keys):
                raise TypeError("probabilities are numbers")
            table = np.column_stack([by_label[key] for key in keys])
        else:
            raise TypeError(
                f"{name!r} answers {short(column)}, and a soft vote needs a dict of label to probability: "
                "a model gives it with output='label_proba'"
            )
        if table.dtype.kind not in "fiu":
            raise TypeError("probabilities are numbers")
        # More than its weight would make a label that is certain early a guess.
        if table.size and not (table.min() >= -ROUNDING and table.max() <= 1 + ROUNDING):
            raise ValueError("probabilities are numbers from 0 to 1")
        return table

    def _in_order(self, name: str, table: np.ndarray, labels: list[Any]) -> np.ndarray:
        own = self.columns[name]
        if table.ndim != 2 or table.shape[1] != len(own):
            raise ValueError(f"{name!r} gives probabilities of shape {table.shape[1:]}, and has {len(own)} classes")
        return table if list(own) == labels else table[:, [own.index(label) for label in labels]]


def probabilities_of(name: str, node: Node) -> Node:
    """Return the branch with its model's probabilities; a branch that is no model as it is.

    Raises:
        PipelineError: the model has none.
    """
    answers = answers_of(node)
    if answers.kind == "regressor":
        raise PipelineError(f"vote(voting='soft'): {name!r} is a regressor, which has no probabilities: use average()")
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
