"""Graphs on ONNX Runtime, each loaded once in a process, and in place of an estimator's method."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from threading import Condition
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np
from cachetools import cached

from stretto.models.extras import import_extra

_TYPES: Final = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


WHAT: Final = "engine='onnx'"
TOLERANCES: Final = {"double": 1e-6, "float32": 1e-5}


class Session:
    """A graph that ONNX Runtime computes in the calling thread, and that pickles as its bytes.

    Sessions of equal bytes are one in a process: branches and pipelines that hold the same graph share it.

    Raises:
        ModelError: onnxruntime is not installed.
        RuntimeError: ONNX Runtime can't load the graph.
    """

    __slots__ = ("_fetch", "_first", "_run", "_runtime", "_type", "content", "inputs", "outputs")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._runtime = _started(content)
        self.inputs: list[Any] = self._runtime.get_inputs()
        self.outputs: list[Any] = self._runtime.get_outputs()
        self._run = self._runtime.run
        self._fetch = [each.name for each in self.outputs]
        self._type = _TYPES.get(self.inputs[0].type)
        self._first: str = self.inputs[0].name

    def __reduce__(self) -> tuple[type[Session], tuple[bytes]]:
        return Session, (self.content,)

    def __call__(self, table: np.ndarray, names: Sequence[str] | None = None) -> list[Any]:
        """Return all outputs, or those of these names, for an array of shape (n_rows, n_features)."""
        if table.dtype != self._type:
            table = table.astype(self._type)
        return self._run(names or self._fetch, {self._first: table})

    def of_columns(self, table: np.ndarray, names: Sequence[str]) -> list[Any]:
        """Return outputs where each column of the table is an input of its own, of shape (n_rows, 1)."""
        columns = {
            each.name: np.ascontiguousarray(table[:, at : at + 1], dtype=_TYPES[each.type])
            for at, each in enumerate(self.inputs)
        }
        return self._run(names, columns)

    @property
    def metadata(self) -> dict[str, str]:
        """What the graph's author wrote beside it."""
        return dict(self._runtime.get_modelmeta().custom_metadata_map)

    @property
    def numeric(self) -> bool:
        """Whether every input takes numbers."""
        return all(each.type in _TYPES for each in self.inputs)


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


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


# A thread that asks for a session while it is made waits for it.
@cached(WeakValueDictionary[Any, Any](), key=_digest, condition=Condition())
def _started(content: bytes) -> Any:
    runtime = import_extra("onnxruntime", "onnx", "engine='onnx', or an .onnx file,")
    options = runtime.SessionOptions()
    # Batches and replicas use the cores: threads of a session would only compete with them.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The arena never returns the memory of the largest batch.
    options.enable_cpu_mem_arena = False
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no class in common
        raise RuntimeError(str(error).strip().partition("\n")[0]) from error
