"""Limits on messages of every format."""

from __future__ import annotations

from typing import Any, cast

from stretto.errors import StepError, TooLarge

MAX_DEPTH = 64
MAX_VALUES = 2_000_000
"""The most values in a message, keys and lists too; an array, of any size, is one."""
MAX_TEXT = 2000
"""The most characters of a text in an error: it may quote what a stranger sent."""
PLAIN = frozenset({type(None), bool, int, float, str, bytes})


class UnsendableError(Exception):
    """A value that cannot be encoded, with its type as the message; it never leaves the codec."""

    def as_answer(self) -> StepError:
        """Return the error of an answer that has such a value."""
        return StepError("answer", str(self), "cannot be sent over HTTP: give numbers, strings, dicts, lists or arrays")


def too_deep() -> TooLarge:
    """Return the error for a message that is nested too deeply."""
    return TooLarge(f"the body is nested deeper than {MAX_DEPTH} levels", "", f"at most {MAX_DEPTH} levels")


def too_many() -> TooLarge:
    """Return the error for a message of too many values."""
    return TooLarge(
        f"the body has more than {MAX_VALUES} values: send fewer rows in a request, or arrays",
        "",
        f"at most {MAX_VALUES} values",
    )


def check_depth(value: Any) -> None:
    """Raise `TooLarge` if the value is nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if PLAIN.issuperset(map(type, level)):
            return
        level = [item for each in level for item in _items(each)]
    raise too_deep()


def _items(value: Any) -> Any:
    if isinstance(value, dict):
        return cast("dict[Any, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, (list, tuple)) else ()
