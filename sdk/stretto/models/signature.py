"""What a model takes, as recorded from the frame or array that its user passed: names, types, categories, ranges."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, Literal, cast

import msgspec
import numpy as np

from stretto.batch.frames import is_frame, is_pandas, is_series
from stretto.errors import ModelError
from stretto.models.extras import import_extra

SCANNED: Final = 1000
"""The values of a column of objects that its types are read from."""

_MLFLOW_TYPES: Final = {
    "boolean": ("bool",),
    "integer": ("int8", "int16", "int32", "uint8", "uint16"),
    "long": ("int64", "uint32", "uint64"),
    "float": ("float16", "float32"),
    "double": ("float64",),
    "binary": ("|s",),
    "datetime": ("datetime64",),
}
_MLFLOW_OBJECTS: Final = {
    "boolean": (("bool",),),
    "long": (("int",),),
    "double": (("float",), ("Decimal",)),
    "binary": (("bytes",), ("bytearray",)),
    "datetime": (("date",), ("datetime",), ("Timestamp",)),
}
"""How types of columns begin, and what columns of objects hold, by MLflow's type."""


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column of a model's input.

    Attributes:
        name: Its name; None in an array without names.
        dtype: Its type, as pandas and numpy write it: ``"int64"``, ``"category"``, ``"datetime64[us, UTC]"``; the empty
            string where nobody recorded it.
        holds: The Python types of its values, where `dtype` is ``"object"``: ``("str",)``, ``("Decimal",)``.
        categories: The categories of a column of categories, in order; dates among them as ISO 8601.
        category_dtype: The type of the categories.
        ordered: Whether the categories have an order.
        missing: Whether values were missing.
        low: The least value, of numbers and dates (as ISO 8601) alone.
        high: The largest value.
    """

    name: str | int | tuple[str | int, ...] | None = None
    dtype: str = ""
    holds: tuple[str, ...] = ()
    categories: tuple[Any, ...] | None = None
    category_dtype: str = ""
    ordered: bool = False
    missing: bool = False
    low: int | float | str | None = None
    high: int | float | str | None = None

    @property
    def label(self) -> str:
        """Its name as text, as JSON and errors have it."""
        return "" if self.name is None else str(self.name)

    @property
    def is_text(self) -> bool:
        """Whether its values are texts."""
        return self.dtype in ("str", "string") or self.dtype.startswith("string[") or self.holds == ("str",)

    def __str__(self) -> str:
        kind = self.dtype or "any type"
        if self.categories is not None:
            kind = f"category of {len(self.categories)}{' in order' if self.ordered else ''}"
        elif self.holds:
            kind = f"{self.dtype} ({', '.join(self.holds)})"
        span = "" if self.low is None else f", {self.low} to {self.high}"
        return f"{self.label}: {kind}{span}{', may be missing' if self.missing else ''}".removeprefix(": ")


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model takes: its columns in order, and the form in which the estimator was given them.

    Attributes:
        columns: The columns, in the order of the features; a single one where a row is one value.
        form: ``"frame"``, ``"array"`` of shape (n_rows, n_features), or ``"values"``: one value a row, such as a text.

    >>> print(Signature.of(np.array([[1, 2], [3, 5]]), ["length", "width"]))
    array of 2 columns
      length: int64, 1 to 3
      width: int64, 2 to 5
    """

    columns: tuple[Column, ...]
    form: Literal["frame", "array", "values"] = "array"

    @classmethod
    def of(cls, rows: Any, names: Sequence[str] | None = None) -> Signature:
        """Return the signature of a data frame, of an array, or of a list or series with one value a row.

        Frames of polars, pyarrow and others are recorded as the pandas frame that they convert to. `names` are those
        of an array's columns.

        Raises:
            ModelError: it is none of these, has no columns, two of one name, or other than `names`.
        """
        if is_frame(rows):
            return cls(tuple(_columns(as_pandas(rows))), "frame")
        if is_series(rows) or (isinstance(rows, list | np.ndarray) and np.ndim(cast("Any", rows)) == 1):
            return cls((_column(None, _series(rows)),), "values")
        table = np.asarray(rows)
        if table.ndim != 2 or not table.shape[1]:
            raise ModelError(
                f"features= has an array of shape {table.shape}: pass a data frame, an array of shape (n_rows, "
                "n_features), or names"
            )
        if names is not None and len(names) != table.shape[1]:
            raise ModelError(f"there are {len(names)} names for an array of {table.shape[1]} columns")
        given = list(names) if names is not None else [None] * table.shape[1]
        return cls(tuple(_column(name, _series(table[:, at])) for at, name in enumerate(given)), "array")

    @classmethod
    def named(cls, names: Sequence[str]) -> Signature:
        """Return the signature of which only the names are known."""
        return cls(tuple(Column(name) for name in names), "frame")

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the columns as text, None where they have none."""
        return None if any(each.name is None for each in self.columns) else tuple(each.label for each in self.columns)

    @property
    def is_typed(self) -> bool:
        """Whether the types of the columns are known."""
        return all(each.dtype for each in self.columns)

    def ordered(self, names: Sequence[str] | None) -> Signature | None:
        """Return it with its columns in the order of `names`, None where it has others; itself without names."""
        if names is None:
            return self
        known = {each.label: each for each in self.columns}
        if known.keys() != set(names) or len(known) != len(self.columns):
            return None
        return Signature(tuple(known[name] for name in names), self.form)

    def to_mlflow(self) -> Any:
        """Return it as a `mlflow.models.ModelSignature`, for ``log_model(signature=)``.

        MLflow has fewer types: categories become what they are categories of, ranges are left out, and columns with
        missing values are optional.

        Raises:
            ModelError: MLflow is not installed, or has no type for a column.
        """
        models: Any = import_extra("mlflow.models", "mlflow", "a signature of MLflow's")
        types: Any = import_extra("mlflow.types", "mlflow", "a signature of MLflow's")
        dtypes = {each.dtype for each in self.columns}
        if self.form == "array" and len(dtypes) == 1 and self.names is None:
            spec = types.TensorSpec(np.dtype(dtypes.pop()), (-1, len(self.columns)))
            return models.ModelSignature(types.Schema([spec]))
        names = self.names or (None,) * len(self.columns)
        columns = [
            types.ColSpec(types.DataType[_mlflow_type(each)], name, required=not each.missing)
            for each, name in zip(self.columns, names, strict=True)
        ]
        return models.ModelSignature(types.Schema(columns))

    def encode(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, text: bytes | str) -> Signature:
        """Return the signature that `encode` wrote.

        Raises:
            ModelError: it is none.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise ModelError(f"this is no signature of a model: {error}") from error

    def __str__(self) -> str:
        count = f"{len(self.columns)} column{'s' if len(self.columns) != 1 else ''}"
        head = "one value a row" if self.form == "values" else f"{self.form} of {count}"
        return "\n  ".join((head, *map(str, self.columns)))


