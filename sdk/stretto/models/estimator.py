"""What a fitted estimator is: whether it is usable, its features, classes, outputs and parts.

scikit-learn is imported only once there is an estimator of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import iscoroutinefunction
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import numpy as np

from stretto.errors import ModelError

LONGEST: Final = 80
"""The characters that an estimator is described in, so that a plan stays readable."""

PREDICTS: Final = ("predict", "transform")
"""The methods for ``output="predict"``: the first that the estimator has, else the object itself, as a function."""

Output: TypeAlias = Literal["predict", "proba", "label_proba", "decision", "transform"]
Kind: TypeAlias = Literal["", "classifier", "regressor"]


def is_estimator(x: Any) -> bool:
    """Return whether `x` is an estimator, fitted or not: an object with `predict` or `transform` that can be fitted."""
    return has_method(x, "predict", "transform") and has_method(x, "fit", "get_params")


def has_method(x: Any, *names: str) -> bool:
    """Return whether `x`, not a class, has one of these methods."""
    return not isinstance(x, type) and any(callable(getattr(x, name, None)) for name in names)


def default_name(estimator: Any) -> str:
    """Return the name of a step without ``name=``: the class in lower case, as in scikit-learn's `make_pipeline`.

    A function has its own name.
    """
    name = getattr(estimator, "__name__", "")
    return name.strip("<>") if isinstance(name, str) and name else type(estimator).__name__.lower()


def check_usable(estimator: Any) -> None:
    """Check that `estimator` is a fitted estimator or a function.

    Raises:
        ModelError: it is a class, is not fitted, or is no function and has neither `predict` nor `transform`.
    """
    if isinstance(estimator, type):
        name = estimator.__name__
        raise ModelError(f"{name} is a class: pass a fitted instance, such as {name}().fit(X, y)")
    if not has_method(estimator, "predict", "transform") and not callable(estimator):
        raise ModelError(
            f"{describe(estimator)} is no model: it has neither predict() nor transform(), and is no function. "
            "Pass a fitted estimator, a function of an array of rows, or the path of a saved model"
        )
    if type(estimator).__module__ == "xgboost.core":
        raise ModelError(
            "a Booster of XGBoost takes no arrays: pass the XGBClassifier or XGBRegressor, or its inplace_predict"
        )
    if iscoroutinefunction(estimator):
        raise ModelError(
            f"{default_name(estimator)} is 'async def', and a model is called, not awaited: write step(fn)"
        )
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
    """Return an estimator on one short line: its `repr`, which has what differs from its defaults, or its parts."""
    if type(estimator).__repr__ is object.__repr__:
        return f"{type(estimator).__name__}()"
    text = " ".join(repr(estimator).split())
    if len(text) <= LONGEST:
        return text
    inside = [each if isinstance(each, str) else type(each).__name__ for each in _inside(estimator)]
    shorter = f"{type(estimator).__name__}({', '.join(inside)})" if inside else text
    return shorter if len(shorter) <= LONGEST else f"{shorter[: LONGEST - 3]}..."


def _inside(estimator: Any) -> list[Any]:
    """Return the estimators that an estimator was made of: those of a pipeline, an ensemble, a search."""
    for name in ("steps", "transformers", "transformer_list", "estimators"):
        parts = getattr(estimator, name, None)
        if isinstance(parts, list) and all(isinstance(each, tuple) for each in parts):
            return [each[1] for each in cast("list[tuple[Any, ...]]", parts)]
    return [each for each in [getattr(estimator, "estimator", None)] if each is not None]


def fitted_names(estimator: Any) -> Any:
    """Return the names of the columns that an estimator was fitted on, None where they had none."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return names
    if type(estimator).__module__.startswith("catboost."):  # which has no `feature_names_in_`
        names, counted = estimator.feature_names_, list(map(str, range(len(estimator.feature_names_ or ()))))
        return None if names in (None, counted) else np.array(names, dtype=object)
    inner = [step for _, step in getattr(estimator, "steps", ()) if step not in (None, "passthrough")]
    inner = inner or [getattr(estimator, "best_estimator_", None)]
    several = getattr(estimator, "estimators_", None)
    if inner == [None] and isinstance(several, list):
        inner = cast("list[Any]", several)
    return fitted_names(inner[0]) if inner and is_part(inner[0]) else None


