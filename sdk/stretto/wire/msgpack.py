"""msgpack, as Stretto's own client sends and gets it: a value comes back as it was, or is refused."""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import IntEnum, auto
from typing import Any, cast
from uuid import UUID

import msgspec
import numpy as np
from numpy.lib import format as npy

from stretto.errors import InputError, StrettoError
from stretto.wire.bounds import PLAIN, UnsendableError, check_depth, too_deep
from stretto.wire.problem import from_problem, problem

MSGPACK = "application/vnd.stretto+msgpack"


def encode_msgpack(answer: Any) -> bytes:
    """Return an answer as msgpack, exact in every type it knows; a subclass of a builtin travels as that.

    Raises:
        StepError: it holds a value of another type, which is the error's `kind`.
    """
    try:
        return packed(answer)
    except UnsendableError as error:
        raise error.as_answer() from None


def encode_row(row: Any) -> bytes:
    """Return a row, or an array of rows, as msgpack.

    Raises:
        InputError: it holds a value of a type that does not travel.
    """
    try:
        return packed(row)
    except UnsendableError as error:
        message = f"a row with a value of type {error} cannot be sent over HTTP"
        raise InputError(message, "", "numbers, strings, dicts, lists or arrays") from None


def encode_rows(rows: Sequence[bytes]) -> bytes:
    """Return the list of the rows that `encode_row` gave one by one."""
    count = len(rows)
    header = bytes([0x90 | count]) if count < 16 else struct.pack(">BI", 0xDD, count)
    return b"".join((header, *rows))


def decode_msgpack(body: bytes) -> Any:
    """Return the value in a msgpack body.

    Raises:
        InputError: the body is empty, or is not what `encode_msgpack` gives.
        TooLarge: it is nested deeper than `MAX_DEPTH`.
    """
    try:
        value = _DECODER.decode(body)
    except RecursionError:
        raise too_deep() from None
    # The extension types hand foreign bytes to numpy, decimal and others, which raise what they like.
    except Exception as error:
        raise InputError(f"the body is not Stretto's msgpack: {error}", "", MSGPACK) from error
    check_depth(value)
    return value


def packed(value: Any) -> bytes:
    """Return a value as msgpack, or raise `UnsendableError`."""
    try:
        try:
            return _ENCODER.encode(_lower(value, PLAIN))
        except OverflowError:
            return _ENCODER.encode(_lower(value, _PLAIN_BUT_INT))
    except UnicodeEncodeError:
        raise UnsendableError("str with surrogates") from None
    except RecursionError:
        raise UnsendableError(f"{type(value).__name__}, nested too deeply,") from None


class _Ext(IntEnum):
    TUPLE = auto()
    SET = auto()
    FROZENSET = auto()
    DICT = auto()
    INT = auto()
    COMPLEX = auto()
    DECIMAL = auto()
    UUID = auto()
    DATETIME = auto()
    DATE = auto()
    TIME = auto()
    TIMEDELTA = auto()
    ARRAY = auto()
    OBJECTS = auto()
    SCALAR = auto()
    NUMPY_STR = auto()
    NUMPY_BYTES = auto()
    ERROR = auto()


def _lower(value: Any, plain: frozenset[type]) -> Any:
    """Return the value in terms that msgpack has, where it has the types `plain` already."""
    kind = type(value)
    if kind in plain:
        return value
    if kind is list:
        return value if plain.issuperset(map(type, value)) else [_lower(each, plain) for each in value]
    if kind is dict and _STR.issuperset(map(type, value)):
        if plain.issuperset(map(type, value.values())):
            return value
        return {key: _lower(each, plain) for key, each in value.items()}
    if kind is int:
        return value if -(2**63) <= value < 2**64 else _ext(_Ext.INT, _integer(value))
    return _special(value, plain)


def _special(value: Any, plain: frozenset[type]) -> Any:
    # NumPy's scalars come first, since some are subclasses of a builtin too, and bool before int for the same reason.
    match value:
        case np.generic() | np.ndarray():
            return _numpy(cast("np.ndarray", value))
        case StrettoError():
            return _ext(_Ext.ERROR, packed(problem(value)))
        case tuple():
            return _ext(_Ext.TUPLE, packed(list(cast("tuple[Any, ...]", value))))
        case set():
            return _ext(_Ext.SET, packed(list(cast("set[Any]", value))))
        case frozenset():
            return _ext(_Ext.FROZENSET, packed(list(cast("frozenset[Any]", value))))
        case dict() if type(cast("object", value)) is dict:
            flat = [each for pair in cast("dict[Any, Any]", value).items() for each in pair]
            return _ext(_Ext.DICT, packed(flat))
        case _:
            return _scalar(value) if (base := _builtin(value)) is None else _lower(base, plain)


