"""Estimators compiled to ONNX, and how far they are to be believed."""

from stretto.onnx.compiled import Compiled, compiled
from stretto.onnx.convert import ready
from stretto.onnx.session import Session

__all__ = ["Compiled", "Session", "compiled", "ready"]
