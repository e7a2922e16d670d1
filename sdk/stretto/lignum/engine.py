"""The engine that is registered as ``lignum``: https://github.com/misterekkk/lignum, on PyPI as ``pylignum``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from stretto.lignum.boosters import library, saved, splits
from stretto.lignum.kernel import BoosterKernel
from stretto.models.engines import Engine
from stretto.models.estimator import Output
from stretto.models.extras import import_extra
from stretto.models.verify import NO_SPLITS


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
