"""Saved models: an estimator with its labels, names, signature and probes in one file.

A ``.skops`` file is a zip archive without code; what stands beside the estimator is in it as ``stretto.json``, so that
`skops.io.load` still reads it. Pickles (``.joblib``, ``.pkl``) run code when they are read. In ``.onnx`` files it is
metadata. Folders of MLflow's are read, but not written.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast
from uuid import uuid4

import msgspec
import numpy as np

from stretto.batch.frames import is_frame, is_series
from stretto.errors import Disagreement, ModelError
from stretto.models.engines import find_engine
from stretto.models.estimator import check_usable, feature_names
from stretto.models.files.archive import Word, read_archive, types_in
from stretto.models.files.contents import check_importable
from stretto.models.files.mlflow import Folder, PythonFunction, is_mlflow, read_folder
from stretto.models.files.paths import check_file
from stretto.models.files.probes import Probes
from stretto.models.files.record import KEY, MEMBER, Record
from stretto.models.files.registry import resolved
from stretto.models.files.versions import Versions, other_versions
from stretto.models.labels import check_labels, read_labels
from stretto.models.signature import Signature

Trust: TypeAlias = bool | str | os.PathLike[str] | Sequence[str]
_PICKLES: Final = (".joblib", ".pkl", ".pickle")
_ONNX: Final = ".onnx"
_SUFFIXES: Final = (".skops", *_PICKLES, _ONNX)


@dataclass(frozen=True)
class LoadOptions:
    """How a file is read; see `load_model`."""

    trusted: Trust = False
    strict: bool = False
    mmap: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "trusted", _trusted(self.trusted))


def _trusted(trusted: Trust) -> bool | tuple[str, ...]:
    if isinstance(trusted, bool):
        return trusted
    if not isinstance(trusted, str | os.PathLike):
        return tuple(trusted)
    text = os.fspath(trusted)
    if not text.endswith(".json"):
        return (text,)
    path = Path(text).expanduser()
    check_file(path, "list of trusted types")
    try:
        return tuple(msgspec.json.decode(path.read_bytes(), type=list[str]))
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(
            f"can't read trusted={text!r}: {error}; it should hold a JSON list of types, as stretto trust writes it"
        ) from error


@dataclass(frozen=True)
class SavedModel:
    """A model read from a file.

    Attributes:
        estimator: The fitted estimator.
        labels: The labels of its classes.
        features: The names of its features, in order.
        signature: What it takes: names, types, categories and ranges.
        note: What was found when it was read, for the plan's picture.
    """

    estimator: Any
    labels: tuple[Any, ...] | None = None
    features: tuple[str, ...] | None = None
    signature: Signature | None = field(default=None, repr=False)
    note: str = field(default="", repr=False)


def save_model(
    estimator: Any, path: str | os.PathLike[str], *, labels: Any = None, features: Any = None, probes: Any = None
) -> Path:
    """Write a fitted estimator with its labels, signature and probes to `path`, and return the path.

    The format follows the suffix: ``.skops`` (recommended: reading it runs no code), ``.joblib``, ``.pkl`` or
    ``.pickle``; ``.onnx`` converts it to a graph. `labels`, a list, an array or the path of a JSON file, name the
    classes in the order of ``classes_``. `features` is the data frame or array that the estimator was fitted on, whose
    names, types, categories and ranges are recorded, or the names alone. `probes` are some rows of it: they are kept
    with the estimator's answers, and whoever reads the file, with another scikit-learn too, gets the same answers to
    them, or an error.

    The file is read back before it replaces one at `path`, as a whole or not at all.

    Raises:
        ModelError: the estimator is not fitted, the format can't hold it, another process could not read it, labels,
            features or probes don't fit it, or there is no such directory or format.

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
    names, signature = described(estimator, features)
    record = Record(read_labels(labels), names, signature)
    if record.labels is not None:
        check_labels(estimator, record.labels)
    if not path.parent.is_dir():
        raise ModelError(
            f"can't save {path.absolute()}: there is no directory {path.parent.absolute()}; create it first"
        )
    if probes is not None:
        record = msgspec.structs.replace(record, probes=Probes.of(estimator, probes))
    try:
        if suffix != _ONNX:
            check_importable(estimator)
        _replace(path, lambda file: _write(estimator, record, file, suffix), lambda draft: _read_back(draft, suffix))
    except Exception as error:
        hint = "; .joblib takes more kinds of objects" if suffix == ".skops" and not _ours(error) else ""
        raise ModelError(f"can't save {path.absolute()}: {_text(error)}{hint}") from error
    return path


def _ours(error: Exception) -> bool:
    return isinstance(error, OSError | ModelError)


