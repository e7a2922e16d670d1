"""The ONNX engine: estimators compiled to ONNX, with the checks that verify them."""

from stretto.onnx.engine import OnnxEngine

__all__ = ["OnnxEngine"]
