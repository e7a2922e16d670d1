"""The sorts of values that columns hold: numbers, flags, texts, dates, durations; and which values are missing."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import numpy as np

Sort: TypeAlias = Literal["missing", "flag", "number", "text", "date", "duration", "other"]

_SORTS: Final[tuple[tuple[Sort, tuple[type, ...]], ...]] = (
    ("flag", (bool, np.bool_)),
    ("duration", (dt.timedelta, np.timedelta64)),
    ("number", (int, float, Decimal, np.integer, np.floating)),
    ("text", (str,)),
    ("date", (dt.date, np.datetime64)),
)


@lru_cache(maxsize=1024)
def sort_of(kind: type) -> Sort:
    """Return what sort of value the values of a type are; floats, which may be NaN, are numbers."""
    if kind is type(None) or kind.__name__ in ("NAType", "NaTType"):
        return "missing"
    for sort, types in _SORTS:
        if issubclass(kind, types):
            return sort
    return "other"


def is_missing(value: Any) -> bool:
    """Return whether a value stands for a missing one: None, NaN, or what pandas has for them."""
    sort = sort_of(type(value))
    # A signalling NaN of Decimal's can't be compared.
    return sort == "missing" or (sort == "number" and (value.is_nan() if type(value) is Decimal else value != value))
