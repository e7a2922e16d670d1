"""A booster as the kernel of an estimator's method."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from stretto.models.estimator import Output
from stretto.models.files.once import needed


class BoosterKernel:
    """Computes one output of a booster, from the bytes of the file that its library writes."""

    __slots__ = ("_model", "classes", "content", "library", "output", "tolerance")

    def __init__(self, content: bytes, library: str, output: Output, classes: np.ndarray | None) -> None:
        if output not in ("predict", "proba", "label_proba"):
            raise NotImplementedError(f"output={output!r}")
        self.content = content
        self.library = library
        self.output: Output = output
        self.classes = classes
        self.tolerance = 0.0
        with tempfile.TemporaryDirectory() as folder:  # lignum reads a model from a file only
            path = Path(folder) / "model"
            path.write_bytes(content)
            self._model = needed("lignum", "lignum", "engine='lignum'").load(str(path), format=library)

    def __reduce__(self) -> tuple[type[BoosterKernel], tuple[Any, ...]]:
        return BoosterKernel, (self.content, self.library, self.output, self.classes)

    def __str__(self) -> str:
        return "lignum"

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """Return the booster's answers to the rows of a table."""
        # Batches and replicas use the cores: threads of lignum would only compete with them.
        scores = self._model.predict(table, n_jobs=1)
        if self.classes is None:
            return scores
        if scores.ndim == 1:
            # XGBoost computes the probability of the first class in float32.
            second = scores.astype(np.float32) if self.library == "xgboost" else scores
            scores = np.stack([1 - second, second], axis=1)
        if self.output != "predict":
            return scores
        labels = self.classes[scores.argmax(axis=1)]
        # CatBoost's labels of more than two classes are a column.
        return labels[:, None] if self.library == "catboost" and scores.shape[1] > 2 else labels
