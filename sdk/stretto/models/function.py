"""The functions of the steps that models are."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from stretto.errors import ModelError, text_of
from stretto.models.compiled import Compiled
from stretto.models.estimator import Output, classes_of_estimator, has_method
from stretto.models.files.cache import File
from stretto.models.input.mixed import MixedInput
from stretto.models.input.numeric import NumericInput
from stretto.models.input.reader import ModelReader
from stretto.models.labels import Labels
from stretto.models.method import Method
from stretto.models.returned import may_name
from stretto.models.signature import Signature
from stretto.plan.nodes import Call, Node
from stretto.plan.steps import Step


@dataclass(frozen=True, slots=True, eq=False)
class ModelFunction:
    """A model over the rows of a batch.

    Attributes:
        method: What computes the answers: the estimator, or an engine in its place.
        reader: What reads the rows.
        labels: The labels of the classes, in the order of ``classes_``.
        source: What the model is: its file, or the identity of its estimator.
        shown: How the user wrote it.
        note: What the plan says of it.
        signature: What it takes, as recorded from its user's frame, or None.
    """

    method: Method | Compiled
    reader: ModelReader
    labels: Labels | None
    source: Hashable
    shown: str
    note: str = ""
    signature: Signature | None = None

    @property
    def estimator(self) -> Any:
        """The fitted estimator."""
        return self.method.estimator

    @property
    def output(self) -> Output:
        """What it answers with."""
        return self.method.output

    @property
    def file(self) -> File | None:
        """The file that it was read from, or None."""
        return self.source if isinstance(self.source, File) else None

    @property
    def engine(self) -> str:
        """The engine that computes it, or the empty string."""
        return self.method.engine if isinstance(self.method, Compiled) else ""

    @property
    def transforms(self) -> bool:
        """Whether its answers are rows of numbers for other models."""
        return self.output == "transform" or (self.output == "predict" and not has_method(self.estimator, "predict"))

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """The classes, as its answers name them and in the order of its probabilities, or None."""
        if self.labels is not None:
            return self.labels.names
        classes = classes_of_estimator(self.estimator)
        return None if classes is None else tuple(classes.tolist())

    @property
    def key(self) -> Hashable:
        """Equal for models that give equal answers to equal rows."""
        # By repr: the labels (1, 0) and (True, False) are equal, and their answers differ.
        labels = repr(self.labels and self.labels.names)
        return ("model", self.source, self.engine, self.output, labels, self.reader.key)

    def __repr__(self) -> str:
        return f"{self.shown}, engine={self.engine!r}" if self.engine else self.shown

    def __call__(self, batch: Any) -> Any:
        """Return an answer for each row, as an array or a list; probabilities by label as a dict of columns.

        `batch` is a list of rows, an array of shape (n_rows, n_features), or a dict of columns, each a feature; or what
        `reader` has read from one of these.

        Raises:
            BadRows: rows are not what the model takes; it has the error of each.
            InputError: the model does not take a missing, infinite or unseen value in the only row.
        """
        rows = self.reader.read(batch)
        if not rows.size:
            return self._no_answers()
        try:
            answers = self.method(rows)
        except Exception as error:
            # The engine splits a batch that fails until the failing rows stand alone.
            reason = str(error).partition("\n")[0]
            rejection = self.reader.rejection(rows, reason) if rows.size == 1 else None
            if rejection is None:
                raise
            raise rejection from error
        return self.labelled(answers)

    def warm_up(self) -> None:
        """Answer a made-up row of the right types, where these are known.

        A `ValueError` counts as an answer: the model may refuse the values of that row. Whatever else it raises it will
        raise for any.

        Raises:
            ModelError: it fails.
        """
        rows = self.reader.sample()
        try:
            with np.errstate(all="ignore"), suppress(ValueError):
                if rows is not None:
                    self.labelled(self.method(rows))
        except Exception as error:
            raise ModelError(f"it fails on every row: {type(error).__name__}: {text_of(error)}") from error

    def _no_answers(self) -> Any:
        # For no rows scikit-learn raises: an empty answer has the type and shape of that to a made-up row.
        rows = self.reader.sample()
        try:
            with np.errstate(all="ignore"):
                answers = None if rows is None else self.labelled(self.method(rows))
        except Exception:
            answers = None
        match answers:
            case dict():
                return {key: each[:0] for key, each in cast("dict[str, Any]", answers).items()}
            case None:
                return np.empty(0)
            case _:
                return answers[:0]

    def labelled(self, answers: Any) -> Any:
        """Return the estimator's answers as the step's: with labels, or as columns by label."""
        match self.output:
            case "label_proba":
                table = np.asarray(answers)
                return {str(label): table[:, at] for at, label in enumerate(self.classes or ())}
            case "predict" if self.labels is not None:
                return self.labels.of(answers)
            case _:
                return answers


@dataclass(frozen=True, slots=True, eq=False)
class ReadRows:
    """Returns the rows as a model's reader reads them: an array, or named columns.

    With `strict` what the whole model is known to refuse is refused here, before its parts get it.
    """

    reader: ModelReader
    strict: bool = False

    @property
    def features(self) -> tuple[str, ...] | None:
        """The names of the features in order, where they are known."""
        return self.reader.features

    @property
    def key(self) -> Hashable:
        """Equal for those that read, and reject, alike."""
        return ("rows", repr(self.reader), self.strict)

    def __call__(self, batch: Any) -> Any:
        """Return the rows as the model takes them.

        Raises:
            BadRows: rows are not what the model takes; it has the error of each.
        """
        rows = self.reader.read(batch)
        if self.strict and isinstance(self.reader, MixedInput):
            self.reader.check_known(rows)
        return rows.data

    def __repr__(self) -> str:
        return "rows"


def rows_step(reader: ModelReader, *, strict: bool = False) -> Step:
    """Return the step that reads the rows of a request for several models."""
    fn = ReadRows(reader, strict)
    return Step(fn=fn, name="rows", vectorized=True, pure=True, key=fn.key, reader=reader, named=False)


class InOrder:
    """Returns named columns in their order, without the names: as scikit-learn passes a frame to what has none."""

    def __call__(self, batch: Any) -> Any:
        """Return a table of the columns; a batch without names as it is."""
        if not isinstance(batch, dict):
            return batch
        columns = list(cast("dict[str, Any]", batch).values())
        arrays = [each if isinstance(each, np.ndarray) else None for each in columns]
        if any(each is None or each.ndim != 1 for each in arrays):
            return None
        if all(cast("np.ndarray", each).dtype.kind in "fiub" for each in arrays):
            return np.column_stack(cast("list[np.ndarray]", arrays))
        return [list(row) for row in zip(*(cast("np.ndarray", each).tolist() for each in arrays), strict=True)]

    def one(self, row: Any) -> Any:
        """Return the values of a row."""
        return list(cast("dict[str, Any]", row).values()) if isinstance(row, dict) else row

    def __repr__(self) -> str:
        return "values in order"


def seen_through(node: Node) -> Node:
    """Return the node whose values another one puts in order; any other as it is."""
    inside = isinstance(node, Call) and isinstance(node.step, Step) and isinstance(node.step.fn, InOrder)
    return node.inputs[0] if inside else node


def in_order(step: Step, node: Node) -> Node:
    """Return what `step` is called with for the value of a node.

    Of answers that may have names, a model that has none takes the values in order.
    """
    before = node.step if isinstance(node, Call) else None
    if not isinstance(step.fn, ModelFunction) or not isinstance(before, Step):
        return node
    if not isinstance(step.fn.reader, NumericInput | MixedInput):
        return node  # it takes answers as they come
    if step.fn.reader.features is not None or before.internal or not before.vectorized:
        return node
    if isinstance(before.fn, ModelFunction) and not may_name(before.fn.estimator, before.fn.output):
        return node
    fn = InOrder()
    values = Step(fn=fn, name="values in order", one=fn.one, vectorized=True, named=False, internal=True)
    return Call((node,), step=values)
