"""Errors as problems (RFC 9457), and problems read back as the same errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stretto import errors
from stretto.errors import BadRows, StrettoError, cut
from stretto.wire.bounds import MAX_TEXT

PROBLEM = "application/problem+json"

# The fields of errors that are numbers, and what they are where the number is not known.
_NUMBERS: dict[str, float | None] = {"retry_after": 1.0, "seconds": None}
# RFC 9457 defines "detail", which is our message, so a StepError's detail has another name.
_MEMBERS = {"message": "detail", "detail": "reason"}
_TYPES = {
    cls: "urn:stretto:error:" + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, StrettoError) and cls is not BadRows
}
_CLASSES = {urn: cls for cls, urn in _TYPES.items()}


def problem(error: Exception) -> dict[str, Any]:
    """Return an error as the members of a problem; of a foreign error, only that the server failed."""
    if not isinstance(error, StrettoError):
        error = StrettoError("the server failed on this request; its log says why")
    cls = next(each for each in type(error).__mro__ if each in _TYPES)
    members: dict[str, Any] = {"type": _TYPES[cls], "title": cls.title, "status": error.status}
    members |= {_member(name): _sendable(arg) for name, arg in zip(cls.fields, error.args, strict=False)}
    members["detail"] = _sendable(error.message)
    if error.row is not None:
        members["row"] = error.row
    return members


def from_problem(members: Mapping[str, Any]) -> StrettoError:
    """Return the error that a problem represents; a `StrettoError` if its type is not one of Stretto's."""
    cls = _CLASSES.get(str(members.get("type")), StrettoError)
    try:
        error = cls(*(_received(name, members[_member(name)]) for name in cls.fields))
    except KeyError:
        error = StrettoError(str(members.get("detail") or members.get("title") or "the server reported an error"))
    row = members.get("row")
    error.row = row if isinstance(row, int) else None
    return error


def _received(field: str, value: Any) -> Any:
    """Return a member of a problem as the error has it: text, or a number, with one that is none left out."""
    if field not in _NUMBERS:
        return str(value)
    return value if isinstance(value, int | float) and abs(value) < 1e9 else _NUMBERS[field]


def _member(field: str) -> str:
    return _MEMBERS.get(field, field)


def _sendable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # A message may quote a string with surrogates, and has to arrive all the same.
    return cut(str(value), MAX_TEXT).encode("utf-8", "backslashreplace").decode()