def feature_names(estimator: Any, features: Any = None) -> tuple[tuple[str, ...] | None, int | None]:
    """Return the names of an estimator's features in order, and their number; None where they are unknown.

    `features` are names that the user passes; without them they are those that it was fitted with.

    Raises:
        ModelError: `features` is no sequence of different strings, or does not agree with the estimator.
    """
    fitted = fitted_names(estimator)
    own = None if fitted is None else tuple(map(str, fitted))
    count = len(own) if own is not None else getattr(estimator, "n_features_in_", None)
    if features is None:
        return own, None if count is None else int(count)
    names = _checked_names(features)
    kind = type(estimator).__name__
    if count is not None and len(names) != count:
        raise ModelError(f"features= has {len(names)} names, but {kind} was fitted on {count} features")
    moved = [name for at, name in enumerate(names) if own is not None and name in own and own[at] != name]
    if own is not None and moved:
        raise ModelError(
            f"features= has {moved[0]!r} in another place than {kind} was fitted with; its order is {list(own)}"
        )
    return names, len(names)


def _checked_names(features: Any) -> tuple[str, ...]:
    if isinstance(features, str | set | frozenset | dict) or not hasattr(features, "__iter__"):
        raise ModelError(f"features={features!r}: pass the names of the features as a list, in order")
    names = tuple(features)
    if not names:
        raise ModelError("features= is empty: pass every name, in order")
    for name in names:
        if not isinstance(name, str):
            raise ModelError(f"features= takes names, not {name!r}")
        if names.count(name) > 1:
            raise ModelError(f"features= has {name!r} more than once: a row could name only one of them")
    return tuple(map(str, names))


def classes_of_estimator(estimator: Any) -> np.ndarray | None:
    """Return the classes of a classifier in the order of its probabilities, None if there is no single list of them."""
    classes = getattr(estimator, "classes_", None)
    return classes if isinstance(classes, np.ndarray) and classes.ndim == 1 else None


def kind(estimator: Any) -> Kind:
    """Return whether an estimator is a classifier or a regressor; the empty string if it is neither."""
    if hasattr(estimator, "__sklearn_tags__"):
        from sklearn.base import is_classifier, is_regressor

        return "classifier" if is_classifier(estimator) else "regressor" if is_regressor(estimator) else ""
    return "classifier" if hasattr(estimator, "classes_") else ""


def gives_several_labels(estimator: Any) -> bool:
    """Return whether an estimator is a classifier of several targets: it answers with a label for each of them."""
    last = last_of(estimator)
    if isinstance(getattr(last, "classes_", None), list) or getattr(last, "multilabel_", False):
        return True
    binarizer = getattr(last, "_label_binarizer", None)  # of neural networks and ridge classifiers
    return str(getattr(binarizer, "y_type_", "")).startswith("multilabel")


def last_of(estimator: Any) -> Any:
    """Return the estimator whose answers are those of a pipeline or a search."""
    while True:
        steps = [step for _, step in getattr(estimator, "steps", ()) if step not in (None, "passthrough")]
        inner = steps[-1] if steps else getattr(estimator, "best_estimator_", None)
        if inner is None:
            return estimator
        estimator = inner


def outputs(estimator: Any) -> tuple[Output, ...]:
    """Return the outputs that an estimator supports."""
    methods: dict[Output, tuple[str, ...]] = {
        "predict": (*PREDICTS, "__call__"),
        "proba": ("predict_proba",),
        "label_proba": ("predict_proba",),
        "decision": ("decision_function",),
        "transform": ("transform",),
    }
    named = classes_of_estimator(estimator) is not None and not gives_several_labels(estimator)
    return tuple(each for each in methods if has_method(estimator, *methods[each]) and (named or each != "label_proba"))


def check_output(estimator: Any, output: str) -> Output:
    """Return `output` if the estimator supports it.

    Raises:
        ModelError: it does not; the message says what it does support.
    """
    supported = outputs(estimator)
    if output not in supported:
        unknown = "" if output in get_args(Output) else ", which is no kind of output"
        if output == "label_proba" and "proba" in supported and gives_several_labels(estimator):
            unknown = " is of one set of classes, and the model answers with several labels a row"
        raise ModelError(
            f"output={output!r}{unknown}: {type(estimator).__name__} supports {', '.join(map(repr, supported))}"
        )
    if output == "transform" and getattr(estimator, "flatten_transform", True) is False and _is_soft(estimator):
        raise ModelError(
            f"{type(estimator).__name__} with flatten_transform=False transforms to an array whose first axis is not "
            "the rows but its members: set flatten_transform=True"
        )
    return output


