"""The engine that is registered as ``onnx``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stretto.models.engines import Engine
from stretto.models.estimator import Output
from stretto.models.extras import import_extra
from stretto.onnx.convert import kernels
from stretto.onnx.files import read_onnx, write_onnx
from stretto.onnx.merge import merge
from stretto.onnx.session import WHAT, GraphKernel
from stretto.plan.plan import Plan


class OnnxEngine(Engine):
    """Computes estimators on ONNX Runtime, by graphs that skl2onnx and the converters of this folder write."""

    def ready(self) -> None:
        """Check that skl2onnx, onnx and ONNX Runtime are installed.

        Raises:
            ModelError: one is not; the message names the extra.
        """
        for module in ("skl2onnx", "onnx", "onnxruntime"):
            import_extra(module, "onnx", WHAT)

    def kernels(self, estimator: Any, output: Output) -> Iterator[GraphKernel | Exception]:
        """Return graphs, the one in double precision first; see `convert`."""
        return kernels(estimator, output)

    def merge(self, plan: Plan) -> Plan:
        """Return the plan with compiled models that stand together as one graph; see `merge`."""
        return merge(plan)

    def read(self, path: Path) -> tuple[Any, tuple[str, ...] | None]:
        """Return the model in an ``.onnx`` file, and the names of its features where each is an input of its own."""
        return read_onnx(path)

    def write(self, estimator: Any, rows: Any, metadata: Mapping[str, str]) -> bytes:
        """Return an estimator as the content of an ``.onnx`` file, verified on `rows`; see `write_onnx`."""
        return write_onnx(estimator, rows, metadata)