def described(estimator: Any, features: Any) -> tuple[tuple[str, ...] | None, Signature | None]:
    """Return the names of features, and the signature of the frame or array that `features` may be.

    Raises:
        ModelError: they do not fit the estimator.
    """
    if features is None:
        return None, None
    count = getattr(estimator, "n_features_in_", None)
    if is_frame(features):
        signature = Signature.of(features)
        return feature_names(estimator, list(signature.names or ()))[0], signature
    if is_series(features) and count is None:
        return None, Signature.of(features)
    if not isinstance(features, np.ndarray) or features.ndim != 2:
        return feature_names(estimator, features)[0], None
    signature = Signature.of(features)
    if count is not None and len(signature.columns) != count:
        columns, kind = len(signature.columns), type(estimator).__name__
        raise ModelError(f"features= has {columns} columns, but {kind} was fitted on {count} features")
    return None, signature


def load_model(
    path: str | os.PathLike[str], *, trusted: Trust = False, strict: bool = False, mmap: bool = False
) -> SavedModel:
    """Read a model that `save_model` wrote, a file of an estimator alone, an ``.onnx`` file or a folder of MLflow's.

    A ``.skops`` file loads if all its types are known to be safe, once the arrays of its trees and the like have been
    checked; ``trusted=["module.Type"]`` allows others, as does the path of a JSON file with such a list (``stretto
    trust`` writes it), and ``trusted=True`` all of them. ``.joblib``, ``.pkl`` and ``.pickle`` can run any code, and
    are read with ``trusted=True`` only. An ``.onnx`` file holds no code. A folder of MLflow's is read by the file in
    it; ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` and ``runs:/RUN/PATH`` name one in MLflow's registry.

    A model that was saved with probes must answer them as it did. Without, one that another version of scikit-learn
    saved loads with a warning; with `strict` it is always an error. With `mmap` the arrays of a ``.joblib`` file stay
    in the file, and the processes of a machine share them: such a file must never be written to again, only replaced as
    a whole, as `save_model` does.

    Raises:
        ModelError: the file is not there, is damaged, is no model, is not trusted or differs from its probes, or
            with `strict` another version of scikit-learn saved it.
    """
    path, options = resolved(path), LoadOptions(trusted, strict, mmap)
    if is_mlflow(path):
        return _of_folder(read_folder(path), options)
    check_file(path)
    suffix = _format(path)
    if suffix in _PICKLES:
        _check_trusted(path, "a pickle", options)
    if mmap and suffix != ".joblib":
        raise ModelError(f"mmap=True is for .joblib files, and not for {path.absolute()}: save it as .joblib")
    with other_versions(path) as versions:
        estimator, record = _read_model(path, suffix, options)
    if strict:
        versions.reject()
    try:
        check_usable(estimator)
        note = _proven(estimator, record.probes, versions, suffix)
    except Disagreement as error:
        raise Disagreement(f"{path.absolute()}: {error.message}", error.rows) from error
    except ModelError as error:
        raise ModelError(f"{path.absolute()}: {error}") from error
    except Exception as error:  # of an estimator that lacks what it should have
        raise ModelError(f"can't read {path.absolute()}: it is damaged ({_text(error)})") from error
    return SavedModel(estimator, record.labels, record.features, record.signature, note)


def asked_types(path: str | os.PathLike[str]) -> dict[str, Word]:
    """Return the types that a ``.skops`` file, or the one in a folder of MLflow's, asks for, each with what it is.

    Raises:
        ModelError: it is no such file, or damaged.
    """
    path = resolved(path)
    if is_mlflow(path):
        path = read_folder(path).file or path
    if not is_mlflow(path):
        check_file(path)
    if path.suffix.lower() == _ONNX:
        return {}
    if path.suffix.lower() != ".skops":
        what = "a model that only MLflow runs" if is_mlflow(path) else "a pickle"
        raise ModelError(
            f"{path.absolute()} is {what}: it can run any code as it is read, whatever types it names. Read it with "
            "trusted=True if you know who wrote it; better, save the model as .skops"
        )
    try:
        return types_in(path)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"can't read {path.absolute()}: {_diagnosis(path, '.skops', error)} ({_text(error)})"
        ) from error


def _read_model(path: Path, suffix: str, options: LoadOptions) -> tuple[Any, Record]:
    try:
        return _read(path, suffix, options)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"can't read {path.absolute()}: {_diagnosis(path, suffix, error)} ({_text(error)})") from error


