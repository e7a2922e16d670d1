"""From a fitted estimator to graphs that may compute it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stretto.models.estimator import Output, classes_of_estimator
from stretto.models.extras import import_extra
from stretto.onnx import svm, trees
from stretto.onnx.graph_builder import DOMAIN, LEARNING, OPSET
from stretto.onnx.session import WHAT, GraphKernel


def kernels(estimator: Any, output: Output) -> Iterator[GraphKernel | Exception]:
    """Return graphs for the estimator's output, in double precision and in float32, or the reasons why there are none.

    Raises:
        ModelError: skl2onnx is not installed.
    """
    for each in conversions(estimator):
        try:
            if isinstance(each, Exception):
                raise each
            model, precision, classes = each
            yield GraphKernel(only(model, [output]), precision, classes if output == "predict" else None)
        except Exception as error:  # of skl2onnx, and of ONNX Runtime
            yield error


def conversions(estimator: Any) -> Iterator[tuple[Any, str, np.ndarray | None] | Exception]:
    """Return graphs of all outputs of the estimator, each with its precision, or the reasons why there are none.

    With classes, the graph's first output is the position of a label among them.

    Raises:
        ModelError: skl2onnx is not installed.
    """
    skl2onnx: Any = import_extra("skl2onnx", "onnx", WHAT)
    types: Any = import_extra("skl2onnx.common.data_types", "onnx", WHAT)
    own = {**trees.converters(), **svm.converters()}
    twin, classes = _answering_positions(estimator)
    for precision, kind, converters in (
        ("double", types.DoubleTensorType, own),
        ("float32", types.FloatTensorType, {}),
    ):
        try:
            yield _converted(skl2onnx, twin, kind([None, _width(estimator)]), converters), precision, classes
        except Exception as error:  # skl2onnx raises exceptions of every class for what it can't convert
            yield error


def _width(estimator: Any) -> int:
    count = getattr(estimator, "n_features_in_", None)
    if count is None:
        raise NotImplementedError("it has no n_features_in_")
    return int(count)


def _answering_positions(estimator: Any) -> tuple[Any, np.ndarray | None]:
    """Return a classifier that answers with the position of a class, and the classes: no graph then holds strings."""
    classes = classes_of_estimator(estimator)
    steps = getattr(estimator, "steps", None)
    last = steps[-1][1] if steps else estimator
    if classes is None or "classes_" not in vars(last):
        return estimator, None
    twin = copy.copy(last)
    twin.classes_ = np.arange(len(classes))
    if hasattr(twin, "flatten_transform"):
        # skl2onnx does not convert a VotingClassifier with flatten_transform=True, which only transform() reads.
        twin.flatten_transform = False
    if steps is not None:
        whole = copy.copy(estimator)
        whole.steps = [*steps[:-1], (steps[-1][0], twin)]
        twin = whole
    return twin, classes


def _converted(skl2onnx: Any, estimator: Any, rows: Any, own: dict[type, Any]) -> Any:
    def convert(options: dict[str, bool]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return skl2onnx.convert_sklearn(
                estimator,
                initial_types=[("rows", rows)],
                options=options,
                target_opset={"": OPSET, DOMAIN: LEARNING},
                custom_conversion_functions=own,
            )

    if classes_of_estimator(estimator) is None:
        return convert({})
    try:
        return convert({"zipmap": False})
    except NameError:  # a classifier without probabilities has no such option
        return convert({})


def only(model: Any, outputs: Sequence[Output]) -> bytes:
    """Return the graph with nothing in it but what these outputs need, in their order."""
    utils: Any = import_extra("onnx.utils", "onnx", WHAT)
    # Our nodes may be newer than the version that the graph states: nothing of it is checked before the end.
    names = [each.name for each in model.graph.output]
    wanted = [_output_name(names, output) for output in outputs]
    part = utils.Extractor(model).extract_model(["rows"], wanted) if len(names) > len(wanted) else model
    if any(node.op_type == "TreeEnsemble" for node in part.graph.node):
        for each in part.opset_import:
            each.version = trees.NEWER if each.domain == DOMAIN else each.version
    # A newer onnx writes a version of the format that the installed ONNX Runtime may not read.
    part.ir_version = min(part.ir_version, 10)
    return part.SerializeToString()


def _output_name(names: Sequence[str], output: Output) -> str:
    match output:
        case "predict" | "transform":
            return names[0]
        case "proba" | "label_proba" if len(names) > 1:
            return names[1]
        case _:
            raise NotImplementedError(f"its output {output!r} has no graph")
