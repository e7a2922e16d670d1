"""Models that MLflow saved: a folder with a file ``MLmodel`` that describes its content, and their signatures.

Stretto reads the folder itself, with its own rules of trust; MLflow is imported only for models that it alone can run.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from stretto.errors import ModelError
from stretto.models.extras import import_extra
from stretto.models.signature import Column, Signature

DESCRIPTION: Final = "MLmodel"

TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "boolean": ("bool",),
    "integer": ("int32",),
    "long": ("int64",),
    "float": ("float32",),
    "double": ("float64",),
    "string": ("object", "str"),
    "binary": ("object", "bytes"),
    "datetime": ("datetime64[ns]",),
    "any": ("",),
}
"""Types of MLflow's columns as those of a signature: the type, and what it holds; other columns hold objects."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder: the file of its model, None where only MLflow can run it, and its signature."""

    path: Path
    file: Path | None
    signature: Signature | None

    @property
    def features(self) -> tuple[str, ...] | None:
        """The names of its inputs."""
        return self.signature and self.signature.names


def is_mlflow(path: Path) -> bool:
    """Return whether a path is a folder that MLflow saved a model in."""
    return (path / DESCRIPTION).is_file()


def read_folder(path: Path) -> Folder:
    """Read the description in the folder of a model.

    Raises:
        ModelError: ``MLmodel`` can't be read, or what it names is not there.
    """
    yaml: Any = import_extra("yaml", "mlflow", "an MLflow model folder")
    description = path / DESCRIPTION
    try:
        content = yaml.safe_load(description.read_text())
        flavors = cast("Mapping[str, Any]", content["flavors"])
        signature = _signature(content.get("signature"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        kind = type(error).__name__
        raise ModelError(
            f"can't read {description.absolute()}: it is no description of a model ({kind}: {error})"
        ) from error
    match flavors:
        case {"sklearn": {"pickled_model": str(name)}} | {"onnx": {"data": str(name)}}:
            file = path / name
        case {"python_function": _}:
            return Folder(path, None, signature)
        case _:
            known = ", ".join(flavors)
            raise ModelError(
                f"{path.absolute()} has the flavors {known}; those read here are sklearn, onnx and python_function"
            )
    if not file.resolve().is_relative_to(path.resolve()):
        raise ModelError(f"{description.absolute()} names {name!r}, which is outside the folder: nothing there is read")
    return Folder(path, file, signature)


def _signature(described: Any) -> Signature | None:
    """Return the signature in the description of a model, None where it has none or one that no table fits."""
    inputs: list[Mapping[str, Any]] = json.loads(described["inputs"]) if described and described.get("inputs") else []
    if not inputs:
        return None
    names = [each.get("name") for each in inputs]
    named = all(isinstance(name, str) for name in names)
    shapes = [tuple(each["tensor-spec"]["shape"][1:]) for each in inputs if each["type"] == "tensor"]
    if not shapes:
        columns = tuple(_column(each, each.get("name") if named else None) for each in inputs)
        return Signature(columns, "frame" if named else "values" if len(columns) == 1 else "array")
    types = [str(each["tensor-spec"]["dtype"]) for each in inputs if each["type"] == "tensor"]
    if named and len(shapes) == len(inputs) and set(shapes) <= {(), (1,)}:
        return Signature(tuple(Column(name, kind) for name, kind in zip(names, types, strict=True)), "frame")
    if len(inputs) == 1 and not named and len(shapes[0]) < 2 and shapes[0] != (-1,):
        return Signature((Column(None, types[0]),) * (shapes[0] or (1,))[0], "array" if shapes[0] else "values")
    return None


def _column(described: Mapping[str, Any], name: str | None) -> Column:
    dtype, *holds = TYPES.get(described["type"], ("object",))
    missing = not described.get("required", not described.get("optional", False))
    return Column(name, dtype, tuple(holds), missing=missing)


class PythonFunction:
    """A model that MLflow runs, on data frames with the types of its signature where its inputs have names."""

    def __init__(self, path: str, signature: Signature | None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of its own type hints when it is imported
            pyfunc: Any = import_extra("mlflow.pyfunc", "mlflow", "an MLflow model of flavor python_function")
        self._path = path
        self._signature = signature
        self._model = pyfunc.load_model(path)
        if signature is not None:
            self.n_features_in_ = len(signature.columns)

    def __reduce__(self) -> tuple[Any, ...]:
        return PythonFunction, (self._path, self._signature)

    def __repr__(self) -> str:
        return f"PythonFunction({self._path!r})"

    def predict(self, table: Any) -> Any:
        """Return an answer for each row of a data frame, an array, or a dict of columns."""
        answers = self._model.predict(self._typed(table))
        if getattr(answers, "ndim", 1) == 2 and hasattr(answers, "iloc") and answers.shape[1] > 1:
            return answers
        answers = np.asarray(answers)
        return answers.ravel() if answers.shape == (len(answers), 1) and self._signature is not None else answers

    def _typed(self, table: Any) -> Any:
        signature = self._signature
        if signature is None:
            return table
        if signature.form != "frame":
            return np.asarray(table, dtype=signature.columns[0].dtype or None)
        pandas: Any = import_extra("pandas", "mlflow", "an MLflow model with named inputs")
        names = list(cast("tuple[str, ...]", signature.names))
        if isinstance(table, dict) or hasattr(table, "columns"):
            frame = pandas.DataFrame(table)
            frame = frame[[name for name in names if name in frame.columns]]
        else:
            frame = pandas.DataFrame(np.asarray(table), columns=names)
        known = dict(zip(names, signature.columns, strict=True))
        typed = {name: _cast(pandas, frame[name], known[name].dtype) for name in frame.columns}
        return pandas.DataFrame(typed, index=frame.index)


def _cast(pandas: Any, series: Any, dtype: str) -> Any:
    """Return a column with a type, or as it is where that would change a value: MLflow says what it does not take."""
    if str(series.dtype) == dtype or dtype in ("", "object"):
        return series
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # numpy only warns of a number that does not fit
            if dtype.startswith("datetime64"):
                return series if series.dtype.kind == "M" else pandas.to_datetime(series)
            known = series.infer_objects() if series.dtype == object else series
            changed = known.astype(dtype)
            same = dtype == "float32" or bool((changed == known).all())
    except (TypeError, ValueError, OverflowError, RuntimeWarning):
        return series
    return changed if same else known
