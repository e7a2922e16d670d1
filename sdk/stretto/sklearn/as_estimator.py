"""A pipeline as an estimator of scikit-learn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if

from stretto.batch.frames import as_rows
from stretto.client import Client
from stretto.errors import PipelineError
from stretto.models import answers_of
from stretto.pipeline import Pipeline, as_pipeline

T = TypeVar("T")
PROBABILITIES = ("proba", "label_proba")


def as_estimator(part: Any, *, classes: Sequence[Any] | None = None, output: str | None = None) -> PipelineEstimator:
    """Return a pipeline as a fitted estimator, for `cross_val_score`, `clone`, metrics and whatever takes one.

    Its parts are fitted already, so `fit` does nothing and `clone` gives the same estimator, as with scikit-learn's
    ``FrozenEstimator``: what is scored is the pipeline as it is. `classes` are the classes of a classifier, in the
    order of its probabilities; where all models of the pipeline have the same they need not be given, and without
    any it is a regressor. `output` says what the pipeline answers with, where its last part is no model:
    ``"predict"``, or ``"proba"`` or ``"label_proba"``, with which `predict` gives the likeliest class. It pickles, and
    skops writes it where the pipeline holds nothing but models.

    Raises:
        PipelineError: it answers with probabilities, and nobody says of which classes.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from stretto import model, parallel
    >>> X, y = load_iris(return_X_y=True)
    >>> estimator = as_estimator(model(LogisticRegression(max_iter=1000).fit(X, y)))
    >>> float(cross_val_score(estimator, X, y).mean()) > 0.9
    True
    """
    pipeline = as_pipeline(part)
    plan = pipeline.plan()
    steps = list(plan.steps())
    output = output or answers_of(plan.output).output or "predict"
    if output not in ("predict", *PROBABILITIES):
        raise PipelineError(f"output={output!r}: an estimator predicts, or gives 'proba' or 'label_proba'")
    if classes is None:
        models = [step.model.classes for step in steps if step.model is not None and step.model.classes is not None]
        classes = answers_of(plan.output).classes or (models[0] if len(set(models)) == 1 else None)
    if classes is None and output in PROBABILITIES:
        raise PipelineError(f"{pipeline!r} gives probabilities: say of what, with classes=[...] in their order")
    return PipelineEstimator(pipeline, None if classes is None else list(classes), output)


def _has_probabilities(estimator: PipelineEstimator) -> bool:
    return estimator.output in PROBABILITIES


class PipelineEstimator(BaseEstimator):
    """A pipeline whose parts are fitted, as scikit-learn sees it; `as_estimator` makes one."""

    def __init__(self, pipeline: Pipeline[Any, Any], classes: list[Any] | None = None, output: str = "predict") -> None:
        self.pipeline = pipeline
        self.classes = classes
        self.output = output

    def fit(self, X: Any = None, y: Any = None, **_: Any) -> Self:  # noqa: N803  scikit-learn's name
        """Do nothing: the parts are fitted."""
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the answers for many rows; of probabilities, the likeliest class.

        Raises:
            StrettoError: as in `Client.predict_many`, for the first row that failed.
        """
        if self.output in PROBABILITIES:
            return self.classes_[np.argmax(self._probabilities(X), axis=1)]
        return np.asarray(self._answers(X))

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the probabilities as an array of shape (n_rows, n_classes), in the order of ``classes_``."""
        return self._probabilities(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the accuracy of a classifier, and R² of a regressor."""
        from sklearn.metrics import accuracy_score, r2_score

        metric = r2_score if self.classes is None else accuracy_score
        return float(metric(y, self.predict(X), sample_weight=sample_weight))

    @property
    def classes_(self) -> np.ndarray:
        """The classes of a classifier, in the order of its probabilities."""
        if self.classes is None:
            raise AttributeError("classes_: the pipeline is a regressor, or as_estimator() was not told its classes")
        return np.asarray(self.classes)

    @property
    def feature_names_in_(self) -> np.ndarray:
        """The names of the features that its models take, where they have names."""
        names = self._features()
        if not names:
            raise AttributeError("feature_names_in_: the models of the pipeline take features without names")
        return np.asarray(names, dtype=object)

    @property
    def n_features_in_(self) -> int:
        """How many features its models take, where these have names."""
        return len(self.feature_names_in_)

    def _features(self) -> list[str]:
        known = [step.features or () for step in self.pipeline.plan().steps()]
        return list(dict.fromkeys(name for names in known for name in names))

    def _probabilities(self, X: Any) -> np.ndarray:  # noqa: N803
        answers = self._answers(X)
        if self.output == "proba":
            return np.asarray(answers).reshape(len(answers), len(self.classes or ()))
        keys = [str(each) for each in self.classes or ()]
        return np.array([[each[key] for key in keys] for each in answers]).reshape(len(answers), len(keys))

    def _answers(self, X: Any) -> list[Any]:  # noqa: N803
        rows = as_rows(X)

        async def asked() -> list[Any]:
            async with Client(self.pipeline) as client:
                return await client.predict_many(rows)

        return _run(asked())

    # A pipeline is made of functions between nodes, which skops can't write; its plan is made of data.
    def __getstate__(self) -> dict[str, Any]:
        return {"plan": self.pipeline.plan(), "classes": self.classes, "output": self.output}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.pipeline = as_pipeline(state["plan"])
        self.classes, self.output = state["classes"], state["output"]

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        return self

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import ClassifierTags, RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor" if self.classes is None else "classifier"
        if self.classes is None:
            tags.regressor_tags = RegressorTags()
        else:
            tags.classifier_tags = ClassifierTags(multi_class=len(self.classes) > 2)
        tags.target_tags.required = False
        tags.input_tags.allow_nan = tags.input_tags.string = True
        tags.no_validation = True
        return tags


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in an event loop of its own; in a thread where one runs here already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


__all__ = ["PipelineEstimator", "as_estimator"]
