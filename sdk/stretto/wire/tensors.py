"""Tensors of the Open Inference Protocol: arrays of its datatypes as bytes and as JSON, and answers as arrays."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final, cast

import numpy as np

from stretto.batch.batch import Batch
from stretto.wire.arrays import check_shape
from stretto.wire.bounds import MAX_VALUES, UnsendableError, too_many
from stretto.wire.json import encode_json

BYTES: Final = "BYTES"
"""The datatype of texts, which are objects in arrays."""
DATATYPES: Final = {
    "BOOL": np.dtype("?"),
    **{f"{name}{8 * size}": np.dtype(f"<{name[0].lower()}{size}") for name in ("INT", "UINT") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    BYTES: np.dtype("O"),
}
"""The datatypes by their names, as numpy has them."""
JSON_VALUES: Final = "application/json"
"""The content type of a tensor of texts each of which is the JSON of a value that no datatype has."""

_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}
_LENGTH: Final = struct.Struct("<I")
_TAKEN: Final[dict[str, frozenset[type]]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({int, float, type(None)}),
    "O": frozenset({str, type(None)}),
}
"""The types of JSON that are values of a kind of datatype; null is a missing one."""
_ALONE: Final = {"i": DATATYPES["INT64"], "f": DATATYPES["FP64"]}
_MISSING: Final = frozenset({int, float, type(None)})


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the datatype of an array's type, of objects that of texts."""
    return _NAMES[dtype]


def array_of_content(content: memoryview, datatype: str, shape: list[int]) -> np.ndarray:
    """Return the array of a tensor's bytes: row by row, little-endian, a text after its length.

    Raises:
        ValueError: the bytes are those of no such tensor.
        TooLarge: it has more than `MAX_VALUES` texts.
    """
    if datatype == BYTES:
        return _texts(content, shape)
    dtype = DATATYPES[datatype]
    size = math.prod(shape) * dtype.itemsize
    if size != len(content):
        raise ValueError(f"it takes {size} bytes, and there are {len(content)}")
    check_shape(shape, dtype.itemsize, size)
    # A copy can be written to, is aligned, and does not keep the whole message alive.
    array = np.ndarray(shape, dtype, content).copy()
    if datatype == "BOOL" and array.view(np.uint8).max(initial=0) > 1:
        raise ValueError("a flag is a byte of 0 or 1")
    return array


def array_of_values(data: list[Any], datatype: str, shape: list[int]) -> np.ndarray:
    """Return the array of a tensor's values in JSON: flat, or nested as the shape says; null is a missing number.

    Raises:
        ValueError: they are of another type or number.
    """
    flat = _flat(data, shape)
    if math.prod(shape) != len(flat):
        raise ValueError(f"it takes {math.prod(shape)} values, and its data has {len(flat)}")
    check_shape(shape, 1, len(flat))
    dtype = DATATYPES[datatype]
    types = set(map(type, flat))
    if not types <= _TAKEN[dtype.kind]:
        odd = ", ".join(sorted(each.__name__ for each in types - _TAKEN[dtype.kind]))
        raise ValueError(f"its data has values of type {odd}")
    if dtype.kind == "O":
        return _objects(flat).reshape(shape)
    try:
        return _numbers(flat, dtype).reshape(shape)
    except (OverflowError, FloatingPointError):
        raise ValueError("its data has a value out of range") from None


def content_of(array: np.ndarray) -> bytes:
    """Return the bytes of an array of a datatype."""
    if array.dtype != object:
        return array.tobytes()
    texts = [each if isinstance(each, bytes) else _encoded(each) for each in array.ravel().tolist()]
    return b"".join(chain.from_iterable((_LENGTH.pack(len(each)), each) for each in texts))


def values_of(array: np.ndarray) -> list[Any]:
    """Return the values of an array as JSON has them, flat."""
    values = array.ravel().tolist()
    if array.dtype == object and bytes in map(type, values):
        raise UnsendableError("bytes").as_answer()
    return values


