"""JSON, as curl, `requests` and programs in other languages send and receive it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, cast

import msgspec
import numpy as np

from stretto.batch import arrays
from stretto.batch.dates import dates
from stretto.errors import InputError, StepError
from stretto.wire.bounds import MAX_DEPTH, MAX_VALUES, UnsendableError, check_depth, too_deep, too_many

JSON = "application/json"


def decode_json(body: bytes) -> Any:
    """Return the value in a JSON body.

    Raises:
        InputError: the body is empty, or is not JSON (which has no NaN).
        TooLarge: it is nested deeper than `MAX_DEPTH`, or has more than `MAX_VALUES` values.
    """
    if not body:
        raise InputError("the body is empty: send a row as a JSON object or array", "", "JSON")
    if len(body) > MAX_VALUES and _marks(body) > MAX_VALUES and _marks(_STRING.sub(b"", body)) > MAX_VALUES:
        raise too_many()
    try:
        value = _DECODER.decode(body)
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the body is not JSON: {error}{_hint(body)}", "", "JSON") from error
    # Each level takes two brackets, and counting the opening ones is much faster than a walk.
    if len(body) > 2 * MAX_DEPTH and body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        check_depth(value)
    return value


def encode_json(answer: Any) -> bytes:
    """Return an answer as JSON: numpy's values as plain ones, tuples and sets as arrays, NaN and infinities as null.

    Raises:
        StepError: it has a value that JSON can't represent, whose type is the error's `kind`.
    """
    try:
        try:
            return _ENCODER.encode(answer)
        except (TypeError, UnsendableError):
            return _ENCODER.encode(_with_text_keys(answer))
    except UnsendableError as error:
        raise error.as_answer() from None
    except (TypeError, ValueError, RecursionError) as error:
        raise StepError("answer", type(answer).__name__, f"cannot be sent as JSON: {error}") from error


def _marks(body: bytes) -> int:
    """Return about how many values there are: a value but the first has a mark before it."""
    return sum(map(body.count, (b",", b":", b"[", b"{")))


def _hint(body: bytes) -> str:
    if re.search(rb'(?<![\w"])(?:NaN|-?Infinity)\b', body):
        return "; JSON has no NaN and no Infinity: send null for a value that is missing"
    if re.match(rb"[\w.%+-]+=", body):
        return "; it looks like a form: with requests, pass the row as json=, not as data="
    return ""


def _plain(value: Any) -> Any:
    match value:
        case np.ndarray():
            return arrays.rows(value) if value.ndim else value[()]
        case np.datetime64() | np.timedelta64():
            (time,) = dates(np.asarray([value]))
            return str(time) if isinstance(time, np.generic) else time  # with what Python's times do not hold
        case np.str_():
            return str(value)
        case np.generic() if not isinstance(value, np.void | np.complexfloating):
            # A long double (of dtype "g") is its own item().
            return float(cast("Any", value)) if value.dtype.char == "g" else value.item()
        case str():
            return str.__str__(value)
        case float():
            return float(value)
        case int() if not isinstance(value, bool):
            return int(value)
        # The encoder takes these itself, except as a key.
        case dict() | list() | tuple() | set() | frozenset():
            raise UnsendableError(type(cast("object", value)).__name__)
        case Mapping():
            return dict(cast("Mapping[Any, Any]", value))
        case Sequence() | Set():
            return list(cast("Sequence[Any]", value))
        case _:
            raise UnsendableError(type(value).__name__)


def _with_text_keys(value: Any) -> Any:
    match value:
        case Mapping():
            return {_text_key(key): _with_text_keys(each) for key, each in cast("Mapping[Any, Any]", value).items()}
        case list() | tuple():
            return [_with_text_keys(each) for each in cast("list[Any]", value)]
        case _:
            return value


def _text_key(key: Any) -> Any:
    if key is None or isinstance(key, bool | np.bool_):
        return "null" if key is None else "true" if key else "false"
    return key.item() if isinstance(key, np.generic) else key


_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
_DECODER = msgspec.json.Decoder()
