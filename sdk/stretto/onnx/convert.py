"""From a fitted estimator to graphs that may stand for it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stretto.models.estimator import Output, classes_of_estimator
from stretto.models.files.once import needed
from stretto.onnx import svm, trees
from stretto.onnx.graph_builder import DOMAIN, LEARNING, OPSET

WHAT: Final = "engine='onnx'"


@dataclass(frozen=True, slots=True)
class Lowered:
    """A graph that gives one output of an estimator, in double precision or float32; nothing is proven of it yet.

    Where `classes` are given, a label is its position among them.
    """

    content: bytes
    precision: str
    classes: np.ndarray | None = None


def ready() -> None:
    """Return if what compiles is installed.

    Raises:
        ModelError: it is not; the message names the extra.
    """
    for module in ("skl2onnx", "onnx", "onnxruntime"):
        needed(module, "onnx", WHAT)


def lowered(estimator: Any, output: Output) -> Iterator[Lowered | Exception]:
    """Return graphs for the estimator's output, the most exact one first; and why there is none, where there is not.

    Raises:
        ModelError: skl2onnx is not installed.
    """
    skl2onnx: Any = needed("skl2onnx", "onnx", WHAT)
    types: Any = needed("skl2onnx.common.data_types", "onnx", WHAT)
    own = {**trees.converters(), **svm.converters()}
    twin, classes = _counted(estimator)
    for precision, kind, converters in (
        ("double", types.DoubleTensorType, own),
        ("float32", types.FloatTensorType, {}),
    ):
        try:
            model = _converted(skl2onnx, twin, kind([None, _width(estimator)]), converters)
            yield Lowered(_only(model, output), precision, classes if output == "predict" else None)
        except Exception as error:  # what skl2onnx can't do it says by errors of all kinds
            yield error


def _width(estimator: Any) -> int:
    count = getattr(estimator, "n_features_in_", None)
    if count is None:
        raise NotImplementedError("it does not say how many features it takes")
    return int(count)


def _counted(estimator: Any) -> tuple[Any, np.ndarray | None]:
    """Return a classifier that answers with the position of the class, and the classes: no graph need know strings."""
    classes = classes_of_estimator(estimator)
    steps = getattr(estimator, "steps", None)
    last = steps[-1][1] if steps else estimator
    if classes is None or "classes_" not in vars(last):
        return estimator, None
    twin = copy.copy(last)
    twin.classes_ = np.arange(len(classes))
    if hasattr(twin, "flatten_transform"):  # of a VotingClassifier: skl2onnx has no True, and only transform() reads it
        twin.flatten_transform = False
    if steps is not None:
        whole = copy.copy(estimator)
        whole.steps = [*steps[:-1], (steps[-1][0], twin)]
        twin = whole
    return twin, classes


def _converted(skl2onnx: Any, estimator: Any, given: Any, own: dict[type, Any]) -> Any:
    options = [{"zipmap": False}, {}] if classes_of_estimator(estimator) is not None else [{}]
    for at, each in enumerate(options):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return skl2onnx.convert_sklearn(
                    estimator,
                    initial_types=[("rows", given)],
                    options=each,
                    target_opset={"": OPSET, DOMAIN: LEARNING},
                    custom_conversion_functions=own,
                )
        except NameError:  # a classifier without probabilities has no such option
            if at == len(options) - 1:
                raise
    raise AssertionError("there is always one to try")


def _only(model: Any, output: Output) -> bytes:
    """Return the graph with nothing in it but what one output needs."""
    utils: Any = needed("onnx.utils", "onnx", WHAT)
    # Ours may stand in the graph under a version that does not know them yet: nothing of it is checked before the end.
    names = [each.name for each in model.graph.output]
    match output:
        case "predict" | "transform":
            wanted = names[0]
        case "proba" | "label_proba" if len(names) > 1:
            wanted = names[1]
        case _:
            raise NotImplementedError(f"its output {output!r} has no graph")
    part = utils.Extractor(model).extract_model(["rows"], [wanted]) if len(names) > 1 else model
    if any(node.op_type == "TreeEnsemble" for node in part.graph.node):
        for each in part.opset_import:
            each.version = trees.NEWER if each.domain == DOMAIN else each.version
    # Made by a newer onnx than the runtime, a graph says a version of the format that the runtime may not know.
    part.ir_version = min(part.ir_version, 10)
    return part.SerializeToString()
