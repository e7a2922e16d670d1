"""Numbers that users give."""

from __future__ import annotations

from math import isfinite
from numbers import Real


def number(value: object) -> float | None:
    """Return the value if it is a finite number; a truth value is none.

    >>> number(0.5), number(True), number("0.5")
    (0.5, None, None)
    """
    match value:
        case bool():
            return None
        case Real():
            try:
                made = float(value)
            except OverflowError:
                return None
            return made if isfinite(made) else None
        case _:
            return None
