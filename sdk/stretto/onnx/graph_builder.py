"""Writes the nodes of an ONNX graph in the converters that skl2onnx calls."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

DOMAIN: Final = "ai.onnx.ml"


class Writer:
    """Adds nodes to the graph that skl2onnx builds, and names their outputs."""

    float: Final = 1  # the numbers of types in onnx.TensorProto
    int64: Final = 7
    real: Final = 11

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container

    def nodes(self, kind: str, inputs: list[str], outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node, and return the names of its outputs."""
        names = [self._scope.get_unique_variable_name(kind.lower()) for _ in range(outputs)]
        self._container.add_node(
            kind,
            inputs,
            names,
            op_domain=domain,
            op_version=LEARNING if domain else OPSET,
            name=self._scope.get_unique_operator_name(kind),
            **attributes,
        )
        return names

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the name of that."""
        return self.nodes(kind, list(inputs), 1, domain, **attributes)[0]

    def constant(self, value: float | np.ndarray) -> str:
        """Return the name of a constant."""
        array = np.asarray(value)
        name: str = self._scope.get_unique_variable_name("constant")
        kind = self.int64 if array.dtype.kind in "iu" else self.real
        self._container.add_initializer(name, kind, list(array.shape), array.ravel().tolist())
        return name

    def double(self, name: str) -> str:
        """Return a value as doubles."""
        return self.node("Cast", name, to=self.real)

    def label(self, place: str, operator: Any) -> None:
        """Make the class at a place among its classes the label of a classifier's operator."""
        classes = operator.raw_operator.classes_
        if classes.dtype.kind not in "iu":
            raise NotImplementedError("its classes are not whole numbers")
        self.output(self.node("Gather", self.constant(classes), place), operator.outputs[0])

    def output(self, name: str, variable: Any) -> None:
        """Make a value an output of the operator, cast to the type that its readers expect."""
        kinds = {"FloatTensorType": self.float, "DoubleTensorType": self.real, "Int64TensorType": self.int64}
        self._container.add_node(
            "Cast",
            [name],
            [variable.full_name],
            op_version=OPSET,
            name=self._scope.get_unique_operator_name("Cast"),
            to=kinds[type(variable.type).__name__],
        )


LEARNING: Final = 3
"""The version of ai.onnx.ml that graphs are written in: the newest that skl2onnx supports."""

OPSET: Final = 21
"""The version of ONNX's own operators that graphs are written in: ONNX Runtime has had it since 1.18."""