def answers_as_arrays(answers: Batch, name: str) -> dict[str, tuple[np.ndarray, str]]:
    """Return answers as arrays of datatypes, with the content type of each, by `name`, or by the keys of dicts.

    What no datatype has, such as an answer that is a dict in a dict, becomes JSON.
    """
    if isinstance(answers.values, dict):
        return {str(key): _array(column) for key, column in answers.values.items()}
    rows = answers.values if isinstance(answers.values, list) else ()
    if set(map(type, rows)) == {dict}:
        first, *others = cast("list[dict[Any, Any]]", rows)
        names = {str(key) for key in first}
        if first and all(each.keys() == first.keys() for each in others) and len(names) == len(first):
            return {str(key): _of_rows([each[key] for each in rows]) for key in first}
    return {name: _array(answers)}


def _array(answers: Batch) -> tuple[np.ndarray, str]:
    array = answers.values
    if isinstance(array, np.ndarray) and array.dtype != object and array.dtype.newbyteorder("<") in _NAMES:
        # A value alone is a Python number, whatever its precision was.
        dtype = _ALONE.get(array.dtype.kind, array.dtype) if array.ndim == 1 else array.dtype
        return array.astype(dtype.newbyteorder("<"), copy=False), ""
    return _of_rows(answers.rows())


def _of_rows(rows: Sequence[Any]) -> tuple[np.ndarray, str]:
    array = _plain(rows)
    if array is not None and (little := array.dtype.newbyteorder("<")) in _NAMES:
        return array.astype(little, copy=False), ""
    return _objects([encode_json(each).decode() for each in rows]), JSON_VALUES


def _plain(values: Sequence[Any]) -> np.ndarray | None:
    """Return values of a datatype as an array, None where there is none for them."""
    types = set(map(type, values))
    if types <= {str} or types == {bytes}:
        return _objects(values)
    if types == {bool} or types == {int}:
        return _or_none(lambda: np.array(values))
    if types <= _MISSING and float in types:
        return np.array(values, dtype=np.float64)
    first = values[0]
    if types == {np.ndarray}:
        forms = {(each.dtype, each.shape) for each in values}
        return np.concatenate(values).reshape(len(values), *first.shape) if len(forms) == 1 and first.ndim else None
    if types == {list} and len(set(map(len, values))) == 1 and len(first):
        flat = _plain(list(chain.from_iterable(values)))
        return None if flat is None else flat.reshape(len(values), len(first), *flat.shape[1:])
    return np.array(values) if len(types) == 1 and isinstance(first, np.bool_ | np.number) else None


def _or_none(make: Callable[[], np.ndarray]) -> np.ndarray | None:
    try:
        return make()
    except OverflowError:
        return None


def _numbers(values: list[Any], dtype: np.dtype[Any]) -> np.ndarray:
    if dtype.kind != "f" or dtype.itemsize == np.dtype(float).itemsize:
        return np.array(values, dtype)
    with np.errstate(over="raise"):
        return np.array(values, np.float64).astype(dtype)


def _flat(data: list[Any], shape: list[int]) -> list[Any]:
    if not data or type(data[0]) is not list:
        return data
    if len(data) != shape[0]:
        raise ValueError(f"its data has {len(data)} rows, and its shape is {shape}")
    for side in shape[1:]:
        if not all(type(each) is list and len(each) == side for each in data):
            raise ValueError(f"its data is not nested as its shape {shape} says")
        data = list(chain.from_iterable(data))
    return data


def _texts(content: memoryview, shape: list[int]) -> np.ndarray:
    count, at, size = math.prod(shape), 0, len(content)
    if count * _LENGTH.size > size:
        raise ValueError(f"{count} texts with their lengths do not fit in {size} bytes")
    if count > MAX_VALUES:
        raise too_many()
    check_shape(shape, 1, count)
    texts: list[str] = []
    for _ in range(count):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(content, at)[0] if start <= size else start
        if at > size:
            raise ValueError("a text is longer than its bytes")
        texts.append(str(content[start:at], "utf-8"))
    if at != size:
        raise ValueError(f"{size - at} bytes are left after its texts")
    return _objects(texts).reshape(shape)


def _objects(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UnsendableError("str with surrogates").as_answer() from None
