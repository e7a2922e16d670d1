"""Estimators compiled to ONNX, and how far they are to be believed."""

from stretto._models.onnx.compiled import Compiled, compiled
from stretto._models.onnx.lower import ready
from stretto._models.onnx.session import Session

__all__ = ["Compiled", "Session", "compiled", "ready"]
