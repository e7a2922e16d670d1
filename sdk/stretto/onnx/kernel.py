"""A graph as the kernel of an estimator's method."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from stretto.onnx.session import Session

TOLERANCES: Final = {"double": 1e-6, "float32": 1e-5}


class GraphKernel:
    """Computes one output of an estimator on ONNX Runtime, in double precision or float32.

    With `classes`, the graph's output is the position of a label among them.
    """

    __slots__ = ("_session", "classes", "content", "precision", "tolerance")

    def __init__(self, content: bytes, precision: str, classes: np.ndarray | None = None) -> None:
        self.content = content
        self.precision = precision
        self.classes = classes
        self.tolerance = TOLERANCES[precision]
        self._session = Session(content)

    def __reduce__(self) -> tuple[type[GraphKernel], tuple[Any, ...]]:
        return GraphKernel, (self.content, self.precision, self.classes)

    def __str__(self) -> str:
        return f"ONNX Runtime in {self.precision}"

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """Return the estimator's answers to the rows of a table."""
        return self.read(self._session(table)[0])

    def read(self, output: np.ndarray) -> np.ndarray:
        """Return the estimator's answers from the output of the graph."""
        if self.classes is not None:
            return self.classes[output]
        return output.astype(np.float64) if output.dtype == np.float32 else output
