"""Checks of the numbers that users give."""

from __future__ import annotations

from math import isfinite
from numbers import Real
from typing import Any

from stretto.errors import PipelineError


def number(value: object) -> float | None:
    """Return the value if it is a finite number; a truth value is none.

    >>> number(0.5), number(True), number("0.5")
    (0.5, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        real = float(value)
    except OverflowError:
        return None
    return real if isfinite(real) else None


def whole(name: str, value: Any, least: int) -> int:
    """Return the value, a whole number of at least `least`.

    Raises:
        PipelineError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PipelineError(f"{name}={value!r}: it takes a whole number, at least {least}")
    return value


def seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """Return the value, seconds that are finite and more than 0; with `zero` they may be 0.

    Raises:
        PipelineError: they are not.
    """
    real = number(value)
    if real is None or real < 0 or (real == 0 and not zero):
        raise PipelineError(f"{name}={value!r}: it takes seconds, {'at least' if zero else 'more than'} 0")
    return real


def fraction(name: str, value: Any, *, zero: bool = False) -> float:
    """Return the value, a fraction above 0 and up to 1; with `zero` it may be 0.

    Raises:
        PipelineError: it is not.
    """
    real = number(value)
    if real is None or not 0 <= real <= 1 or (real == 0 and not zero):
        raise PipelineError(f"{name}={value!r}: it takes a fraction, {'from 0' if zero else 'above 0 and up'} to 1")
    return real
