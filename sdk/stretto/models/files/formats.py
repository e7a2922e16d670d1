"""Saved models: an estimator with its labels and the names of its features in one file.

A ``.skops`` file is a zip archive without code; the labels and names are in it as ``stretto.json``, next to the
estimator, so that `skops.io.load` still reads it. Pickles (``.joblib``, ``.pkl``) run code when they are read.
``.onnx`` files and folders of MLflow's are read, but not written.
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
from stretto.models.files.paths import check_file
from stretto.models.files.versions import checked_version
from stretto.models.labels import check_labels, read_labels

Trust: TypeAlias = bool | Sequence[str]
_SUFFIXES: Final = (".skops", ".joblib", ".pkl", ".pickle")
_ONNX: Final = ".onnx"
_EXTRAS: Final = "stretto.json"


@dataclass(frozen=True)
class LoadOptions:
    """How a file is read; see `load_model`."""

    trusted: Trust = False
    strict: bool = False
    mmap: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.trusted, bool):
            types = (self.trusted,) if isinstance(self.trusted, str) else tuple(self.trusted)
            object.__setattr__(self, "trusted", types)


@dataclass(frozen=True)
class SavedModel:
    """A model read from a file: the estimator, the labels of its classes and the names of its features, in order."""

    estimator: Any
    labels: tuple[Any, ...] | None = None
    features: tuple[str, ...] | None = None


def save_model(estimator: Any, path: str | os.PathLike[str], *, labels: Any = None, features: Any = None) -> Path:
    """Write a fitted estimator with its labels and feature names to `path`, and return the path.

    The format follows the suffix: ``.skops`` (recommended: reading it runs no code), ``.joblib``, ``.pkl`` or
    ``.pickle``. `labels`, a list, an array or the path of a JSON file, name the classes in the order of ``classes_``;
    `features` name the columns of an estimator that was fitted without names. A file at `path` is replaced as a whole,
    or not at all.

    Raises:
        ModelError: the estimator is not fitted, the format can't hold it, labels or names don't fit it, or there is no
            such directory or format.

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
        raise ModelError(f"can't save {path.absolute()}: {_text(error)}{hint}") from error
    return path


def load_model(
    path: str | os.PathLike[str], *, trusted: Trust = False, strict: bool = False, mmap: bool = False
) -> SavedModel:
    """Read a model that `save_model` wrote, a file of an estimator alone, an ``.onnx`` file or a folder of MLflow's.

    A ``.skops`` file loads if skops knows all its types to be safe; ``trusted=["module.Type"]`` allows others, and
    ``trusted=True`` all of them. ``.joblib``, ``.pkl`` and ``.pickle`` can run any code, and are read with
    ``trusted=True`` only. An ``.onnx`` file holds no code. A folder of MLflow's is read by the file in it. A model that
    another version of scikit-learn saved loads with a warning; with `strict` it is an error. With `mmap` the arrays of
    a ``.joblib`` file stay in the file, and the processes of a machine share them: such a file must never be written to
    again, only replaced as a whole, as `save_model` does.

    Raises:
        ModelError: the file is not there, is damaged, is no model or is not trusted, or with `strict` another version
            of scikit-learn saved it.
    """
    path, options = Path(path).expanduser(), LoadOptions(trusted, strict, mmap)
    if is_mlflow(path):
        return _of_folder(read_folder(path), options)
    check_file(path)
    suffix = _format(path, (*_SUFFIXES, _ONNX))
    if suffix not in (".skops", _ONNX):
        _check_trusted(path, "a pickle", options)
    if mmap and suffix != ".joblib":
        raise ModelError(f"mmap=True is for .joblib files, and not for {path.absolute()}: save it as .joblib")
    try:
        with checked_version(path, strict=strict):
            model = _read(path, suffix, options)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"can't read {path.absolute()}: {_diagnosis(path, suffix)} ({_text(error)})") from error
    try:
        check_usable(model.estimator)
    except ModelError as error:
        raise ModelError(f"{path.absolute()}: {error}") from error
    return model


