"""Asking a fitted estimator: with names or without, and what it leaves unchecked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, cast

import numpy as np

from stretto.errors import ModelError
from stretto.models.estimator import PREDICTS, Output, has_method
from stretto.models.input.numeric import Given

_FLAT: Final = ("SparsePCA", "MiniBatchSparsePCA")
"""What gives the components of one row alone, and not as a row, in scikit-learn 1.9."""
_UNCHECKED: Final = {"assume_finite": True, "skip_parameter_validation": True}


def takes_missing(estimator: Any) -> bool | None:
    """Return whether it takes NaN, or None where only trying can tell.

    A meta-estimator's tag says False also where the parts take NaN, such as an imputer in front of a classifier; one
    without validation of its own says it always.
    """
    if not hasattr(estimator, "__sklearn_tags__"):
        return False
    from sklearn.utils import get_tags

    tags = get_tags(estimator)
    if tags.input_tags.allow_nan:
        return True
    return None if tags.no_validation or _has_parts(estimator) else False


def _parts(estimator: Any) -> Iterator[Any]:
    """Return the estimator and every one it holds, at any depth."""
    seen: set[int] = set()
    left: list[Any] = [estimator]
    while left:
        each = left.pop()
        if isinstance(each, list | tuple):
            left.extend(cast("Sequence[Any]", each))
        elif isinstance(each, dict):
            left.extend(cast("dict[Any, Any]", each).values())
        elif isinstance(each, np.ndarray):
            left.extend(each.ravel().tolist() if each.dtype == object else ())
        elif _acts(each) and id(each) not in seen:
            seen.add(id(each))
            yield each
            left.extend(vars(each).values())


def _acts(x: Any) -> bool:
    return hasattr(x, "__dict__") and has_method(x, "get_params", "predict_proba")


def _has_parts(estimator: Any) -> bool:
    parts = _parts(estimator)
    next(parts, None)
    return next(parts, None) is not None


def _counts_columns(estimator: Any) -> bool:
    """Return whether it takes its columns by position, as all of sklearn does but what is told which columns to use."""
    kind = type(estimator)
    of_sklearn = kind.__module__.startswith("sklearn.") and not kind.__module__.startswith("sklearn.compose.")
    return of_sklearn and kind.__name__ != "FunctionTransformer"


def _of_sklearn(estimator: Any) -> bool:
    """Return whether it takes its columns by position, and so does all that it holds."""
    return _counts_columns(estimator) and all(map(_counts_columns, _parts(estimator)))


def _without_names(thing: Any, done: dict[int, Any]) -> Any:
    """Return a copy in which no estimator takes or makes column names; what was fitted is shared with the original."""
    if type(thing) in (list, tuple):
        return type(thing)(_without_names(each, done) for each in thing)
    if type(thing) is dict:
        return {key: _without_names(each, done) for key, each in cast("dict[Any, Any]", thing).items()}
    if not _acts(thing):
        return thing
    if id(thing) not in done:
        twin = done[id(thing)] = copy.copy(thing)
        # What set_output() left would have a step hand frames, and so names, to the next.
        names = ("feature_names_in_", "_sklearn_output_config")
        kept = {key: each for key, each in vars(thing).items() if key not in names}
        vars(twin).clear()
        vars(twin).update({key: _without_names(each, done) for key, each in kept.items()})
    return done[id(thing)]


@cache
def _config() -> tuple[Callable[[], dict[str, Any]], Callable[..., None]]:
    from sklearn import get_config, set_config

    return get_config, set_config


class Method:
    """The method of an estimator that gives `output`, over an array of rows.

    An estimator fitted on a data frame warns when it gets an array. A frame costs it 0.7 ms a call; so estimators that
    take columns by position are asked through a shallow copy that has forgotten the names (measured for one row and
    LogisticRegression: 0.19 ms, with a frame 0.89 ms). Only those that select columns by name get a frame.
    """

    __slots__ = ("_ask", "_columns", "_named", "_settings", "_settings_tame", "_shares", "estimator", "output")

    def __init__(self, estimator: Any, output: Output, *, named: bool = False) -> None:
        self.estimator = estimator
        self.output: Output = output
        self._named = named
        names = getattr(estimator, "feature_names_in_", None)
        # What sklearn's own parts are given they don't write to; what others do is their affair.
        self._shares = _of_sklearn(estimator)
        by_position = names is None or (self._shares and not named)
        nameless = names is not None and by_position
        self._ask = getattr(_without_names(estimator, {}) if nameless else estimator, self._name())
        self._columns = None if by_position else names
        self._settings: dict[str, Any] = {"transform_output": "default"} if nameless else {}
        # What a part of a meta-estimator is given is not what was checked: there sklearn goes on checking.
        sound = _counts_columns(estimator) and not _has_parts(estimator)
        self._settings_tame = {**self._settings, **_UNCHECKED} if sound else self._settings

    def __getstate__(self) -> dict[str, Any]:
        return {"estimator": self.estimator, "output": self.output, "named": self._named}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def _name(self) -> str:
        match self.output:
            case "predict":
                return next((name for name in PREDICTS if has_method(self.estimator, name)), "__call__")
            case "proba" | "label_proba":
                return "predict_proba"
            case "decision":
                return "decision_function"
            case "transform":
                return "transform"

    def __call__(self, given: Given) -> Any:
        """Return what the estimator answers for rows that a schema has read, an entry a row."""
        # Where all is finite, sklearn's own search for NaN, 20 µs a call, can be left out.
        settings = self._settings_tame if given.tame else self._settings
        if not settings:
            return self._answered(self._ask(self._taken(given.data)), given.size)
        # As sklearn.config_context does it, for this thread alone, but only what is set is put back: a third of the
        # time.
        get_config, set_config = _config()
        before = get_config()
        set_config(**settings)
        try:
            return self._answered(self._ask(self._taken(given.data)), given.size)
        finally:
            set_config(**{name: before[name] for name in settings})

    def _answered(self, answers: Any, size: int) -> Any:
        found = _entries(answers)
        if size == 1 and type(self.estimator).__name__ in _FLAT and found.ndim == 1:
            return found.reshape(1, -1)
        return found

    def _taken(self, data: Any) -> Any:
        if isinstance(data, dict):
            return _frame(cast("dict[str, np.ndarray]", data))
        if not self._shares and isinstance(data, np.ndarray):
            data = data.copy()
        return data if self._columns is None else _frame(dict(zip(self._columns, data.T, strict=True)))


def check_frames(estimator: Any, *, named: bool = False) -> None:
    """Refuse an estimator that selects columns by name where there is no pandas to give it frames.

    Raises:
        ModelError: pandas is not installed.
    """
    if getattr(estimator, "feature_names_in_", None) is None:
        return
    if not named and _of_sklearn(estimator):
        return
    try:
        import_module("pandas")
    except ImportError as error:
        name = type(estimator).__name__
        raise ModelError(f"{name} selects columns by name, which needs pandas: pip install pandas") from error


def _frame(columns: dict[str, np.ndarray]) -> Any:
    pandas = import_module("pandas")
    # As objects: of the type that pandas finds for strings, a gap would be another value beside strings than alone.
    return pandas.DataFrame(
        {name: pandas.Series(each, dtype=each.dtype, copy=False) for name, each in columns.items()}, copy=False
    )


def _entries(answers: Any) -> Any:
    """Return a list or an array with an entry a row."""
    if isinstance(answers, np.ndarray):
        return answers
    if hasattr(answers, "toarray"):  # a sparse matrix
        return answers.toarray()
    if hasattr(answers, "to_numpy"):  # a data frame
        return answers.to_numpy()
    if (
        isinstance(answers, list)
        and answers
        and all(isinstance(each, np.ndarray) for each in cast("list[Any]", answers))
    ):
        # Estimators with several outputs give the probabilities of each as an array of its own.
        return [list(row) for row in zip(*(each.tolist() for each in cast("list[Any]", answers)), strict=True)]
    return cast("Any", answers)
