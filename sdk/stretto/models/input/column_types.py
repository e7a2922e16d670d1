"""The types of the columns of an estimator's input, read from its fitted attributes or from a data frame."""

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
class ColumnType:
    """The type of a column.

    Attributes:
        holds: Numbers, objects such as categories, texts, any of these, or values that the model does not look at.
        known: The only values that the model takes, None where it takes others too.
        missing: A missing value as the model was fitted with it: NaN or None.
        categories: The values that the model was fitted on, where it keeps them, whether it takes others or not.
    """

    holds: Holds = "number"
    known: tuple[Any, ...] | None = None
    missing: float | None = math.nan
    categories: tuple[Any, ...] | None = None

    def both(self, other: ColumnType) -> ColumnType:
        """Return the type of a column that two parts of a model read, each by its own type."""
        order = get_args(Holds).index
        holds = self.holds if order(self.holds) >= order(other.holds) else other.holds
        if self.known is None or other.known is None:
            known = self.known if other.known is None else other.known
        else:
            known = tuple(value for value in self.known if value in other.known)
        missing = None if None in (self.missing, other.missing) else math.nan
        return ColumnType(holds, known, missing, self.categories or other.categories)


UNUSED = ColumnType("unused")


def column_types(estimator: Any, count: int) -> tuple[ColumnType, ...]:
    """Return the types of the columns that a fitted estimator takes, as its attributes show them."""
    return _types(estimator, count, seen=())


def wants_categories(estimator: Any) -> bool:
    """Return whether a booster was fitted on pandas' categories, and so takes only these in their place.

    So do a pipeline, a search or a vote that hands its own input to such a booster.
    """
    booster = getattr(estimator, "booster_", None)  # of LightGBM
    if booster is not None:
        return bool(getattr(booster, "pandas_categorical", None))
    if type(estimator).__module__.startswith("xgboost."):
        return "c" in (estimator.get_booster().feature_types or ())
    steps = [step for _, step in getattr(estimator, "steps", ()) if step not in (None, "passthrough")]
    return any(map(wants_categories, steps[:1] or members(estimator)))


def knows_large(column: ColumnType) -> bool:
    """Return whether a model knows integers in a column that floats can't tell apart."""
    return any(isinstance(each, int) and abs(each) > 2**53 for each in column.categories or ())


def _types(estimator: Any, count: int, seen: tuple[int, ...]) -> tuple[ColumnType, ...]:
    if isinstance(estimator, str) or estimator is None:  # "drop", or "passthrough" and its older name
        return (UNUSED if estimator == "drop" else ColumnType("any"),) * count
    if id(estimator) in seen:
        return (ColumnType(),) * count
    seen = (*seen, id(estimator))
    if hasattr(estimator, "steps"):
        return _of_chain([step for _, step in estimator.steps], count, seen)
    if hasattr(estimator, "transformers_"):
        return _of_columns(estimator, count, seen)
    if isinstance(getattr(estimator, "categories_", None), list) and len(estimator.categories_) == count:
        return tuple(_of_categories(estimator, categories) for categories in estimator.categories_)
    statistics = getattr(estimator, "statistics_", None)
    if isinstance(statistics, np.ndarray) and statistics.dtype == object:
        return (ColumnType("object", missing=None if estimator.missing_values is None else math.nan),) * count
    parts = [_types(part, count, seen) for part in members(estimator) if getattr(part, "n_features_in_", None) == count]
    if parts:
        return tuple(reduce(ColumnType.both, same) for same in zip(*parts, strict=True))
    return (ColumnType("number" if _only_numbers(estimator) else "any"),) * count


def _of_chain(steps: Sequence[Any], count: int, seen: tuple[int, ...]) -> tuple[ColumnType, ...]:
    """Return the types of a pipeline's input: an imputer at its start hands the columns on to the next step."""
    steps = [step for step in steps if step not in (None, "passthrough")]
    if not steps:
        return (ColumnType("any"),) * count
    first = _types(steps[0], count, seen)
    for imputer, step in pairwise(steps):
        statistics = getattr(imputer, "statistics_", None)
        same = isinstance(statistics, np.ndarray) and len(statistics) == count
        if not same or getattr(imputer, "add_indicator", False):
            break
        first = tuple(
            replace(own, known=None if then.known is None else (*then.known, own.missing))
            for own, then in zip(first, _types(step, count, seen), strict=True)
        )
    return first


def _of_columns(estimator: Any, count: int, seen: tuple[int, ...]) -> tuple[ColumnType, ...]:
    types = [UNUSED] * count
    names = getattr(estimator, "feature_names_in_", None)
    for _, part, columns in estimator.transformers_:
        places = column_places(columns, count, names)
        single = isinstance(columns, str | int) and not isinstance(part, str)
        inner = _types(part, len(places), seen)
        if single:
            inner = (ColumnType("text" if form_of(part) == "text" else "object"),)
        for at, own in zip(places, inner, strict=True):
            types[at] = types[at].both(own)
    return tuple(types)


def column_places(columns: Any, count: int, names: Any) -> list[int]:
    """Return the positions of the columns that a ColumnTransformer selects, in any of the ways it allows."""
    order = [] if names is None else list(names)
    if isinstance(columns, slice):
        first, last = (order.index(end) if isinstance(end, str) else end for end in (columns.start, columns.stop))
        after = last + 1 if isinstance(columns.stop, str) else last  # a slice of names includes its end
        return list(range(count)[first : after : columns.step])
    selected = [columns] if isinstance(columns, str | int) else list(columns)
    if selected and all(isinstance(each, bool | np.bool_) for each in selected):
        return [at for at, chosen in enumerate(selected) if chosen]
    return [order.index(each) if isinstance(each, str) else range(count)[each] for each in selected]


def _of_categories(encoder: Any, categories: np.ndarray) -> ColumnType:
    values = categories.tolist()
    strict = getattr(encoder, "handle_unknown", "error") == "error" and not hasattr(encoder, "target_type_")
    known = tuple(values) if strict else None
    holds: Holds = "number" if categories.dtype.kind in "fiub" else "object"
    return ColumnType(holds, known, None if None in values else math.nan, tuple(values))


def members(estimator: Any) -> Iterator[Any]:
    """Yield the fitted estimators inside an estimator that are called with its own input."""
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
    """Return the form of an estimator's rows where these are single values; None where they have features."""
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
    """Return whether an estimator takes only numbers, as those of scikit-learn do, and predictors of other packages."""
    if type(estimator).__module__.startswith("sklearn."):
        return type(estimator).__name__ != "FunctionTransformer"
    if not hasattr(estimator, "__sklearn_tags__"):
        return True
    if hasattr(estimator, "get_cat_feature_indices"):  # of CatBoost, whose tags say that it could take categories
        return not estimator.get_cat_feature_indices()
    from sklearn.utils import get_tags

    tags = get_tags(estimator).input_tags
    return hasattr(estimator, "predict") and not (tags.categorical or tags.string)