def _builtin(value: Any) -> Any:
    match value:
        case str():
            return str.__str__(value)
        case bytes() | bytearray():
            return bytes(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case dict():
            return dict(cast("dict[Any, Any]", value))
        case list():
            return list(cast("list[Any]", value))
        case _:
            return None


def _scalar(value: Any) -> msgspec.msgpack.Ext:
    # Exact types only: a pandas Timestamp is a datetime too, with nanoseconds that would be lost.
    write = _SCALARS.get(type(value))
    if write is None:
        raise UnsendableError(type(value).__name__)
    code, write = write
    return _ext(code, write(value))


def _numpy(value: np.ndarray | np.generic) -> msgspec.msgpack.Ext:
    # An array would drop the NULs that a string of NumPy's may end in.
    if isinstance(value, np.str_):
        return _ext(_Ext.NUMPY_STR, str.__str__(value).encode())
    if isinstance(value, np.bytes_):
        return _ext(_Ext.NUMPY_BYTES, bytes(value))
    array = np.asarray(value)
    if isinstance(value, np.ndarray) and array.dtype == object:
        return _ext(_Ext.OBJECTS, packed([list(array.shape), array.ravel().tolist()]))
    if array.dtype.hasobject or isinstance(value, np.ma.MaskedArray):
        raise UnsendableError(f"{type(value).__name__} of dtype {array.dtype}")
    header = packed([npy.dtype_to_descr(array.dtype), list(array.shape)])
    data = b"".join((struct.pack("<I", len(header)), header, array.tobytes()))
    return _ext(_Ext.ARRAY if isinstance(value, np.ndarray) else _Ext.SCALAR, data)


def _ext(code: _Ext, data: bytes) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code.value, data)


def _integer(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True)


def _read(code: int, data: memoryview) -> Any:
    return _READERS[_Ext(code)](data)


def _array(data: memoryview) -> np.ndarray:
    start = 4 + struct.unpack_from("<I", data)[0]
    descr, shape = _DECODER.decode(data[4:start])
    dtype = npy.descr_to_dtype(descr)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"an array of {dtype} and shape {shape} does not have {len(data) - start} bytes")
    # A copy can be written to, is aligned, and does not keep the whole message alive.
    return np.ndarray(shape, dtype, data[start:]).copy()


def _objects(data: memoryview) -> np.ndarray:
    shape, values = _DECODER.decode(data)
    if math.prod(shape) != len(values):
        raise ValueError(f"an array of shape {shape} does not have {len(values)} values")
    array = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        array[i] = value
    return array.reshape(shape)


def _pairs(flat: list[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _text(read: Callable[[str], Any]) -> Callable[[memoryview], Any]:
    return lambda data: read(str(data, "utf-8"))


def _items(read: Callable[[Any], Any]) -> Callable[[memoryview], Any]:
    return lambda data: read(_DECODER.decode(data))


_STR = frozenset({str})
_PLAIN_BUT_INT = PLAIN - {int}
_SCALARS: dict[type, tuple[_Ext, Callable[[Any], bytes]]] = {
    complex: (_Ext.COMPLEX, lambda value: struct.pack("<dd", value.real, value.imag)),
    Decimal: (_Ext.DECIMAL, lambda value: str(value).encode()),
    UUID: (_Ext.UUID, lambda value: str(value).encode()),
    dt.datetime: (_Ext.DATETIME, lambda value: f"{value.fold}{value.isoformat()}".encode()),
    dt.date: (_Ext.DATE, lambda value: value.isoformat().encode()),
    dt.time: (_Ext.TIME, lambda value: f"{value.fold}{value.isoformat()}".encode()),
    dt.timedelta: (_Ext.TIMEDELTA, lambda value: packed([value.days, value.seconds, value.microseconds])),
}
_READERS: dict[_Ext, Callable[[memoryview], Any]] = {
    _Ext.TUPLE: _items(tuple),
    _Ext.SET: _items(set),
    _Ext.FROZENSET: _items(frozenset),
    _Ext.DICT: _items(_pairs),
    _Ext.INT: lambda data: int.from_bytes(data, "big", signed=True),
    _Ext.COMPLEX: lambda data: complex(*struct.unpack("<dd", data)),
    _Ext.DECIMAL: _text(Decimal),
    _Ext.UUID: _text(UUID),
    _Ext.DATETIME: _text(lambda text: dt.datetime.fromisoformat(text[1:]).replace(fold=int(text[0]))),
    _Ext.DATE: _text(dt.date.fromisoformat),
    _Ext.TIME: _text(lambda text: dt.time.fromisoformat(text[1:]).replace(fold=int(text[0]))),
    _Ext.TIMEDELTA: _items(lambda parts: dt.timedelta(*parts)),
    _Ext.ARRAY: _array,
    _Ext.OBJECTS: _objects,
    _Ext.SCALAR: lambda data: _array(data)[()],
    _Ext.NUMPY_STR: _text(np.str_),
    _Ext.NUMPY_BYTES: lambda data: np.bytes_(bytes(data)),
    _Ext.ERROR: _items(from_problem),
}
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ext_hook=_read)
