"""What each column of an estimator's input holds, asked of what was fitted on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

Holds: TypeAlias = Literal["unused", "number", "any", "object", "text"]
Form: TypeAlias = Literal["text", "dict", "number", "any"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a column holds: numbers, texts, other values such as categories, any of these, or what nobody looks at.

    `known` are the only values taken, where others are refused; with `category` the estimator gets them as a column of
    that type of pandas. A missing value is None or NaN, whichever the estimator was fitted with.
    """

    holds: Holds = "number"
    known: tuple[Any, ...] | None = None
    missing: float | None = math.nan
    category: bool = False

    def and_also(self, other: Kind) -> Kind:
        """Return the kind of a column that is read twice."""
        order = get_args(Holds).index
        holds = self.holds if order(self.holds) >= order(other.holds) else other.holds
        if self.known is None or other.known is None:
            known = self.known if other.known is None else other.known
        else:
            known = tuple(value for value in self.known if value in other.known)
        return Kind(holds, known, None if None in (self.missing, other.missing) else math.nan)


UNUSED = Kind("unused")


def column_kinds(estimator: Any, count: int) -> tuple[Kind, ...]:
    """Return the kind of each of the columns that a fitted estimator takes."""
    return _kinds(estimator, count, seen=())


def kinds_of_frame(frame: Any) -> tuple[Kind, ...]:
    """Return the kind of each column of the pandas frame that an estimator was fitted on."""
    return tuple(_kind_of(dtype) for dtype in frame.dtypes)


def _kind_of(dtype: Any) -> Kind:
    if hasattr(dtype, "categories"):
        return Kind("object", (*dtype.categories.tolist(), math.nan), category=True)
    return Kind("number" if getattr(dtype, "kind", "O") in "fiub" else "object")


def wants_categories(estimator: Any) -> bool:
    """Return whether it was fitted on columns of pandas' categories, and takes nothing else in their place."""
    booster = getattr(estimator, "booster_", None)  # of LightGBM
    if booster is not None:
        return bool(getattr(booster, "pandas_categorical", None))
    if type(estimator).__module__.startswith("xgboost."):
        return "c" in (estimator.get_booster().feature_types or ())
    return False


def _kinds(estimator: Any, count: int, seen: tuple[int, ...]) -> tuple[Kind, ...]:
    if isinstance(estimator, str) or estimator is None:  # "drop", or "passthrough" and its older name
        return (UNUSED if estimator == "drop" else Kind("any"),) * count
    if id(estimator) in seen:
        return (Kind(),) * count
    seen = (*seen, id(estimator))
    if hasattr(estimator, "steps"):
        return _of_chain([step for _, step in estimator.steps], count, seen)
    if hasattr(estimator, "transformers_"):
        return _of_columns(estimator, count, seen)
    if isinstance(getattr(estimator, "categories_", None), list) and len(estimator.categories_) == count:
        return tuple(_of_categories(estimator, categories) for categories in estimator.categories_)
    statistics = getattr(estimator, "statistics_", None)
    if isinstance(statistics, np.ndarray) and statistics.dtype == object:
        return (Kind("object", missing=None if estimator.missing_values is None else math.nan),) * count
    parts = [_kinds(part, count, seen) for part in members(estimator) if getattr(part, "n_features_in_", None) == count]
    if parts:
        return tuple(reduce(Kind.and_also, same) for same in zip(*parts, strict=True))
    return (Kind("number" if _only_numbers(estimator) else "any"),) * count


def _of_chain(steps: Sequence[Any], count: int, seen: tuple[int, ...]) -> tuple[Kind, ...]:
    """Return the kinds of a chain's input. What fills gaps leaves the columns as they are, for the next to read."""
    steps = [step for step in steps if step not in (None, "passthrough")]
    if not steps:
        return (Kind("any"),) * count
    first = _kinds(steps[0], count, seen)
    for filling, reading in pairwise(steps):
        statistics = getattr(filling, "statistics_", None)
        if (
            not isinstance(statistics, np.ndarray)
            or len(statistics) != count
            or getattr(filling, "add_indicator", False)
        ):
            break
        after = _kinds(reading, count, seen)
        first = tuple(
            replace(kind, known=None if then.known is None else (*then.known, kind.missing))
            for kind, then in zip(first, after, strict=True)
        )
    return first


