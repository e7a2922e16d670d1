"""Values in messages, no longer than a reader wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def short(value: Any, most: int = 120) -> str:
    """Return the value's text, cut after so many characters.

    >>> short("abcdef", 7)
    "'abc..."
    """
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def listed(values: Sequence[Any], most: int = 12) -> str:
    """Return the texts of the values, the first so many of them.

    >>> listed("abc", 2)
    "'a', 'b' and 1 more"
    """
    shown = ", ".join(map(repr, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"
