"""Columns of data frames as msgpack: arrays that only pandas has a type for, its times, and whole frames.

pandas is imported where a message has such a value; a process without it reads the column as objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np

from stretto.batch.arrays import is_array
from stretto.batch.frames import Frame

_MAX_SIDE: Final = 2**31
_ZONE: Final = re.compile(r"(?!dateutil)[A-Za-z0-9_+:/-]{1,64}")  # pandas opens the file that follows "dateutil/"
_DTYPES: Final = {
    "zone": re.compile(rf"datetime64\[(s|ms|us|ns), {_ZONE.pattern}\]"),
    "masked": re.compile(r"U?Int(8|16|32|64)|Float(32|64)|boolean"),
    "values": re.compile(r"str|string|string\[[a-z_]{1,20}\]|[a-z0-9(), :\[\]_/+A-Z-]{1,64}\[pyarrow\]"),
}
"""The types of columns of pandas, by how they are stored."""


def array_parts(array: Any) -> list[Any]:
    """Return the parts of an array of pandas: how it is stored, its type, and arrays of numpy or lists.

    Raises:
        TypeError: it is of a type that has no parts known here, such as intervals.
    """
    dtype = array.dtype
    if hasattr(dtype, "categories"):
        categories = np.asarray(dtype.categories)
        return ["category", bool(dtype.ordered), categories, np.asarray(array.codes)]
    if getattr(dtype, "tz", None) is not None:
        return ["zone", str(dtype), array.tz_convert(None).to_numpy()]
    if (str(dtype)[:1].isupper() and getattr(dtype, "kind", "O") in "iufb") or str(dtype) == "boolean":
        missing = np.asarray(array.isna())
        plain = array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.type(0))
        return ["masked", str(dtype), plain, missing]
    if type(dtype).__name__ == "StringDtype" or str(dtype).endswith("[pyarrow]"):
        name = "str" if getattr(dtype, "na_value", None) is np.nan else str(dtype)
        return ["values", name, [None if gone else each for each, gone in zip(array, array.isna(), strict=True)]]
    raise TypeError(f"a column of type {dtype}")


def array_of(parts: list[Any]) -> Any:
    """Return the array of the parts that `array_parts` returned; one of numpy where pandas is not installed."""
    form, *rest = parts
    if form != "category" and not _DTYPES.get(form, _DTYPES["values"]).fullmatch(rest[0]):
        raise ValueError("this is no type of a column")
    try:
        pandas = import_module("pandas")
    except ImportError:
        return _as_objects(form, rest)
    match form, rest:
        case "category", [bool(ordered), categories, codes]:
            return pandas.Categorical.from_codes(codes, pandas.Index(categories), ordered=ordered)
        case "zone", [str(dtype), moments]:
            return pandas.Series(moments).dt.tz_localize("UTC").astype(dtype).array
        case "masked", [str(dtype), plain, missing]:
            array = pandas.array(plain, dtype=dtype)
            array[missing] = pandas.NA
            return array
        case "values", [str(dtype), list() as values]:
            return pandas.array(values, dtype=dtype)
        case _:
            raise ValueError("this is no array of pandas")


def _as_objects(form: str, rest: list[Any]) -> np.ndarray:
    match form, rest:
        case "category", [_, categories, codes]:
            values = [None if code < 0 else categories[code] for code in codes]
        case "masked", [_, plain, missing]:
            values = [None if gone else each for each, gone in zip(plain.tolist(), missing, strict=True)]
        case _:
            values = list(rest[-1])
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def moment_parts(moment: Any) -> list[Any]:
    """Return the parts of a `pandas.Timestamp`: nanoseconds or others since 1970, their unit, and the zone."""
    zone = None if moment.tz is None else str(moment.tz)
    return [moment.to_datetime64() if zone is None else moment.tz_convert(None).to_datetime64(), zone]


def moment_of(parts: list[Any]) -> Any:
    """Return the `pandas.Timestamp` of parts; numpy's, in UTC, where pandas is not installed."""
    moment, zone = parts
    if zone is not None and not _ZONE.fullmatch(zone):
        raise ValueError("this is no time zone")
    try:
        naive = import_module("pandas").Timestamp(moment)
    except ImportError:
        return moment
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(zone)


def span_of(span: Any) -> Any:
    """Return the `pandas.Timedelta` of numpy's."""
    try:
        return import_module("pandas").Timedelta(span)
    except ImportError:
        return span


def sparse_parts(table: Any) -> list[Any]:
    """Return the shape of a sparse table, its numbers, their columns, where each row begins, and if it is a matrix."""
    return [list(table.shape), table.data, table.indices, table.indptr, type(table).__name__.endswith("matrix")]


def sparse_of(parts: list[Any]) -> Any:
    """Return the sparse table of its parts.

    Raises:
        ValueError: they are those of no table.
    """
    shape, data, indices, starts, matrix = parts
    if not all(0 <= side < _MAX_SIDE for side in shape):
        raise ValueError("a sparse table has too many columns")
    sparse = import_module("scipy.sparse")
    # Packages ask for the one or the other: XGBoost checks a matrix otherwise than an array.
    kind = sparse.csr_matrix if matrix else sparse.csr_array
    table = kind((data, indices, starts), shape=tuple(shape))
    table.check_format(full_check=True)  # its arrays are indices that compiled code follows
    return table


def frame_parts(frame: Frame) -> list[Any]:
    """Return the names and the columns of a frame."""
    return [list(frame.columns), list(frame.columns.values()), frame.size]


def frame_of(parts: list[Any]) -> Frame:
    """Return the frame of its parts.

    Raises:
        ValueError: its columns are of several lengths, or two have one name.
    """
    names, columns, size = parts
    if not columns or not all(map(is_array, columns)):
        raise ValueError("the columns of a frame are arrays")
    frame = Frame(dict(zip(names, columns, strict=True)), size)
    if len(frame.columns) != len(names) or any(len(column) != size for column in columns):
        raise ValueError("the columns of a frame have one length, and a name each")
    return frame


SCALARS: dict[str, Callable[[Any], Any]] = {
    "Timestamp": moment_parts,
    "Timedelta": lambda span: span.to_timedelta64(),
    "NAType": lambda _: None,
    "NaTType": lambda _: None,
}
"""What is sent for a value of pandas, by the name of its type; a missing one is sent as null."""