def _mlflow_type(column: Column) -> str:
    dtype = column.category_dtype if column.categories is not None else column.dtype
    if column.is_text or dtype == "str":
        return "string"
    kind = dtype.lower()
    for name, start in _MLFLOW_TYPES.items():
        if kind.startswith(start) or column.holds in _MLFLOW_OBJECTS.get(name, ()):
            return name
    raise ModelError(f"MLflow has no type for the column {column}")


def as_pandas(frame: Any) -> Any:
    """Return a data frame of any library as one of pandas; one of pandas as it is.

    Raises:
        ModelError: it is lazy, or what converts it is not installed.
    """
    if is_pandas(frame):
        return frame
    try:
        return import_module("narwhals.stable.v2").from_native(frame, eager_only=True).to_pandas()
    except ImportError as error:
        raise ModelError(f"a {type(frame).__module__} frame needs pandas, narwhals and pyarrow: {error}") from error
    except TypeError as error:
        raise ModelError(f"a {type(frame).__name__} is lazy: collect() it first") from error


def _columns(frame: Any) -> list[Column]:
    names = frame.columns.tolist()
    if not names:
        raise ModelError("the data frame in features= has no columns")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ModelError(f"the data frame in features= has two columns {twice!r}: a row could name only one of them")
    return [_column(name, frame.iloc[:, at]) for at, name in enumerate(names)]


def _series(values: Any) -> Any:
    try:
        return import_module("pandas").Series(values)
    except ImportError as error:
        raise ModelError("recording a signature needs pandas: pip install pandas") from error


def _column(name: Any, series: Any) -> Column:
    dtype, missing = series.dtype, bool(series.isna().any())
    if hasattr(dtype, "categories"):
        categories = dtype.categories
        kind = _named(categories.dtype)
        return Column(name, "category", (), tuple(map(_plain, categories.tolist())), kind, bool(dtype.ordered), missing)
    known = series.dropna()
    if dtype.kind == "O" and str(dtype) == "object":
        holds = tuple(sorted({type(each).__name__ for each in known.iloc[:SCANNED]}))
        return Column(name, "object", holds, missing=missing)
    if getattr(dtype, "kind", "O") in "iufmM" and len(known):
        return Column(name, _named(dtype), missing=missing, low=_plain(known.min()), high=_plain(known.max()))
    return Column(name, _named(dtype), missing=missing)


def _named(dtype: Any) -> str:
    """Return a type as text that `pandas.Series(dtype=)` takes."""
    if type(dtype).__name__ == "StringDtype":
        # Both kinds print alike, and differ in what a missing value is.
        return "str" if dtype.na_value is np.nan else "string"
    return str(dtype)


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float | bool | None) else str(value)
