"""Arrays of numpy as msgpack: of the types that models take, and no larger than what was sent."""

from __future__ import annotations

import math
import re
import struct
from typing import Any, Final

import numpy as np

from stretto.wire.bounds import UnsendableError

KINDS: Final = frozenset("biufcSUmM")
"""The kinds of type that travel: flags, numbers, texts, dates and spans."""
_TYPE: Final = re.compile(r"[<>|=][biufcSUmM][0-9]{1,9}(\[[0-9]{0,9}[a-zA-Zμ]{1,2}\])?")
_EMPTY: Final = 2**16
"""The most bytes of an array of nothing, if it had one row and one column at least."""


def array_header(array: np.ndarray) -> list[Any]:
    """Return the type and the shape of an array.

    Raises:
        UnsendableError: it is of a type that doesn't travel.
    """
    if array.dtype.kind not in KINDS:
        raise UnsendableError(f"{type(array).__name__} of dtype {array.dtype}")
    return [array.dtype.str, list(array.shape)]


def array_bytes(header: bytes, array: np.ndarray) -> bytes:
    """Return an array with its packed header."""
    return b"".join((struct.pack("<I", len(header)), header, array.tobytes()))


def header_end(data: memoryview) -> int:
    """Return where the header of an array ends, which begins at 4."""
    return 4 + struct.unpack_from("<I", data)[0]


def array_of_bytes(header: list[Any], content: memoryview) -> np.ndarray:
    """Return the array of a header and its bytes.

    Raises:
        ValueError: it is of a type that doesn't travel, or has another number of bytes.
    """
    name, shape = header
    if not _TYPE.fullmatch(name):
        raise ValueError("an array is of numbers, flags, texts, dates or spans")
    dtype = np.dtype(name)
    check_shape(shape, dtype.itemsize, len(content))
    # A copy can be written to, is aligned, and does not keep the whole message alive.
    return np.ndarray(shape, dtype, content).copy()


def check_shape(shape: list[int], itemsize: int, size: int) -> None:
    """Check that an array of this shape has so many bytes, or so many values of one byte.

    Raises:
        ValueError: it has others, or is a large one of nothing: each of its rows would be made.
    """
    if math.prod(shape) * itemsize != size:
        raise ValueError(f"an array of shape {shape} and {itemsize} bytes a value does not have {size}")
    if math.prod(max(1, side) for side in shape) * max(1, itemsize) > max(size, _EMPTY):
        raise ValueError(f"an array of shape {shape} holds nothing")
