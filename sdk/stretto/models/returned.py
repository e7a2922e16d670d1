"""What an estimator's method returns, as a row for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np

from stretto.batch.frames import is_frame, is_series
from stretto.batch.returned import column_of, columns_of
from stretto.models.estimator import Output, last_of, method_name


@dataclass(frozen=True, slots=True)
class Returned:
    """Reads what one method of an estimator returns.

    Attributes:
        single: It returns one value a row, which some estimators give as an array of shape (n_rows, 1).
        named: The columns of a data frame keep their names.
        several: Of a target with several columns it returns the probabilities of each, in a list.
    """

    single: bool
    named: bool
    several: bool

    @classmethod
    def of(cls, estimator: Any, output: Output) -> Self:
        """Return what reads the answers of the method that computes an output."""
        method = method_name(estimator, output)
        several = method == "predict_proba" and isinstance(getattr(estimator, "classes_", None), list)
        return cls(method in ("predict", "__call__"), may_name(estimator, output), several)

    def __call__(self, answers: Any) -> Any:
        """Return answers as an array or a list with a row for each, or as a dict of columns."""
        if isinstance(answers, np.ndarray):
            table = np.asarray(answers) if isinstance(answers, np.matrix) else cast("np.ndarray", answers)
            return table[:, 0] if self.single and table.ndim == 2 and table.shape[1] == 1 else table
        if self.several and isinstance(answers, list):
            outputs = [np.asarray(each).tolist() for each in cast("list[Any]", answers)]
            return [list(row) for row in zip(*outputs, strict=True)]
        if is_frame(answers):
            return columns_of(answers) if self.named else answers.to_numpy()
        if is_series(answers):
            return column_of(answers)
        if hasattr(answers, "toarray"):  # a sparse table
            return self(answers.toarray())
        return self(np.asarray(answers)) if hasattr(answers, "__array__") else answers


def gives_frames(estimator: Any, output: Output) -> bool:
    """Return whether an estimator was told to transform to data frames, by its `set_output`."""
    config = getattr(last_of(estimator), "_sklearn_output_config", {})
    return method_name(estimator, output) == "transform" and config.get("transform", "default") != "default"


def may_name(estimator: Any, output: Output) -> bool:
    """Return whether columns of an estimator's answers may have names, as far as can be told before it is called.

    Those of scikit-learn's have them after `set_output` alone. What `sklearn.set_config` says holds for a thread, and
    not for a model.
    """
    if gives_frames(estimator, output):
        return True
    last = last_of(estimator)
    own = not type(last).__module__.startswith("sklearn.") or type(last).__name__ == "FunctionTransformer"
    return own and method_name(estimator, output) in ("predict", "__call__", "transform")
