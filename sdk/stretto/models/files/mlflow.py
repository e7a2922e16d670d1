"""Models that MLflow saved: a folder with a file ``MLmodel`` that says what is in it.

Stretto reads the folder itself, with its own rules of trust; MLflow is loaded only for what it alone can run.
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
from stretto.models.files.once import needed

DESCRIPTION: Final = "MLmodel"


@dataclass(frozen=True, slots=True)
class Folder:
    """What ``MLmodel`` says: the model's file, None where only MLflow runs it, and the names of its inputs."""

    path: Path
    file: Path | None
    features: tuple[str, ...] | None


def is_mlflow(path: Path) -> bool:
    """Return whether a path is a folder that MLflow saved a model in, or the file that describes it."""
    return (path / DESCRIPTION).is_file()


def read_folder(path: Path) -> Folder:
    """Read what is in the folder of a model.

    Raises:
        ModelError: ``MLmodel`` can't be read, or what it names is not there.
    """
    yaml: Any = needed("yaml", "mlflow", "an MLflow model folder")
    description = path / DESCRIPTION
    try:
        said = yaml.safe_load(description.read_text())
        flavors = cast("Mapping[str, Any]", said["flavors"])
        features = _features(said.get("signature"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        kind = type(error).__name__
        raise ModelError(
            f"can't read {description.absolute()}: it is no description of a model ({kind}: {error})"
        ) from error
    match flavors:
        case {"sklearn": {"pickled_model": str(name)}} | {"onnx": {"data": str(name)}}:
            file = path / name
        case {"python_function": _}:
            return Folder(path, None, features)
        case _:
            known = ", ".join(flavors)
            raise ModelError(
                f"{path.absolute()} has the flavors {known}; those read here are sklearn, onnx and python_function"
            )
    if not file.resolve().is_relative_to(path.resolve()):
        raise ModelError(f"{description.absolute()} names {name!r}, which is outside the folder: nothing there is read")
    return Folder(path, file, features)


def _features(signature: Any) -> tuple[str, ...] | None:
    inputs = json.loads(signature["inputs"]) if signature and signature.get("inputs") else []
    names = tuple(each.get("name") for each in inputs)
    return names if names and all(isinstance(name, str) for name in names) else None


class PythonFunction:
    """A model that MLflow runs, as it runs any: `predict` gives it a data frame where the inputs have names."""

    def __init__(self, path: str, features: tuple[str, ...] | None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of its own type hints when it is imported
            pyfunc: Any = needed("mlflow.pyfunc", "mlflow", "an MLflow model of flavor python_function")
        self._path = path
        self._features = features
        self._model = pyfunc.load_model(path)
        if features is not None:
            self.n_features_in_ = len(features)

    def __reduce__(self) -> tuple[Any, ...]:
        return PythonFunction, (self._path, self._features)

    def __repr__(self) -> str:
        return f"PythonFunction({self._path!r})"

    def predict(self, table: np.ndarray) -> Any:
        """Return an answer a row."""
        if self._features is None:
            return np.asarray(self._model.predict(table))
        pandas: Any = needed("pandas", "mlflow", "an MLflow model with named inputs")
        answers = np.asarray(self._model.predict(pandas.DataFrame(table, columns=list(self._features))))
        return answers.ravel() if answers.shape == (len(table), 1) else answers
