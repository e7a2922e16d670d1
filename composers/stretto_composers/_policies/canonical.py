"""One spelling, in bytes, for values that are equal: what a stable hash is taken of."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import nan
from typing import Any, cast

import numpy as np


def canonical(value: Any) -> bytes:
    """Return the same bytes for equal values in every process, and others for others.

    Numbers are compared by value, so ``1``, ``1.0`` and ``np.float32(1)`` are one; lists, tuples and arrays by their
    elements; dicts whatever their order. Text and bytes differ. All NaN are one.

    Raises:
        TypeError: it holds something else than numbers, text, bytes, None, sequences, arrays and dicts.

    >>> canonical({"b": [1, 2.5], "a": None}) == canonical({"a": None, "b": (1.0, 2.5)})
    True
    """
    match value:
        case None:
            return b"n"
        case str():
            return _long(b"s", value.encode("utf-8", "surrogatepass"))
        case bytes() | bytearray():
            return _long(b"b", bytes(value))
        case float() | np.floating():
            return _number(float(value))
        case int() | np.integer() | np.bool_():
            return _long(b"i", format(int(value), "x").encode())
        case np.ndarray():
            return canonical(
                cast("Any", value).tolist() if value.dtype != np.longdouble else value.astype(float).tolist()
            )
        case list() | tuple():
            return _long(b"l", b"".join(map(canonical, cast("list[Any]", value))))
        case Mapping():
            items = cast("Mapping[Any, Any]", value).items()
            return _long(b"d", b"".join(sorted(canonical(key) + canonical(each) for key, each in items)))
        case _:
            kind = type(value).__name__
            raise TypeError(
                f"a key is made of numbers, text, lists and dicts, not of a {kind}: turn it into text first"
            )


def _number(value: float) -> bytes:
    if value.is_integer():
        return canonical(int(value))
    return b"f" + struct.pack(">d", nan if value != value else value)


def _long(kind: bytes, content: bytes) -> bytes:
    return kind + str(len(content)).encode() + b":" + content
