"""A row as a key: equal for rows that are the same to a part, different for all others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, cast

import numpy as np


def key_of(row: Any) -> Hashable:
    """Return the key of a row: of numbers, text, sequences, dicts whatever the order of their keys, and arrays.

    1, 1.0 and True are equal to Python and need not be to a part; nor need 0.0 and -0.0.

    Raises:
        TypeError: something in it has no hash.
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