def _is_soft(estimator: Any) -> bool:
    return getattr(estimator, "voting", "") == "soft"


def leaves_columns_alone(estimator: Any) -> bool:
    """Return whether an estimator that was fitted on a frame takes one with more columns, which it leaves alone.

    A ``ColumnTransformer`` does, and so do ensembles that only pass frames on to those that do.
    """
    if hasattr(estimator, "steps"):
        first = next((step for _, step in estimator.steps if step not in (None, "passthrough")), None)
        return first is not None and leaves_columns_alone(first)
    if type(estimator).__module__.startswith("sklearn.compose.") and hasattr(estimator, "transformers_"):
        return hasattr(estimator, "feature_names_in_")
    if hasattr(estimator, "best_estimator_"):
        return leaves_columns_alone(estimator.best_estimator_)
    name = type(estimator).__name__
    if name == "FeatureUnion":
        inner = [part for _, part in estimator.transformer_list if part != "drop"]
    elif name in ("VotingClassifier", "VotingRegressor", "StackingClassifier", "StackingRegressor"):
        inner = list(estimator.estimators_)
    else:
        return False
    return bool(inner) and all(not isinstance(part, str) and leaves_columns_alone(part) for part in inner)


def writes_underscores(estimator: Any) -> bool:
    """Return whether there may be underscores for blanks in the names of an estimator's features, as of LightGBM's."""
    return any(type(part).__module__.startswith("lightgbm.") for part in (estimator, *parts(estimator)))


def method_name(estimator: Any, output: Output) -> str:
    """Return the name of the method that computes an output."""
    match output:
        case "predict":
            return next((name for name in PREDICTS if has_method(estimator, name)), "__call__")
        case "proba" | "label_proba":
            return "predict_proba"
        case "decision":
            return "decision_function"
        case "transform":
            return "transform"


def takes_missing(estimator: Any) -> bool | None:
    """Return whether an estimator takes NaN, None where only trying shows it.

    Only of scikit-learn's own estimators without parts is it known: all of these without the tag refuse NaN and
    infinities. The tag of a meta-estimator is False also where its parts take NaN, such as an imputer before a
    classifier; that of an estimator without validation always is.
    """
    if not hasattr(estimator, "__sklearn_tags__"):
        return None
    from sklearn.utils import get_tags

    tags = get_tags(estimator)
    if tags.input_tags.allow_nan:
        return True
    own = type(estimator).__module__.startswith("sklearn.")
    return None if not own or tags.no_validation or has_parts(estimator) else False


def parts(estimator: Any) -> Iterator[Any]:
    """Yield an estimator and all estimators inside it, at any depth."""
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
        elif is_part(each) and id(each) not in seen:
            seen.add(id(each))
            yield each
            left.extend(vars(each).values())


def is_part(x: Any) -> bool:
    """Return whether `x`, an attribute of an estimator, is an estimator."""
    return hasattr(x, "__dict__") and has_method(x, "get_params", "predict_proba")


def has_parts(estimator: Any) -> bool:
    """Return whether there are other estimators inside an estimator."""
    return len([part for part, _ in zip(parts(estimator), range(2), strict=False)]) == 2


def takes_positions(estimator: Any) -> bool:
    """Return whether an estimator and all its parts take their columns by position.

    Those of scikit-learn do, except the ones in which users select columns.
    """
    selects = any(type(part).__module__.startswith("sklearn.compose.") for part in (estimator, *parts(estimator)))
    return leaves_input(estimator) and not selects


def leaves_input(estimator: Any) -> bool:
    """Return whether an estimator and all its parts leave the table that they are given as it is.

    Those of scikit-learn do, except what calls functions of users, which may write to it.
    """
    return all(
        type(part).__module__.startswith("sklearn.") and type(part).__name__ != "FunctionTransformer"
        for part in (estimator, *parts(estimator))
    )
