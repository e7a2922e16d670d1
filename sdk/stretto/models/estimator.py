"""What a fitted estimator says about itself, asked without importing scikit-learn before there is one."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from stretto.errors import ModelError

PREDICTS: Final = ("predict", "transform")
"""What ``output="predict"`` asks, the first of these that there is; else the object itself, as a function."""

Output: TypeAlias = Literal["predict", "proba", "label_proba", "decision", "transform"]
Kind: TypeAlias = Literal["", "classifier", "regressor"]


def is_estimator(x: Any) -> bool:
    """Return whether `x` is an estimator, fitted or not: an object with `predict` or `transform` that can be fitted."""
    return has_method(x, "predict", "transform") and has_method(x, "fit", "get_params")


def has_method(x: Any, *names: str) -> bool:
    """Return whether `x`, not a class, has one of these methods."""
    return not isinstance(x, type) and any(callable(getattr(x, name, None)) for name in names)


def default_name(estimator: Any) -> str:
    """Return the name a step has where nobody gave one: the class in lower case, as in sklearn's `make_pipeline`.

    A function has its own.
    """
    named = "lambda" if getattr(estimator, "__name__", "") == "<lambda>" else getattr(estimator, "__name__", "")
    return named if isinstance(named, str) and named else type(estimator).__name__.lower()


def check_usable(estimator: Any) -> None:
    """Refuse what is not a fitted estimator.

    Raises:
        ModelError: it is a class, is not fitted, or is no function and has neither `predict` nor `transform`.
    """
    if isinstance(estimator, type):
        name = estimator.__name__
        raise ModelError(f"{name} is a class: give a fitted instance, such as {name}().fit(X, y)")
    if not has_method(estimator, "predict", "transform") and not callable(estimator):
        raise ModelError(
            f"{_short(estimator)} is no model: it has neither predict() nor transform(), and is no function. "
            "Give a fitted estimator, a function of an array of rows, or the path of a saved model"
        )
    if type(estimator).__module__ == "xgboost.core":
        raise ModelError(
            "a Booster of XGBoost takes no array: give the XGBClassifier or XGBRegressor, or its inplace_predict"
        )
    if iscoroutinefunction(estimator):
        raise ModelError(f"{default_name(estimator)} is 'async def', and a model is asked at once: write step(fn)")
    if hasattr(estimator, "__sklearn_tags__") and not _is_fitted(estimator):
        name = type(estimator).__name__
        raise ModelError(f"{name} is not fitted: call .fit(X, y) before it becomes a step")


def _is_fitted(estimator: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def describe(estimator: Any) -> str:
    """Return its `repr` on one line, or the class where that would be an address."""
    if type(estimator).__repr__ is object.__repr__:
        return f"{type(estimator).__name__}()"
    return " ".join(repr(estimator).split())


def _short(x: Any) -> str:
    text = describe(x)
    return text if len(text) <= 80 else f"{text[:77]}..."


def feature_names(estimator: Any, given: Any = None) -> tuple[tuple[str, ...] | None, int | None]:
    """Return the names of its features in order, those `given` or else those it was fitted with, and how many it takes.

    Each is None where nobody knows.

    Raises:
        ModelError: the names given are no sequence of different strings, or don't agree with the estimator.
    """
    fitted = getattr(estimator, "feature_names_in_", None)
    own = None if fitted is None else tuple(map(str, fitted))
    count = len(own) if own is not None else getattr(estimator, "n_features_in_", None)
    if given is None:
        return own, None if count is None else int(count)
    names = _names(given)
    kind = type(estimator).__name__
    if count is not None and len(names) != count:
        raise ModelError(f"features= has {len(names)} names, but {kind} was fitted on {count} features")
    moved = [name for at, name in enumerate(names) if own is not None and name in own and own[at] != name]
    if own is not None and moved:
        raise ModelError(
            f"features= has {moved[0]!r} in another place than {kind} was fitted with; its order is {list(own)}"
        )
    return names, len(names)


def _names(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not hasattr(given, "__iter__") or isinstance(given, set | frozenset | dict):
        raise ModelError(f"features={given!r}: give the names of the features as a list, in order")
    names = tuple(given)
    odd = [name for name in names if not isinstance(name, str)]
    if odd or not names:
        raise ModelError(
            f"features= takes names, not {odd[0]!r}" if odd else "features= is empty: give every name, in order"
        )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ModelError(f"features= has {twice[0]!r} more than once: a row could name only one of them")
    return tuple(map(str, names))


def classes_of_estimator(estimator: Any) -> np.ndarray | None:
    """Return the classes it tells apart, in the order of its probabilities, or None if there is no one list of them."""
    classes = getattr(estimator, "classes_", None)
    return classes if isinstance(classes, np.ndarray) and classes.ndim == 1 else None


def kind(estimator: Any) -> Kind:
    """Return whether it is a classifier or a regressor; empty if it is neither."""
    if hasattr(estimator, "__sklearn_tags__"):
        from sklearn.base import is_classifier, is_regressor

        return "classifier" if is_classifier(estimator) else "regressor" if is_regressor(estimator) else ""
    return "classifier" if hasattr(estimator, "classes_") else ""


def outputs(estimator: Any) -> tuple[Output, ...]:
    """Return the kinds of output it supports."""
    methods: dict[Output, tuple[str, ...]] = {
        "predict": (*PREDICTS, "__call__"),
        "proba": ("predict_proba",),
        "label_proba": ("predict_proba",),
        "decision": ("decision_function",),
        "transform": ("transform",),
    }
    named = classes_of_estimator(estimator) is not None
    return tuple(each for each in methods if has_method(estimator, *methods[each]) and (named or each != "label_proba"))


def check_output(estimator: Any, output: str) -> Output:
    """Return `output` if the estimator supports it.

    Raises:
        ModelError: it does not; the message says what it does support.
    """
    supported = outputs(estimator)
    if output not in supported:
        unknown = "" if output in get_args(Output) else ", which is no kind of output"
        raise ModelError(
            f"output={output!r}{unknown}: {type(estimator).__name__} supports {', '.join(map(repr, supported))}"
        )
    return output
