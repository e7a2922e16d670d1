"""Saved models: the estimator with its labels and the names of its features, in one file.

A ``.skops`` file is a zip archive without code; the labels and names stand in it beside the estimator, as
``stretto.json``, so that `skops.io.load` still reads it. Pickles (``.joblib``, ``.pkl``) run whatever they hold as they
are read. ``.onnx`` files and MLflow's folders are read, and not written.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast
from uuid import uuid4

import msgspec

from stretto.errors import ModelError
from stretto.models.engines import find_engine
from stretto.models.estimator import check_usable, feature_names
from stretto.models.files.mlflow import Folder, PythonFunction, is_mlflow, read_folder
from stretto.models.files.versions import of_this_version
from stretto.models.labels import check_labels, check_there, read_labels

Trust: TypeAlias = bool | Sequence[str]
_SUFFIXES: Final = (".skops", ".joblib", ".pkl", ".pickle")
_ONNX: Final = ".onnx"
_BESIDE: Final = "stretto.json"


@dataclass(frozen=True)
class SavedModel:
    """A model read from a file: the estimator, the labels of its classes and the names of its features, in order."""

    estimator: Any
    labels: tuple[Any, ...] | None = None
    features: tuple[str, ...] | None = None


def save_model(estimator: Any, path: str | os.PathLike[str], *, labels: Any = None, features: Any = None) -> Path:
    """Write a fitted estimator with its labels and feature names to `path`, and give the path.

    The format follows the suffix: ``.skops`` (recommended: reading it runs no code), ``.joblib``, ``.pkl`` or
    ``.pickle``. `labels`, a list, an array or the path of a JSON file, name the classes in the order of ``classes_``;
    `features` the columns of an estimator that was fitted without names. A file that is there is replaced as a whole,
    or not at all.

    Raises:
        ModelError: the estimator is not fitted or can't be written so, labels or names don't fit, or there is no such
            directory or format.

    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> iris = load_iris()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_model(SVC().fit(iris.data, iris.target), f"{folder}/svm.skops", labels=iris.target_names)
    ...     load_model(path)
    SavedModel(estimator=SVC(), labels=('setosa', 'versicolor', 'virginica'), features=None)
    """
    path = Path(path).expanduser()
    suffix = _format(path)
    check_usable(estimator)
    names = None if features is None else feature_names(estimator, features)[0]
    model = SavedModel(estimator, read_labels(labels), names)
    if model.labels is not None:
        check_labels(estimator, model.labels)
    if not path.parent.is_dir():
        raise ModelError(
            f"can't save {path.absolute()}: there is no directory {path.parent.absolute()}; create it first"
        )
    try:
        _replace(path, lambda file: _write(model, file, suffix))
    except Exception as error:
        hint = "; .joblib takes more kinds of objects" if suffix == ".skops" and not isinstance(error, OSError) else ""
        raise ModelError(f"can't save {path.absolute()}: {_said(error)}{hint}") from error
    return path


def load_model(
    path: str | os.PathLike[str], *, trusted: Trust = False, strict: bool = False, mmap: bool = False
) -> SavedModel:
    """Read a model that `save_model` wrote, a file that holds nothing but an estimator, or what others saved.

    A ``.skops`` file loads when skops knows all its types as safe; others are allowed by ``trusted=["module.Type"]``,
    or all of them by ``trusted=True``. ``.joblib``, ``.pkl`` and ``.pickle`` run whatever they hold, and are read with
    ``trusted=True`` only. An ``.onnx`` file holds no code. A folder that MLflow saved a model in is read by what is in
    it. A model that another scikit-learn saved is warned of; with `strict` it is refused. With `mmap` the arrays of a
    ``.joblib`` file stay in the file, and processes of a machine share them: such a file must never be written to
    again, only replaced as a whole, as `save_model` does.

    Raises:
        ModelError: the file is not there, is damaged, is no model, holds what is not trusted, or was saved by another
            scikit-learn and it is to be `strict`.
    """
    path = Path(path).expanduser()
    if is_mlflow(path):
        return _of_folder(read_folder(path), trusted, strict=strict, mmap=mmap)
    check_there(path)
    suffix = _format(path, (*_SUFFIXES, _ONNX))
    if suffix not in (".skops", _ONNX):
        _check_trusted(path, "a pickle", trusted)
    if mmap and suffix != ".joblib":
        raise ModelError(f"mmap=True is for .joblib files, and not for {path.absolute()}: save it as .joblib")
    try:
        with of_this_version(path, strict=strict):
            model = _read(path, suffix, trusted, mmap=mmap)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"can't read {path.absolute()}: {_diagnosis(path, suffix)} ({_said(error)})") from error
    try:
        check_usable(model.estimator)
    except ModelError as error:
        raise ModelError(f"{path.absolute()}: {error}") from error
    return model


def _check_trusted(path: Path, what: str, trusted: Trust) -> None:
    if trusted is not True:
        raise ModelError(
            f"{path.absolute()} is {what}, which can run any code as it is read. If you know who wrote it, pass "
            "trusted=True; better, save the model as .skops"
        )


def _of_folder(folder: Folder, trusted: Trust, *, strict: bool, mmap: bool) -> SavedModel:
    if folder.file is not None:
        model = load_model(folder.file, trusted=trusted, strict=strict, mmap=mmap)
        # Of names that it was fitted with the estimator knows the order, and a signature need not.
        own = model.features or folder.features if not hasattr(model.estimator, "feature_names_in_") else None
        return replace(model, features=own)
    _check_trusted(folder.path, "an MLflow model of flavor python_function", trusted)
    try:
        return SavedModel(PythonFunction(str(folder.path), folder.features), None, folder.features)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"MLflow can't load {folder.path.absolute()}: {_said(error)}") from error


def _read(path: Path, suffix: str, trusted: Trust, *, mmap: bool) -> SavedModel:
    if suffix == ".skops":
        return _read_skops(path, trusted)
    if suffix == _ONNX:
        estimator, features = find_engine("onnx").read(path)
        return SavedModel(estimator, None, features)
    return _read_pickle(path, mmap=mmap)


def _format(path: Path, formats: Sequence[str] = _SUFFIXES) -> str:
    suffix = path.suffix.lower()
    if suffix not in formats:
        known = ", ".join(formats)
        raise ModelError(f"{path.absolute()} has no known suffix: a saved model ends in one of {known}")
    return suffix


def _replace(path: Path, write: Callable[[BinaryIO], None]) -> None:
    # Whoever reads the file meanwhile, or after a crash, finds the old one or the new one whole.
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with draft.open("x+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def _write(model: SavedModel, file: BinaryIO, suffix: str) -> None:
    beside = {"labels": model.labels, "features": model.features}
    if suffix == ".skops":
        import skops.io

        skops.io.dump(model.estimator, file)
        if beside != {"labels": None, "features": None}:
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(_BESIDE, msgspec.json.encode(beside))
        return
    content = {"estimator": model.estimator, **beside}
    if suffix == ".joblib":
        import joblib

        joblib.dump(content, file)
    else:
        pickle.dump(content, file, protocol=pickle.HIGHEST_PROTOCOL)


def _read_skops(path: Path, trusted: Trust) -> SavedModel:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    if isinstance(trusted, bool):
        allowed = skops.io.get_untrusted_types(file=path) if trusted else []
    else:
        allowed = [trusted] if isinstance(trusted, str) else list(trusted)
    try:
        estimator = skops.io.load(path, trusted=allowed)
    except UntrustedTypesFoundException as error:
        found = [each for each in skops.io.get_untrusted_types(file=path) if each not in allowed]
        raise ModelError(
            f"{path.absolute()} holds types that are not known to be safe: {', '.join(found)}. "
            f"If you know who wrote it, pass trusted={[*allowed, *found]}, or trusted=True"
        ) from error
    with zipfile.ZipFile(path) as archive:
        beside = archive.read(_BESIDE) if _BESIDE in archive.namelist() else b"{}"
    stored = msgspec.json.decode(beside, type=dict[str, list[Any] | None])
    return _saved({"estimator": estimator, **stored})


def _read_pickle(path: Path, *, mmap: bool) -> SavedModel:
    import joblib

    # It reads what pickle wrote too, and a .pkl may come from either. Pages are shared until they are written to, which
    # "c" allows: some estimators refuse arrays that are read-only.
    content = joblib.load(path, mmap_mode="c" if mmap else None)
    return _saved(cast("dict[str, Any]", content) if _is_ours(content) else {"estimator": content})


def _is_ours(content: Any) -> bool:
    return isinstance(content, dict) and content.keys() == {"estimator", "labels", "features"}


def _saved(content: dict[str, Any]) -> SavedModel:
    labels, features = content.get("labels"), content.get("features")
    return SavedModel(content["estimator"], labels and tuple(labels), features and tuple(features))


def _diagnosis(path: Path, suffix: str) -> str:
    """Return what may be wrong with a file that can't be read, from how it begins."""
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        return "it is empty"
    if suffix == _ONNX:
        return "it is no ONNX file, is cut short, or keeps numbers in other files"
    zipped, pickled = start == b"PK\x03\x04", start[:1] == b"\x80"
    if suffix == ".skops" and pickled:
        return "it is a pickle, not a skops file; name it .pkl or .joblib"
    if suffix != ".skops" and zipped:
        return "it is a zip archive, not a pickle; if skops wrote it, name it .skops"
    if suffix == ".skops" and not zipped:
        return "it is no skops file"
    return "it is damaged or cut short, or was written by other versions"


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