def _check_trusted(path: Path, what: str, options: LoadOptions) -> None:
    if options.trusted is not True:
        raise ModelError(
            f"{path.absolute()} is {what}, which can run any code as it is read. If you know who wrote it, pass "
            "trusted=True; better, save the model as .skops"
        )


def _of_folder(folder: Folder, options: LoadOptions) -> SavedModel:
    if folder.file is not None:
        model = load_model(folder.file, trusted=options.trusted, strict=options.strict, mmap=options.mmap)
        # An estimator that was fitted with names knows their order better than a signature.
        named = hasattr(model.estimator, "feature_names_in_")
        return replace(model, features=None if named else model.features or folder.features)
    _check_trusted(folder.path, "an MLflow model of flavor python_function", options)
    try:
        return SavedModel(PythonFunction(str(folder.path), folder.features), None, folder.features)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"MLflow can't load {folder.path.absolute()}: {_text(error)}") from error


def _read(path: Path, suffix: str, options: LoadOptions) -> SavedModel:
    if suffix == ".skops":
        return _read_skops(path, options.trusted)
    if suffix == _ONNX:
        estimator, features = find_engine("onnx").read(path)
        return SavedModel(estimator, None, features)
    return _read_pickle(path, mmap=options.mmap)


def _format(path: Path, formats: Sequence[str] = _SUFFIXES) -> str:
    suffix = path.suffix.lower()
    if suffix not in formats:
        known = ", ".join(formats)
        raise ModelError(f"{path.absolute()} has no known suffix: a saved model ends in one of {known}")
    return suffix


def _replace(path: Path, write: Callable[[BinaryIO], None]) -> None:
    # A reader finds the old file or the new one as a whole, also after a crash.
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
    extras = {"labels": model.labels, "features": model.features}
    if suffix == ".skops":
        import skops.io

        skops.io.dump(model.estimator, file)
        if any(each is not None for each in extras.values()):
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(_EXTRAS, msgspec.json.encode(extras))
        return
    content = {"estimator": model.estimator, **extras}
    if suffix == ".joblib":
        import joblib

        joblib.dump(content, file)
    else:
        pickle.dump(content, file, protocol=pickle.HIGHEST_PROTOCOL)


def _read_skops(path: Path, trusted: Trust) -> SavedModel:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    allowed = list(trusted) if not isinstance(trusted, bool) else []
    if trusted is True:
        allowed = skops.io.get_untrusted_types(file=path)
    try:
        estimator = skops.io.load(path, trusted=allowed)
    except UntrustedTypesFoundException as error:
        found = [each for each in skops.io.get_untrusted_types(file=path) if each not in allowed]
        raise ModelError(
            f"{path.absolute()} holds types that are not known to be safe: {', '.join(found)}. "
            f"If you know who wrote it, pass trusted={[*allowed, *found]}, or trusted=True"
        ) from error
    with zipfile.ZipFile(path) as archive:
        extras = archive.read(_EXTRAS) if _EXTRAS in archive.namelist() else b"{}"
    return _saved({"estimator": estimator, **msgspec.json.decode(extras, type=dict[str, list[Any] | None])})


def _read_pickle(path: Path, *, mmap: bool) -> SavedModel:
    import joblib

    # joblib reads pickles too, and a .pkl may be either. With "c" (copy on write) pages are shared until they are
    # written to: some estimators fail on read-only arrays.
    content = joblib.load(path, mmap_mode="c" if mmap else None)
    return _saved(cast("dict[str, Any]", content) if _is_ours(content) else {"estimator": content})


def _is_ours(content: Any) -> bool:
    return isinstance(content, dict) and content.keys() == {"estimator", "labels", "features"}


def _saved(content: dict[str, Any]) -> SavedModel:
    labels, features = content.get("labels"), content.get("features")
    return SavedModel(content["estimator"], labels and tuple(labels), features and tuple(features))


def _diagnosis(path: Path, suffix: str) -> str:
    """Return what is probably wrong with a file that can't be read, judging by its first bytes."""
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


def _text(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
