"""Models in ``.onnx`` files, with the methods of estimators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stretto.errors import ModelError
from stretto.models.files.once import needed
from stretto.onnx.session import Session


class OnnxModel:
    """A graph that takes numbers and has one answer for each row: `predict` returns its first output.

    The graph takes an array of shape (n_rows, n_features), or an input of shape (n_rows, 1) for each feature.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._by_column = len(session.inputs) > 1
        self.n_features_in_ = _width(session)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._session,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_features_in_} features)"

    def _output(self, table: np.ndarray, at: int) -> Any:
        names = [self._session.outputs[at].name]
        run = self._session.of_columns if self._by_column else self._session
        return run(np.asarray(table), names)[0]

    def predict(self, table: np.ndarray) -> np.ndarray:
        """Return the first output, an entry a row."""
        answers = np.asarray(self._output(table, 0))
        answers = answers.astype(np.float64) if answers.dtype == np.float32 else answers
        return answers.ravel() if answers.shape == (len(table), 1) else answers


class OnnxClassifier(OnnxModel):
    """A graph whose second output is a probability for each class."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        probes = np.random.default_rng(0).standard_normal((256, self.n_features_in_))
        probes *= np.array([0.1, 1.0, 10.0, 100.0])[np.arange(256) % 4][:, None]
        proba, labels = self.predict_proba(probes), self.predict(probes)
        classes = _classes(session.content)
        if classes is None and labels.dtype.kind in "iu" and np.array_equal(labels, proba.argmax(axis=1)):
            classes = np.arange(proba.shape[1])
        if classes is not None and len(classes) == proba.shape[1]:
            self.classes_ = classes

    def predict_proba(self, table: np.ndarray) -> np.ndarray:
        """Return an array of shape (n_rows, n_classes)."""
        answers = self._output(table, 1)
        if isinstance(answers, list):  # of the operator ZipMap: a dict for each row
            answers = [list(each.values()) for each in answers]
        return np.asarray(answers, dtype=np.float64)


def read_onnx(path: Path) -> tuple[OnnxModel, tuple[str, ...] | None]:
    """Return the model of a file, and the names of its features where each is an input of its own.

    Raises:
        ModelError: its graph does not take rows of numbers.
        RuntimeError: ONNX Runtime can't read it.
    """
    session = Session(path.read_bytes())
    names = tuple(each.name for each in session.inputs) if len(session.inputs) > 1 else None
    try:
        proba = len(session.outputs) > 1 and session.outputs[1].type.startswith(
            ("seq(map", "tensor(float", "tensor(double")
        )
        return (OnnxClassifier if proba else OnnxModel)(session), names
    except ModelError as error:
        raise ModelError(f"{path.absolute()}: {error}") from error


def _width(session: Session) -> int:
    shapes = [each.shape for each in session.inputs]
    shown = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in session.inputs)
    if not session.numeric:
        raise ModelError(f"its inputs are {shown}: a model takes rows of numbers (float, double or int)")
    if any(len(shape) != 2 for shape in shapes):
        raise ModelError(f"its inputs are {shown}: a model takes arrays of shape (rows, features)")
    if any(isinstance(shape[0], int) for shape in shapes):
        raise ModelError(f"its inputs are {shown}: the number of rows is fixed; export it with a free first dimension")
    widths = [shape[1] for shape in shapes]
    if len(widths) > 1 and widths == [1] * len(widths):
        return len(widths)
    if len(widths) > 1 or not isinstance(widths[0], int):
        raise ModelError(f"its inputs are {shown}: one with a known number of features is needed, or one a feature")
    return widths[0]


def _classes(content: bytes) -> np.ndarray | None:
    """Return the classes that the graph's last classifier names; None where it has none, or onnx is not installed."""
    try:
        onnx: Any = needed("onnx", "onnx", "reading the classes of an .onnx file")
    except ModelError:
        return None
    for node in reversed(onnx.load_from_string(content).graph.node):
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels_") and (attribute.ints or attribute.strings):
                return np.array(list(attribute.ints) or [each.decode() for each in attribute.strings])
    return None
