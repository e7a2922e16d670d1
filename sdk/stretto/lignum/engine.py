"""The engine that is registered as ``lignum``: https://github.com/misterekkk/lignum, on PyPI as ``pylignum``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stretto.lignum.boosters import library, saved, splits
from stretto.models.engines import Engine
from stretto.models.estimator import Output
from stretto.models.extras import import_extra
from stretto.models.verify import NO_SPLITS


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
            self._model = import_extra("lignum", "lignum", "engine='lignum'").load(str(path), format=library)

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


class LignumEngine(Engine):
    """Computes gradient boosting of XGBoost, LightGBM and CatBoost."""

    def ready(self) -> None:
        """Check that lignum is installed.

        Raises:
            ModelError: it is not; the message names the extra.
        """
        import_extra("lignum", "lignum", "engine='lignum'")

    def kernels(self, estimator: Any, output: Output) -> Iterator[BoosterKernel | Exception]:
        """Return the booster as lignum computes it."""
        self.ready()
        classes: Any = getattr(estimator, "classes_", ())  # of CatBoost's regressors it is empty
        try:
            yield BoosterKernel(saved(estimator), library(estimator), output, classes if len(classes) else None)
        except Exception as error:  # lignum and the boosters raise exceptions of every class
            yield error

    def splits(self, estimator: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the features that the trees split, and their thresholds."""
        try:
            return splits(estimator)
        except Exception:  # `kernels` says what is wrong with it
            return NO_SPLITS
