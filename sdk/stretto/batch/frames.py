"""Data frames and series, of pandas, polars or any library that narwhals knows, as rows.

A frame is recognised by what it has, so that nothing is imported for those who use none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, cast, overload

import numpy as np

from stretto.batch import arrays
from stretto.batch.arrays import SparseTable
from stretto.errors import InputError, PipelineError

_PLAIN: Final = frozenset({dict, list, tuple, str, int, float, bool, type(None), np.ndarray})


class Frame(Sequence[dict[str, Any]]):
    """Named columns of one length, as a sequence of rows, each a dict by column name; slices share memory.

    Columns keep the types that they came with: they are arrays of numpy, or of pandas where numpy has no such type.

    >>> frame = Frame({"length": np.array([1.0, 2.0]), "kind": np.array(["a", "b"], dtype=object)}, 2)
    >>> frame[1]
    {'length': 2.0, 'kind': 'b'}
    """

    __slots__ = ("columns", "size")

    def __init__(self, columns: Mapping[Any, Any], size: int) -> None:
        self.columns = dict(columns)
        self.size = size

    def __len__(self) -> int:
        return self.size

    @property
    def numeric(self) -> bool:
        """Whether all columns are numbers of numpy."""
        return all(isinstance(each, np.ndarray) and each.dtype.kind in "fiub" for each in self.columns.values())

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Frame: ...
    def __getitem__(self, at: int | slice) -> dict[str, Any] | Frame:
        if isinstance(at, slice):
            return Frame({name: column[at] for name, column in self.columns.items()}, len(range(self.size)[at]))
        position = range(self.size)[at]
        return next(iter(self[position : position + 1]))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        values = [arrays.rows(column) for column in self.columns.values()]
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*values, strict=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return Frame, (self.columns, self.size)


def is_plain(x: Any) -> bool:
    """Return whether `x` is of a type that is certainly neither a frame nor a series."""
    return type(x) in _PLAIN


def is_pandas(x: Any) -> bool:
    """Return whether `x` is a frame, a series or a value of pandas."""
    return type(x).__module__.partition(".")[0] == "pandas"


def are_plain(rows: Sequence[Any]) -> bool:
    """Return whether all rows are of types that are neither frames nor series."""
    return _PLAIN.issuperset(map(type, rows))


def is_frame(x: Any) -> bool:
    """Return whether `x` is a data frame."""
    # Asked of the class: a lazy frame of polars warns when its columns are looked up.
    kind = type(x)
    return (
        not is_plain(x)
        and hasattr(kind, "columns")
        and any(hasattr(kind, name) for name in ("to_numpy", "to_pandas", "collect_schema"))
    )


def is_series(x: Any) -> bool:
    """Return whether `x` is a series: a column of a data frame, or in pandas also a row."""
    kind = type(x)
    return not is_plain(x) and hasattr(kind, "to_numpy") and hasattr(kind, "__len__") and not hasattr(kind, "columns")


def as_rows(x: Any) -> Any:
    """Return a frame as a `Frame`, an array where its columns are only counted, a series as its values, others as is.

    Raises:
        InputError: it is lazy, has no columns, or two of one name.
    """
    if is_frame(x):
        return _of_frame(x)
    if isinstance(x, SparseTable):
        return cast("Any", x).tocsr()
    if is_series(x):
        return _column(x) if is_pandas(x) else _values(x)
    if isinstance(x, list) and not all(map(is_plain, _one_of_each_type(cast("list[Any]", x)))):
        return [as_row(row) for row in cast("list[Any]", x)]
    return x


def as_row(x: Any) -> Any:
    """Return a series as a dict by its names, or as a list where they are counted; others as they are.

    A table of one row remains one, a frame as a `Frame`, so that its columns keep their types.

    Raises:
        InputError: the frame has more rows than one, or none; or two values have one name.
    """
    if is_plain(x):
        return x
    if is_frame(x):
        return _one_of(_of_frame(x), "data frame")
    if isinstance(x, SparseTable):
        table = cast("Any", x)
        return _one_of((table.reshape(1, -1) if table.ndim == 1 else table).tocsr(), "sparse table")
    if is_series(x):
        index = getattr(x, "index", None)
        names = None if index is None or not hasattr(index, "tolist") else index.tolist()
        if names is None or _counted(names):
            return _values(x)
        return dict(zip(_checked(names), _values(x), strict=True))
    return x


def _one_of_each_type(rows: list[Any]) -> list[Any]:
    return list(dict(zip(map(type, rows), rows, strict=True)).values())


def row_values(x: Any) -> Any:
    """Return a row as a dict, a list or an array of its values, where it is a table of one row or a series.

    Raises:
        InputError: it has more rows than one, or none; or two values have one name.
    """
    row = as_row(x)
    if isinstance(row, Frame):
        return {name: _present(value) for name, value in _one_of(row, "data frame")[0].items()}
    return arrays.dense(row)[0] if isinstance(row, SparseTable) else row


def _one_of(rows: Any, what: str) -> Any:
    count = arrays.size(rows)
    if count != 1:
        raise InputError(
            f"predict() takes one row, and the {what} has {count}: give it to predict_many()",
            expected=f"a row, or a {what} of one",
        )
    return rows if isinstance(rows, Frame | SparseTable) else rows[0]


def _of_frame(x: Any) -> Frame | np.ndarray | list[Any]:
    if not hasattr(type(x), "__len__") and not hasattr(type(x), "num_rows"):
        raise InputError(f"a {type(x).__name__} is lazy: collect() it first", expected="a data frame")
    names = list(getattr(x, "column_names", None) or x.columns)
    if _counted(names) and names:
        table = x.to_numpy()
        return table.tolist() if table.dtype == object else table
    _checked(names)
    if not names:
        raise InputError("the data frame has no columns", expected="a column for each feature")
    if is_pandas(x):
        return Frame({name: _column(x[name]) for name in names}, len(x))
    frame = _narwhals().from_native(x, eager_only=True)
    return Frame({name: _array(column) for name, column in zip(names, frame.iter_columns(), strict=True)}, len(frame))


def _counted(names: list[Any]) -> bool:
    return all(type(name) is int for name in names) and names == list(range(len(names)))


def _checked(names: list[Any]) -> list[Any]:
    """Return the names of a frame's columns, which are strings, or all of them integers, or all of them tuples."""
    if set(map(type, names)) not in ({int}, {tuple}):
        odd = next((name for name in names if not isinstance(name, str)), None)
        if odd is not None:
            raise InputError(
                f"a column is named {odd!r}, of type {type(odd).__name__}: features have strings as names",
                field=str(odd)[:100],
                expected="strings as column names",
            )
    twice = next((name for name in dict.fromkeys(names) if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two columns are named {twice!r}", field=str(twice)[:100], expected="each feature once")
    return names


def _column(series: Any) -> Any:
    """Return a pandas series as numpy's array, or as pandas' own where numpy has no such type."""
    return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array


def _array(column: Any) -> np.ndarray:
    """Return a column of another library: as numpy's array of its type, or as objects, None for those missing."""
    if column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype == _narwhals().Boolean:
        array = np.asarray(column.to_numpy())
        # Integers beside missing ones become floats, which do not hold the large ones.
        exact = array.dtype.kind != "f" or not column.dtype.is_integer() or not bool((np.abs(array) >= 2.0**53).any())
        if exact and (
            array.dtype.kind in "fiub"
            or (array.dtype.kind in "mM" and getattr(column.dtype, "time_zone", None) is None)
        ):
            return array
    values = column.to_list()
    array = np.empty(len(values), dtype=object)
    array[:] = [_present(value) for value in values]
    return array


def _present(value: Any) -> Any:
    """Return a value of a row, None for a missing one."""
    return None if _is_missing(value) else value


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (type(value) is float and value != value)


def _values(series: Any) -> list[Any]:
    values = series.to_list() if hasattr(series, "to_list") else list(series)
    # A pandas series of mixed values, such as a row of a frame, holds NumPy's scalars.
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return [_present(value) for value in plain]


def _narwhals() -> Any:
    try:
        return import_module("narwhals.stable.v2")
    except ImportError as error:
        raise PipelineError("a data frame needs narwhals 2 or newer: pip install 'stretto[frames]'") from error
