"""Arrays that hold a row at each position: of numpy, of pandas (categories, texts, zones), and sparse tables of scipy.

What differs between them is here, so that a batch holds any of them as it came, without a copy.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Hashable, Sequence
from importlib import import_module
from typing import Any, TypeAlias, cast

import numpy as np

from stretto.batch.dates import dates
from stretto.errors import InputError

MOST_CELLS = 2**27
"""The most values of a sparse table that is made dense: a gigabyte of them."""


class ExtensionArray(metaclass=ABCMeta):
    """A column of a pandas data frame whose type numpy does not have; recognised without importing pandas."""

    @classmethod
    def __subclasshook__(cls, other: type, /) -> bool:
        """Return whether a class has what pandas asks of its arrays."""
        return hasattr(other, "_concat_same_type") and hasattr(other, "isna")

    tolist: Callable[[], list[Any]]
    to_numpy: Callable[..., np.ndarray]

    def __getitem__(self, at: Any) -> Any:
        """Return the value at a position, or an array of those in a slice or at several positions."""
        raise NotImplementedError


class SparseTable(metaclass=ABCMeta):
    """A sparse matrix or array of scipy."""

    @classmethod
    def __subclasshook__(cls, other: type, /) -> bool:
        """Return whether a class is one of scipy's sparse ones."""
        return hasattr(other, "tocsr") and hasattr(other, "nnz")

    shape: tuple[int, int]
    data: np.ndarray
    toarray: Callable[[], np.ndarray]

    def __getitem__(self, at: Any) -> Any:
        """Return the rows of a slice or at several positions."""
        raise NotImplementedError


Array: TypeAlias = np.ndarray | ExtensionArray | SparseTable


def is_array(x: Any) -> bool:
    """Return whether `x` is an array of any of these kinds."""
    return isinstance(x, np.ndarray | ExtensionArray | SparseTable)


def size(array: Any) -> int:
    """Return the number of rows."""
    return cast("Any", array).shape[0] if isinstance(array, SparseTable) else len(array)


def take(array: Any, rows: Sequence[int]) -> Any:
    """Return the rows at these positions."""
    return array[np.asarray(rows, dtype=np.intp)]


def form(array: Any) -> Hashable:
    """Return a value that is equal for arrays whose rows fit in one."""
    if isinstance(array, np.ndarray):
        # The width of strings comes from the longest one at hand.
        return array.dtype.kind if array.dtype.kind in "SU" else array.dtype, array.shape[1:]
    return type(array), array.dtype, array.shape[1:]


def joined(arrays: Sequence[Any]) -> Any:
    """Return the rows of arrays of one form, one array after the other."""
    first = arrays[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(arrays)
    if isinstance(first, SparseTable):
        return import_module("scipy.sparse").vstack(arrays, format="csr")
    return cast("Any", type(first))._concat_same_type(arrays)


def spread(array: Any, count: int, positions: Sequence[int]) -> Any:
    """Return `count` rows, with those of the array at these positions, and anything of their type elsewhere."""
    if isinstance(array, np.ndarray):
        wide = np.zeros((count, *array.shape[1:]), dtype=array.dtype)
        wide[positions] = array
        return wide
    source = np.zeros(count, dtype=np.intp)
    source[positions] = np.arange(size(array))
    return array[source]


def rows(array: Any) -> list[Any]:
    """Return each row: a Python value, a pandas scalar where Python has none, or a row of a table as an array."""
    if isinstance(array, np.ndarray):
        if array.ndim > 1:
            return list(array)
        return dates(array) if array.dtype.kind in "mM" else array.tolist()
    return list(dense(array)) if isinstance(array, SparseTable) else array.tolist()


def dense(table: SparseTable) -> np.ndarray:
    """Return a sparse table with all of its zeros.

    Raises:
        InputError: it has too many: a few bytes can say that there are terabytes of them.
    """
    rows, columns = table.shape
    if rows * columns > MOST_CELLS:
        raise InputError(
            f"a sparse table of {rows} rows and {columns} columns is too large where each value is needed",
            expected=f"at most {MOST_CELLS} values",
        )
    return table.toarray()


def plain(array: Any) -> Any:
    """Return an array as numpy has it: objects for what only pandas has a type for."""
    return array.to_numpy(dtype=object) if isinstance(array, ExtensionArray) else array