def _of_columns(estimator: Any, count: int, seen: tuple[int, ...]) -> tuple[Kind, ...]:
    kinds = [UNUSED] * count
    names = getattr(estimator, "feature_names_in_", None)
    for _, part, columns in estimator.transformers_:
        places = column_places(columns, count, names)
        single = isinstance(columns, str | int) and not isinstance(part, str)
        inner = (Kind("text" if form_of(part) == "text" else "object"),) if single else _kinds(part, len(places), seen)
        for at, kind in zip(places, inner, strict=True):
            kinds[at] = kinds[at].and_also(kind)
    return tuple(kinds)


def column_places(columns: Any, count: int, names: Any) -> list[int]:
    """Return the places of the columns that a ColumnTransformer selects, however they were written."""
    order = [] if names is None else list(names)
    if isinstance(columns, slice):
        ends = [columns.start, columns.stop]
        if any(isinstance(end, str) for end in ends):
            first, last = (None if end is None else order.index(end) for end in ends)
            return list(
                range(count)[slice(first, None if last is None else last + 1, columns.step)]
            )  # names: inclusive
        return list(range(count)[columns])
    listed = [columns] if isinstance(columns, str | int) else list(columns)
    if listed and all(isinstance(each, bool | np.bool_) for each in listed):
        return [at for at, chosen in enumerate(listed) if chosen]
    return [order.index(each) if isinstance(each, str) else range(count)[each] for each in listed]


def _of_categories(encoder: Any, categories: np.ndarray) -> Kind:
    values = categories.tolist()
    strict = getattr(encoder, "handle_unknown", "error") == "error" and not hasattr(encoder, "target_type_")
    known = tuple(values) if strict else None
    holds: Holds = "number" if categories.dtype.kind in "fiub" else "object"
    return Kind(holds, known, None if None in values else math.nan)


def members(estimator: Any) -> Iterator[Any]:
    """Return the fitted estimators that an estimator holds and hands its own input to."""
    if hasattr(estimator, "transformer_list"):
        yield from (part for _, part in estimator.transformer_list if part not in ("drop", "passthrough"))
    for name in ("estimators_", "best_estimator_", "estimator_", "regressor_", "_preprocessor", "estimator"):
        held = getattr(estimator, name, None)
        if isinstance(held, np.ndarray):
            held = held.ravel().tolist()
        each = cast("list[Any]", held) if isinstance(held, list | tuple) else [held]
        yield from (part for part in each if hasattr(part, "get_params"))
    for calibrated in getattr(estimator, "calibrated_classifiers_", ()):
        yield calibrated.estimator


def form_of(estimator: Any) -> Form | None:
    """Return the form of its rows where these are no rows of features, by what reads them first."""
    while hasattr(estimator, "steps"):
        readers = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        if not readers:
            return None
        estimator = readers[0]
    forms: list[Form | None] = [form_of(part) for part in members(estimator)]
    if forms and forms[0] is not None and len(set(forms)) == 1:
        return forms[0]
    if not hasattr(estimator, "__sklearn_tags__"):
        return None
    from sklearn.utils import get_tags

    tags = get_tags(estimator).input_tags
    if tags.two_d_array or tags.three_d_array:
        return None
    if tags.string or tags.dict:
        return "text" if tags.string else "dict"
    return "number" if tags.one_d_array else "any"


def _only_numbers(estimator: Any) -> bool:
    """Return whether it takes numbers alone: as all of sklearn does but its encoders, and predictors of others."""
    kind = type(estimator)
    if kind.__module__.startswith("sklearn."):
        return kind.__name__ != "FunctionTransformer"
    if not hasattr(estimator, "__sklearn_tags__"):
        return True
    if hasattr(estimator, "get_cat_feature_indices"):  # of CatBoost, whose tags say that it could take categories
        return not estimator.get_cat_feature_indices()
    from sklearn.utils import get_tags

    tags = get_tags(estimator).input_tags
    return hasattr(estimator, "predict") and not (tags.categorical or tags.string)
