"""msgpack, as Stretto's own client sends and receives it: a value arrives with the type it had, or is rejected."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import numpy as np

from stretto.batch.arrays import ExtensionArray, SparseTable
from stretto.batch.frames import Frame
from stretto.errors import InputError, StrettoError, TooLarge, cut
from stretto.wire.arrays import array_bytes, array_header, array_of_bytes, check_shape, header_end
from stretto.wire.bounds import MAX_VALUES, PLAIN, UnsendableError, check_depth, too_deep
from stretto.wire.columns import (
    SCALARS,
    array_of,
    array_parts,
    frame_of,
    frame_parts,
    moment_of,
    span_of,
    sparse_of,
    sparse_parts,
)
from stretto.wire.problem import from_problem, problem
from stretto.wire.structure import SHORT, check_structure

MSGPACK = "application/vnd.stretto+msgpack"
MAX_ODD_KEYS = 128
"""The most keys of a set or a dict that are no text and no small number: such keys can be chosen to collide."""
_MAX_INTEGER = 1024
_MAX_WORD = 64


def encode_msgpack(answer: Any) -> bytes:
    """Return an answer as msgpack, exact in every type it knows; a subclass of a builtin travels as the builtin.

    Raises:
        StepError: the answer has a value of another type, which is the error's `kind`.
    """
    try:
        return _packed(answer)
    except UnsendableError as error:
        raise error.as_answer() from None


def encode_row(row: Any) -> bytes:
    """Return a row, or an array of rows, as msgpack.

    Raises:
        InputError: the row has a value of a type that can't be sent.
    """
    try:
        return _packed(row)
    except UnsendableError as error:
        message = f"a row with a value of type {error} cannot be sent over HTTP"
        raise InputError(message, expected="numbers, strings, dicts, lists or arrays") from None


def encode_rows(rows: Sequence[bytes]) -> bytes:
    """Return the list of rows that `encode_row` encoded one by one."""
    count = len(rows)
    header = bytes([0x90 | count]) if count < 16 else struct.pack(">BI", 0xDD, count)
    return b"".join((header, *rows))


def decode_msgpack(body: bytes, *, errors: bool = False) -> Any:
    """Return the value in a msgpack body; with `errors`, a list of outcomes, which errors are among.

    Raises:
        InputError: the body is empty, or is not what `encode_msgpack` returns.
        TooLarge: it is nested deeper than `MAX_DEPTH`, or has more than `MAX_VALUES` values.
    """
    try:
        if len(body) > MAX_VALUES:
            check_structure(body, _NESTED)
        try:
            return _ROWS.decode(body)
        except msgspec.ValidationError:  # it has more in it than rows mostly have
            if SHORT < len(body) <= MAX_VALUES:
                check_structure(body, _NESTED)
            value = (_OUTCOMES if errors else _DECODER).decode(body)
        check_depth(value)
    except RecursionError:
        raise too_deep() from None
    except TooLarge:
        raise
    # The extension types pass foreign bytes to numpy, decimal and others, which raise exceptions of any kind.
    except Exception as error:
        raise InputError(f"the body is not Stretto's msgpack: {cut(str(error), 200)}", expected=MSGPACK) from error
    return value


def _packed(value: Any) -> bytes:
    try:
        try:
            return _ENCODER.encode(_lower(value, PLAIN))
        except OverflowError:
            return _ENCODER.encode(_lower(value, _PLAIN_BUT_INT))
    except UnicodeEncodeError:
        raise UnsendableError("str with surrogates") from None
    except RecursionError:
        raise UnsendableError(f"{type(value).__name__}, nested too deeply,") from None


def _lower(value: Any, plain: frozenset[type]) -> Any:
    """Return the value in terms that msgpack has; values of the types `plain` are such terms already."""
    kind = type(value)
    if kind in plain:
        return value
    if kind is list:
        return value if plain.issuperset(map(type, value)) else [_lower(each, plain) for each in value]
    if kind is dict and _STR.issuperset(map(type, value)):
        if plain.issuperset(map(type, value.values())):
            return value
        return {key: _lower(each, plain) for key, each in value.items()}
    if kind is int and -(2**63) <= value < 2**64:
        return value
    if kind in _EXTENSIONS:
        return _numpy(value) if kind is np.ndarray else _extension(kind, value)
    if isinstance(value, StrettoError):
        return _extension(StrettoError, value)
    for array in (ExtensionArray, SparseTable):
        if isinstance(value, array):
            return _extension(array, value)
    if kind.__module__.partition(".")[0] == "pandas" and kind.__name__ in SCALARS:
        sent = SCALARS[kind.__name__](value)
        return None if sent is None else _extension(kind.__name__, sent)
    return _numpy(value) if isinstance(value, np.generic | np.ndarray) else _lower(_builtin(value), plain)


def _builtin(value: Any) -> Any:
    """Return a value of a subclass as one of the class itself.

    Only of these classes: a pandas ``Timestamp`` is a datetime too, with nanoseconds that would be lost.
    """
    for base, convert in _BASES:
        if isinstance(value, base):
            return convert(value)
    raise UnsendableError(type(value).__name__)


def _numpy(value: Any) -> msgspec.msgpack.Ext:
    array = np.asarray(value)
    if isinstance(value, np.ndarray) and array.dtype == object:
        return _extension(_Objects, array)
    if isinstance(value, np.ma.MaskedArray):
        raise UnsendableError(f"{type(value).__name__} of dtype {array.dtype}")
    return _extension(np.ndarray if isinstance(value, np.ndarray) else np.generic, array)


def _extension(kind: Any, value: Any) -> msgspec.msgpack.Ext:
    extension = _EXTENSIONS[kind]
    return msgspec.msgpack.Ext(extension.code, extension.write(value))


def _read(code: int, data: memoryview) -> Any:
    return _READERS[code](data)


def _refused(data: memoryview) -> Any:
    raise ValueError("an error is no value of a row or of an answer")


def _read_outcome(code: int, data: memoryview) -> Any:
    return from_problem(_DECODER.decode(data)) if code == _ERROR else _read(code, data)


def _items(value: Any) -> bytes:
    return _packed(list(value))


def _members(value: Collection[Any]) -> bytes:
    return _items(_keys(value, UnsendableError))


def _keys(keys: Collection[Any], error: type[Exception] = ValueError) -> Collection[Any]:
    """Return what are to be the keys of a set or a dict.

    Raises:
        ValueError: so many of them are neither text nor small numbers that each could be compared with all others.
    """
    if len(keys) > MAX_ODD_KEYS and sum(map(_is_odd, keys)) > MAX_ODD_KEYS:
        raise error(f"set or dict with more than {MAX_ODD_KEYS} keys that are neither texts nor small integers")
    return keys


def _is_odd(key: Any) -> bool:
    if type(key) in (int, float):
        return not (-_SMALL < key < _SMALL and key == int(key))
    return type(key) not in (str, bytes)


def _from_items(build: Callable[[Any], Any]) -> Callable[[memoryview], Any]:
    return lambda data: build(_DECODER.decode(data))


def _columns(parts: Callable[[Any], list[Any]], value: Any) -> bytes:
    try:
        return _packed(parts(value))
    except TypeError as error:
        raise UnsendableError(str(error)) from None


def _text(value: Any) -> bytes:
    return str(value).encode()


def _from_word(build: Callable[[str], Any], most: int = _MAX_WORD) -> Callable[[memoryview], Any]:
    return lambda data: build(str(_short(data, most), "utf-8"))


def _short(data: memoryview, most: int) -> memoryview:
    if len(data) > most:
        raise ValueError(f"a number, a date or an identifier has {len(data)} bytes, more than {most}")
    return data


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if number.is_snan():
        raise ValueError("a signalling NaN can't be compared with anything")
    return number


def _integer(value: int) -> bytes:
    size = (value.bit_length() + 8) // 8
    if size > _MAX_INTEGER:
        raise UnsendableError(f"int of {size} bytes")
    return value.to_bytes(size, "big", signed=True)


def _pairs(value: dict[Any, Any]) -> bytes:
    _keys(value, UnsendableError)
    return _packed([each for pair in value.items() for each in pair])


def _from_pairs(flat: list[Any]) -> dict[Any, Any]:
    return dict(zip(_keys(flat[::2]), flat[1::2], strict=True))


def _time(value: dt.datetime | dt.time) -> bytes:
    return f"{value.fold}{value.isoformat()}".encode()


def _from_time(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: read(text[1:]).replace(fold=int(text[0]))


def _array(array: np.ndarray) -> bytes:
    return array_bytes(_packed(array_header(array)), array)


def _from_array(data: memoryview) -> np.ndarray:
    end = header_end(data)
    return array_of_bytes(_DECODER.decode(data[4:end]), data[end:])


def _from_objects(message: list[Any]) -> np.ndarray:
    shape, values = message
    check_shape(shape, 1, len(values))
    array = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        array[i] = value
    return array.reshape(shape)


class _Objects:
    """Stands for arrays of dtype object."""


@dataclass(frozen=True, slots=True)
class _Extension:
    """An extension type of msgpack: its code, and the functions from a value to its bytes and back."""

    code: int
    write: Callable[[Any], bytes]
    read: Callable[[memoryview], Any]


_Value: TypeAlias = bool | int | float | str | None
_Row: TypeAlias = dict[str, _Value] | list[_Value] | _Value
_STR = frozenset({str})
_SMALL = 2**16
_ERROR = 18
_PLAIN_BUT_INT = PLAIN - {int}
_EXTENSIONS: dict[Any, _Extension] = {
    tuple: _Extension(1, _items, _from_items(tuple)),
    set: _Extension(2, _members, _from_items(lambda items: set(_keys(items)))),
    frozenset: _Extension(3, _members, _from_items(lambda items: frozenset(_keys(items)))),
    dict: _Extension(4, _pairs, _from_items(_from_pairs)),
    int: _Extension(5, _integer, lambda data: int.from_bytes(_short(data, _MAX_INTEGER), "big", signed=True)),
    complex: _Extension(
        6, lambda value: struct.pack("<dd", value.real, value.imag), lambda data: complex(*struct.unpack("<dd", data))
    ),
    Decimal: _Extension(7, _text, _from_word(_decimal, _MAX_INTEGER)),
    UUID: _Extension(8, _text, _from_word(UUID)),
    dt.datetime: _Extension(9, _time, _from_word(_from_time(dt.datetime.fromisoformat))),
    dt.date: _Extension(10, _text, _from_word(dt.date.fromisoformat)),
    dt.time: _Extension(11, _time, _from_word(_from_time(dt.time.fromisoformat))),
    dt.timedelta: _Extension(
        12,
        lambda value: _packed([value.days, value.seconds, value.microseconds]),
        _from_items(lambda parts: dt.timedelta(*parts)),
    ),
    np.ndarray: _Extension(13, _array, _from_array),
    _Objects: _Extension(
        14, lambda array: _packed([list(array.shape), array.ravel().tolist()]), _from_items(_from_objects)
    ),
    np.generic: _Extension(15, _array, lambda data: _from_array(data)[()]),
    # An array would drop the NULs that a string of numpy's may end in.
    np.str_: _Extension(16, lambda value: str.__str__(value).encode(), lambda data: np.str_(str(data, "utf-8"))),
    np.bytes_: _Extension(17, bytes, lambda data: np.bytes_(bytes(data))),
    ExtensionArray: _Extension(19, lambda array: _columns(array_parts, array), _from_items(array_of)),
    Frame: _Extension(20, lambda frame: _columns(frame_parts, frame), _from_items(frame_of)),
    SparseTable: _Extension(23, lambda table: _columns(sparse_parts, table.tocsr()), _from_items(sparse_of)),
    "Timestamp": _Extension(21, _items, _from_items(moment_of)),
    "Timedelta": _Extension(22, lambda span: _packed(span), _from_items(span_of)),
    StrettoError: _Extension(_ERROR, lambda error: _packed(problem(error)), _refused),
}
_READERS = {extension.code: extension.read for extension in _EXTENSIONS.values()}
_NESTED = frozenset({1, 2, 3, 4, 12, 14, 18, 19, 20, 21, 22, 23})
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    *((kind, kind) for kind in (tuple, set, frozenset, int, float, dict, list, bytes)),
    (bytearray, bytes),
    (str, str.__str__),
)
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ext_hook=_read)
_OUTCOMES = msgspec.msgpack.Decoder(ext_hook=_read_outcome)
# As fast as a decoder of anything, and it has nothing in it that takes long: no keys but text, and nothing nested.
_ROWS: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(list[_Row] | dict[str, _Value] | _Value)
