"""What the functions of steps return: as a batch, or refused where it is no value.

Nothing is guessed about the shape of an answer: what could be read in two ways is refused, with words that say what to
write instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import lru_cache
from types import CoroutineType, NoneType
from typing import Any, Final, cast

import numpy as np

from stretto.batch.batch import Batch
from stretto.batch.frames import is_frame, is_series
from stretto.batch.isolate import each_row
from stretto.plan.nodes import Node
from stretto.plan.plan import Plan

_PLAIN: Final = frozenset(
    {bool, int, float, complex, str, bytes, NoneType, list, tuple, dict, set, frozenset, np.ndarray}
    | {np.float64, np.float32, np.int64, np.int32, np.bool_, np.str_, np.datetime64, np.timedelta64}
)
_DO: Final = "return a dict of columns, such as {'mean': mean, 'deviation': deviation}, or np.column_stack([...])"


def as_value(value: Any) -> Any:
    """Return what a function returned for one row.

    Raises:
        TypeError: it is no value, but something that would have to be awaited, iterated or run first.
    """
    if type(value) in _PLAIN:
        return value
    reason = _no_value(cast("type[Any]", type(value)))
    if reason is None:
        return value
    if isinstance(value, CoroutineType):
        cast("CoroutineType[Any, Any, Any]", value).close()
    raise TypeError(reason)


def are_values(values: Sequence[Any]) -> bool:
    """Return whether all are values: `as_value` raises for none of them."""
    return _PLAIN.issuperset(map(type, values)) or not any(map(_no_value, set(map(type, values))))


@lru_cache(maxsize=1024)
def _no_value(kind: type[Any]) -> str | None:
    """Return why what is of this type is no value; None if it is one."""
    if issubclass(kind, CoroutineType):
        return "the function gave a coroutine without being 'async def'; make it 'async def' and await inside"
    if issubclass(kind, AsyncIterator):
        return (
            "the function gave an async generator, which nobody iterates; collect its values inside, and return a list"
        )
    if issubclass(kind, Iterator):
        return f"the function gave an iterator ({kind.__name__}), which nobody iterates; return a list"
    # A pipeline is recognised by what it has: the notation is a layer above.
    if issubclass(kind, Node | Plan) or (hasattr(kind, "plan") and hasattr(kind, "__rrshift__")):
        return (
            "the function gave a pipeline, which nobody runs; to choose between parts write switch(key, a=..., b=...), "
            "to go on with another part write fn >> part"
        )
    return None


def shaped(result: Any, size: int) -> Batch:
    """Return the batch of `size` rows that a vectorised function returned.

    It is a list, an array, a series, or named columns: a dict of these, or a data frame, of which each row is a dict.

    Raises:
        TypeError: it returned something else, such as a tuple of arrays.
        ValueError: it returned more or fewer rows.
    """
    if type(result) is np.ndarray and result.ndim and len(result) == size:  # the usual case, on the hot path
        return Batch(result, size)
    if type(result) is not np.ndarray and type(result) is not dict:
        result = _unpacked(result)
    if isinstance(result, dict):
        members = cast("dict[str, Any]", result)
        return Batch.pack(tuple(members), [shaped(each, size) for each in members.values()], size)
    if not isinstance(result, list | np.ndarray) or (isinstance(result, np.ndarray) and not result.ndim):
        raise TypeError(
            f"a vectorized step gives a list or an array with a row each, not {type(as_value(result)).__name__}"
        )
    rows = len(cast("list[Any]", result))
    if rows != size:
        arrays = type(result) is list and any(_is_array(each) for each in cast("list[Any]", result))
        raise ValueError(
            f"was given {size} rows and gave {rows}{' arrays' if arrays else ''}; a vectorized step gives as many as "
            f"it takes{f': for several columns {_DO}' if arrays else ''}"
        )
    if type(result) is list and size > 1 and _is_square(cast("list[Any]", result), size):
        # As many columns as rows, or rows of as many values: each row by itself, as the engine then asks, tells.
        raise ValueError(f"{size} lists or arrays of {size} values for {size} rows could be columns or rows; {_DO}")
    return Batch(cast("list[Any]", result), size)


def _unpacked(result: Any) -> Any:
    """Return what a function returned as a list, an array or a dict of columns, where it is one in another form."""
    if isinstance(result, tuple):
        result = list(cast("tuple[Any, ...]", result))
        # Two arrays of two values each could be two columns or two rows.
        if any(type(each) is list or _is_array(each) for each in result):
            raise TypeError(f"a tuple of {type(result[0]).__name__}s could be columns or rows; {_DO}")
    if isinstance(result, list):
        rows = cast("list[Any]", result)
        return rows if are_values(rows) else each_row(rows, as_value).require()
    if isinstance(result, np.ndarray):
        return np.asarray(result) if isinstance(result, np.matrix) else result
    if is_frame(result):
        return columns_of(result)
    if is_series(result):
        return column_of(result)
    if hasattr(result, "toarray"):  # a sparse table
        return result.toarray()
    return np.asarray(result) if hasattr(result, "__array__") else result


def _is_square(rows: list[Any], size: int) -> bool:
    return all(
        len(each) == size if type(each) in (list, tuple) else isinstance(each, np.ndarray) and each.shape[:1] == (size,)
        for each in rows
    )


def _is_array(value: Any) -> bool:
    return hasattr(type(value), "__array__") and bool(np.ndim(value))


def columns_of(frame: Any) -> dict[str, Any] | np.ndarray:
    """Return the columns of a data frame by name; one array where they are only counted.

    Raises:
        TypeError: the frame is lazy, or two columns have one name.
    """
    if not hasattr(type(frame), "__len__") and not hasattr(type(frame), "num_rows"):
        raise TypeError(f"the function gave a {type(frame).__name__}, which is lazy; collect() it inside")
    names = list(getattr(frame, "column_names", None) or frame.columns)
    if all(type(name) is int for name in names) and names == list(range(len(names))):
        return np.asarray(frame.to_numpy())
    texts = list(map(str, names))
    twice = next((name for name in texts if texts.count(name) > 1), None)
    if twice is not None:
        raise TypeError(f"the function gave a data frame with two columns {twice!r}; give each a name of its own")
    return {text: column_of(frame[name]) for text, name in zip(texts, names, strict=True)}


def column_of(series: Any) -> Any:
    """Return the values of a series as numpy has them; of types that it has not, as Python's, None for missing ones."""
    dtype = getattr(series, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return np.asarray(series)
    if hasattr(series, "null_count"):  # of polars (a function there) or pyarrow
        nulls = series.null_count() if callable(series.null_count) else series.null_count
        array = None if nulls else series.to_numpy()
        zone = getattr(dtype, "time_zone", None) or getattr(getattr(series, "type", None), "tz", None)
        if isinstance(array, np.ndarray) and array.dtype.kind in "fiubmM" and zone is None:
            return array
    elif getattr(getattr(dtype, "numpy_dtype", None), "kind", "") in ("i", "u", "f", "b") and not series.isna().any():
        return series.to_numpy(dtype=cast("Any", dtype).numpy_dtype)  # Int64 and the like of pandas
    kept = isinstance(dtype, np.dtype)  # objects: NaN among them is a value
    listing = next(name for name in ("to_pylist", "to_list", "tolist") if hasattr(series, name))
    values = [_value(each, kept) for each in getattr(series, listing)()]
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _value(value: Any, kept: bool) -> Any:
    """Return a value of a series as Python has it: None for a missing one, a datetime for a timestamp."""
    kind = type(cast("object", value)).__name__
    if kind in ("NAType", "NaTType") or (not kept and kind == "float" and value != value):
        return None
    if kind == "Timestamp" and not value.nanosecond:
        return value.to_pydatetime()
    return value
