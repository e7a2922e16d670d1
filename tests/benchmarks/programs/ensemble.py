"""The ensemble with Stretto.

Its HTTP interface alone: ``uvicorn tests.benchmarks.programs.ensemble:app --factory``.
"""

from __future__ import annotations

from stretto import Pipeline, asgi, model, parallel
from tests.benchmarks.programs.iris import FEATURES, LABELS, fit


def ensemble():
    """Return the pipeline."""
    logistic, svm = fit()
    return Pipeline(
        parallel(
            model(logistic, name="logistic", features=FEATURES, labels=LABELS),
            model(svm, name="svm", features=FEATURES, labels=LABELS),
        )
    )


def app():
    """Return the ASGI application."""
    return asgi(ensemble())