def _proven(estimator: Any, probes: Probes | None, versions: Versions, suffix: str) -> str:
    """Return what the probes say, and warn of another version where there are none."""
    if probes is None:
        versions.warn()
        return ""
    try:
        probes.check(estimator, single=suffix == _ONNX)
    except Disagreement as error:
        if not versions.saved:
            raise
        why = f"it was saved with scikit-learn {versions}, and {versions.installed} is installed"
        raise Disagreement(f"{error.message}; {why}", error.rows) from error
    return f"answers as it did on {len(probes)} rows{f' with scikit-learn {versions}' if versions.saved else ''}"


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
        fitted = getattr(model.estimator, "feature_names_in_", None)
        signature = model.signature or (folder.signature and folder.signature.ordered(fitted))
        return replace(
            model, features=model.features or folder.features if fitted is None else None, signature=signature
        )
    _check_trusted(folder.path, "an MLflow model of flavor python_function", options)
    try:
        model = PythonFunction(str(folder.path), folder.signature)
        return SavedModel(model, None, folder.features, folder.signature)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"MLflow can't load {folder.path.absolute()}: {_text(error)}") from error


def _read(path: Path, suffix: str, options: LoadOptions) -> tuple[Any, Record]:
    if suffix == ".skops":
        return _read_skops(path, options)
    if suffix == _ONNX:
        estimator, features = find_engine("onnx").read(path)
        metadata: Mapping[str, str] = getattr(estimator, "metadata", {})
        record = Record.decode(metadata.get(KEY, "{}"))
        return estimator, record if features is None else msgspec.structs.replace(record, features=features)
    return _read_pickle(path, mmap=options.mmap)


def _read_back(draft: Path, suffix: str) -> None:
    """Read what has been written, as another process would.

    Raises:
        ModelError: it can't be read, or differs from its probes.
    """
    try:
        with other_versions(draft) as versions:
            estimator, record = _read(draft, suffix, LoadOptions(trusted=True))
        if record.probes is not None:
            record.probes.check(estimator, single=suffix == _ONNX)
        versions.saved.clear()
    except Exception as error:
        message = _text(error).replace(f"{draft.absolute()}: ", "")
        raise ModelError(f"it could not be read again: {message}") from error


def _format(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise ModelError(f"{path.absolute()} has no known suffix: a saved model ends in one of {known}")
    return suffix


def _replace(path: Path, write: Callable[[BinaryIO], None], check: Callable[[Path], None]) -> None:
    # A reader finds the old file or the new one as a whole, also after a crash.
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with draft.open("x+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        check(draft)
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def _write(estimator: Any, record: Record, file: BinaryIO, suffix: str) -> None:
    if suffix == ".skops":
        import skops.io

        skops.io.dump(estimator, file)
        if record != Record():
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(MEMBER, record.encode())
        return
    if suffix == _ONNX:
        _check_numbers(record.signature)
        rows = None if record.probes is None else record.probes.rows()
        file.write(find_engine("onnx").write(estimator, rows, {KEY: record.encode().decode()}))
        return
    content = {"estimator": estimator, **record.content}
    if suffix == ".joblib":
        import joblib

        joblib.dump(content, file)
    else:
        pickle.dump(content, file, protocol=pickle.HIGHEST_PROTOCOL)


def _check_numbers(signature: Signature | None) -> None:
    for each in signature.columns if signature else ():
        if not each.dtype.startswith(("int", "uint", "float", "bool")):
            raise ModelError(f"an .onnx file of ours takes rows of numbers, and its column {each}: save it as .skops")


def _read_skops(path: Path, options: LoadOptions) -> tuple[Any, Record]:
    estimator = read_archive(path, cast("bool | tuple[str, ...]", options.trusted))
    with zipfile.ZipFile(path) as archive:
        return estimator, Record.decode(archive.read(MEMBER) if MEMBER in archive.namelist() else b"{}")


def _read_pickle(path: Path, *, mmap: bool) -> tuple[Any, Record]:
    import joblib

    # joblib reads pickles too, and a .pkl may be either. With "c" (copy on write) pages are shared until they are
    # written to: some estimators fail on read-only arrays.
    content = joblib.load(path, mmap_mode="c" if mmap else None)
    if isinstance(content, dict) and content.keys() >= {"estimator", "labels", "features"}:
        entries = cast("dict[str, Any]", content)
        return entries["estimator"], Record.of_content(entries)
    return content, Record()


def _diagnosis(path: Path, suffix: str, error: Exception) -> str:
    """Return what is probably wrong with a file that can't be read, judging by its first bytes and the error."""
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
    if isinstance(error, ModuleNotFoundError):
        return f"it needs the module {error.name}, which is not installed here, or not on the path"
    if isinstance(error, AttributeError):
        found = _FOUND_NOWHERE.search(str(error))
        name = found and (found["pickled"] or found["skops"])
        if name and "__main__" in str(error):
            return (
                f"it was saved by a script or notebook that defines {name} itself: put {name} into a module that both "
                "import, and save it again"
            )
    return "it is damaged or cut short, or was written by other versions"


_FOUND_NOWHERE: Final = re.compile(r"get attribute '(?P<pickled>[^']+)' on|has no attribute '(?P<skops>[^']+)'")
"""What Python says where a module lacks the class or function that a file names: pickle, and skops."""


def _text(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ModelError):
        return text
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
