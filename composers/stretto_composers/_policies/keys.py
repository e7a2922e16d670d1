"""Rows as keys: one that can be hashed here, and one that is the same bytes in every process."""

import struct
from collections.abc import Hashable, Mapping
from math import nan
from typing import Any, cast

import numpy as np


def key_of(row: Any) -> Hashable:
    """Return a key that is equal for rows that are the same to a part, and different for all others.

    Rows are numbers, text, sequences, arrays, and dicts whatever the order of their keys. 1, 1.0 and True are equal to
    Python and need not be to a part; nor need 0.0 and -0.0.
    """
    match row:
        case float():
            return float, row.hex()
        case np.ndarray() if not row.dtype.hasobject:
            return np.ndarray, row.dtype.str, row.shape, row.tobytes()
        case np.generic():
            return type(row), row.dtype.str, row.tobytes()
        case np.ndarray():
            return np.ndarray, row.shape, tuple(map(key_of, cast("list[Any]", row.ravel().tolist())))
        case Mapping():
            pairs = cast("Mapping[Any, Any]", row).items()
            return type(row), frozenset((key_of(name), key_of(value)) for name, value in pairs)
        case list() | tuple():
            return type(row), tuple(map(key_of, cast("list[Any]", row)))
        case _:
            hash(row)
            return type(row), row


def bytes_of(*values: Any, most: int) -> int:
    """Return about how many bytes values take, or some number above `most`.

    >>> bytes_of("a" * 100, [1, 2], most=1000)
    372
    """
    total, left = 0, list(values)
    while left and total <= most:
        value = left.pop()
        total += 64
        match value:
            case str() | bytes() | bytearray():
                total += len(value)
            case np.ndarray() | np.generic():
                total += value.nbytes
            case int():
                total += value.bit_length() // 8
            case Mapping() | list() | tuple() | set() | frozenset():
                items = cast("Mapping[Any, Any] | list[Any]", value)
                total += 8 * len(items)
                if total <= most:
                    left += items
                    left += items.values() if isinstance(items, Mapping) else ()
            case _:
                pass
    return total


def canonical(value: Any) -> bytes:
    """Return the same bytes for equal values in every process, and others for others.

    Numbers are compared by value, so ``1``, ``1.0`` and ``np.float32(1)`` are one; lists, tuples and arrays by their
    elements; dicts whatever their order. Text and bytes differ. All NaN are one.

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
            real = float(value)
            return (
                canonical(int(real)) if real.is_integer() else b"f" + struct.pack(">d", real if real == real else nan)
            )
        case int() | np.integer() | np.bool_():
            return _long(b"i", format(int(value), "x").encode())
        case np.ndarray():
            return canonical((value.astype(float) if value.dtype == np.longdouble else cast("Any", value)).tolist())
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


def _long(kind: bytes, content: bytes) -> bytes:
    return kind + str(len(content)).encode() + b":" + content
