"""Checks of the numbers that users give: each returns the number, or raises a `PipelineError`."""

from math import inf, isfinite
from numbers import Real
from typing import Any

from stretto.errors import PipelineError


def number(value: object) -> float | None:
    """Return the value if it is a finite number; a truth value is none.

    >>> number(0.5), number(True), number("0.5")
    (0.5, None, None)
    """
    try:
        real = inf if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:
        return None
    return real if isfinite(real) else None


def whole(name: str, value: Any, least: int) -> int:
    """Return the value, a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PipelineError(f"{name}={value!r}: it takes a whole number, at least {least}")
    return value


def seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """Return the value, seconds that are finite and more than 0; with `zero` they may be 0."""
    return _positive(name, value, f"seconds, {'at least' if zero else 'more than'} 0", inf, zero)


def fraction(name: str, value: Any, *, zero: bool = False) -> float:
    """Return the value, a fraction above 0 and up to 1; with `zero` it may be 0."""
    return _positive(name, value, f"a fraction, {'from 0' if zero else 'above 0 and up'} to 1", 1.0, zero)


def _positive(name: str, value: Any, takes: str, most: float, zero: bool) -> float:
    real = number(value)
    if real is None or not 0 <= real <= most or (real == 0 and not zero):
        raise PipelineError(f"{name}={value!r}: it takes {takes}")
    return real
