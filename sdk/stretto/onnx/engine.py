"""The engine that is registered as ``onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stretto.models.engines import Engine
from stretto.models.files.once import needed
from stretto.models.method import Method
from stretto.onnx.compiled import Compiled, compile_method
from stretto.onnx.convert import WHAT
from stretto.onnx.files import read_onnx
from stretto.onnx.merge import merge
from stretto.plan.plan import Plan


class OnnxEngine(Engine):
    """Computes estimators on ONNX Runtime, from graphs that skl2onnx and the converters of this folder write."""

    def ready(self) -> None:
        """Return if skl2onnx, onnx and ONNX Runtime are installed.

        Raises:
            ModelError: one is not; the message names the extra.
        """
        for module in ("skl2onnx", "onnx", "onnxruntime"):
            needed(module, "onnx", WHAT)

    def compile(self, method: Method, rows: np.ndarray | None) -> Compiled:
        """Return the method compiled and verified; see `compile_method`."""
        return compile_method(method, rows)

    def merge(self, plan: Plan) -> Plan:
        """Return the plan with compiled models that stand together as one graph; see `merge`."""
        return merge(plan)

    def read(self, path: Path) -> tuple[Any, tuple[str, ...] | None]:
        """Return the model in an ``.onnx`` file, and the names of its features where each is an input of its own."""
        return read_onnx(path)
