"""Models in ``.onnx`` files, with the methods of estimators; and estimators written as such files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from stretto.errors import Disagreement, ModelError
from stretto.models.estimator import method_name, outputs
from stretto.models.extras import import_extra
from stretto.models.verify import differing, probes, tree_splits
from stretto.onnx.convert import conversions, only
from stretto.onnx.session import TOLERANCES, WHAT, Session

_CLASSES: Final = "stretto.classes"
"""The key of the classes in the metadata of graphs of ours."""


class OnnxModel:
    """A graph that takes numbers and has one answer for each row: `predict` returns its first output.

    The graph takes an array of shape (n_rows, n_features), or an input of shape (n_rows, 1) for each feature.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.metadata = session.metadata
        self._by_column = len(session.inputs) > 1
        self.n_features_in_ = _width(session)
        if _CLASSES in self.metadata:
            self.classes_ = np.array(msgspec.json.decode(self.metadata[_CLASSES]))

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
        classes = getattr(self, "classes_", None)
        classes = _classes(session.content) if classes is None else classes
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


def write_onnx(estimator: Any, rows: Any, metadata: Mapping[str, str]) -> bytes:
    """Return an estimator as a graph that answers with labels, or numbers, and with probabilities where it has them.

    It is in double precision where there is such a graph, and verified on `rows` and drawn ones.

    Raises:
        ModelError: it has no graph, or all differ from it.
    """
    reasons: list[Exception] = []
    proba = "proba" in outputs(estimator)
    for each in conversions(estimator):
        try:
            if isinstance(each, Exception):
                raise each
            model, precision, classes = each
            content = only(model, ["predict", "proba"] if proba else ["predict"])
            content = _with_classes(content, classes, metadata)
            _verify(estimator, Session(content), rows, TOLERANCES[precision])
            return content
        except Exception as error:  # of skl2onnx and of ONNX Runtime: of every class
            reasons.append(error)
    texts = "; ".join(dict.fromkeys(" ".join(str(each).split())[:200] for each in reasons))
    raise ModelError(f"{type(estimator).__name__} has no ONNX graph: {texts}. Save it as .skops") from reasons[0]


def _with_classes(content: bytes, classes: np.ndarray | None, metadata: Mapping[str, str]) -> bytes:
    """Return a graph that answers with classes in place of their positions, with metadata."""
    onnx: Any = import_extra("onnx", "onnx", WHAT)
    model = onnx.load_from_string(content)
    if classes is not None:
        helper, types = onnx.helper, onnx.TensorProto
        kinds = {"i": types.INT64, "u": types.INT64, "b": types.BOOL, "f": types.DOUBLE, "U": types.STRING}
        kind = kinds.get("U" if all(isinstance(each, str) for each in classes.tolist()) else classes.dtype.kind)
        if kind is None:
            raise NotImplementedError(f"its classes {classes.tolist()} are neither texts nor numbers")
        names = [each.encode() for each in classes.tolist()] if kind == types.STRING else classes.tolist()
        positions = model.graph.output[0].name
        model.graph.initializer.append(helper.make_tensor("stretto_classes", kind, [len(names)], names))
        model.graph.node.append(helper.make_node("Gather", ["stretto_classes", positions], ["stretto_label"], axis=0))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("stretto_label", kind, [None]))
        metadata = {**metadata, _CLASSES: msgspec.json.encode(classes.tolist()).decode()}
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model.SerializeToString()


def _verify(estimator: Any, session: Session, rows: Any, tolerance: float) -> None:
    graph = OnnxClassifier(session) if len(session.outputs) > 1 else OnnxModel(session)
    table = probes(estimator, None if rows is None else np.asarray(rows, dtype=np.float64), tree_splits(estimator))
    for output in ("predict", "proba")[: len(session.outputs)]:
        name = method_name(estimator, output)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn misses the names of columns
            expected = np.asarray(getattr(estimator, name)(table))
        answers = np.asarray(getattr(graph, "predict_proba" if output == "proba" else "predict")(table))
        wrong = differing(table, expected, answers, tolerance)
        if wrong:
            raise Disagreement(f"its graph differs from it on {len(wrong)} of {len(table)} rows", "\n".join(wrong[:10]))


def _classes(content: bytes) -> np.ndarray | None:
    """Return the classes that the graph's last classifier names; None where it has none, or onnx is not installed."""
    try:
        onnx: Any = import_extra("onnx", "onnx", "reading the classes of an .onnx file")
    except ModelError:
        return None
    for node in reversed(onnx.load_from_string(content).graph.node):
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels_") and (attribute.ints or attribute.strings):
                return np.array(list(attribute.ints) or [each.decode() for each in attribute.strings])
    return None
