"""Model files as this process has read them: each once, and recognised when they are sent to other processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from cachetools import cached

from stretto.errors import ModelError
from stretto.models.files.formats import LoadOptions, SavedModel, load_model
from stretto.models.files.mlflow import is_mlflow
from stretto.models.files.registry import is_uri, resolved

Stamp: TypeAlias = tuple[tuple[str, int, int], ...]
"""The path, the time of the last change and the size of a file, or of each file in a folder."""


@dataclass(frozen=True, slots=True)
class File:
    """A file, or a folder of MLflow's, as it was when it was read: equal to another of the same path and stamp."""

    path: str
    stamp: Stamp
    saved: SavedModel = field(compare=False)
    options: LoadOptions = field(compare=False)

    @property
    def is_current(self) -> bool:
        """Whether the file, or every file of the folder, is still there as it was read."""
        try:
            return _stamp(Path(self.path)) == self.stamp
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class FileReference:
    """What is sent in place of a model to a process that can read its file: the path, and the digest of the content."""

    path: str
    digest: str
    options: LoadOptions


def read_file(target: str | os.PathLike[str], options: LoadOptions) -> File:
    """Return the file at a path with its model, which is read unless this process holds it already.

    Raises:
        ModelError: it can't be read as a model; see `load_model`.
    """
    path = resolved(target).resolve()
    stamp = _stamp(path)
    return File(str(path), stamp, _model(path, stamp, options, path if is_uri(target) else target), options)


def _key(path: Path, stamp: Stamp, options: LoadOptions, target: object) -> Hashable:
    return path, stamp, options


# Plans are unpickled in pieces, and ten pipelines may name one file: only the process knows that it has the model. It
# is dropped with the last step that holds it. A thread that asks for a model while it is read waits for it.
@cached(WeakValueDictionary[Any, SavedModel](), key=_key, condition=Condition())
def _model(path: Path, stamp: Stamp, options: LoadOptions, target: str | os.PathLike[str]) -> SavedModel:
    # The path as the user wrote it: errors name it.
    return load_model(target, trusted=options.trusted, strict=options.strict, mmap=options.mmap)


def digest(path: str) -> str | None:
    """Return the digest of the content of a file or a folder, None where there is none."""
    content = hashlib.sha256()
    try:
        for each in _contents(Path(path)):
            with each.open("rb") as file:
                content.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return None
    return content.hexdigest() if Path(path).exists() else None


def read_reference(reference: FileReference) -> SavedModel:
    """Return the model that another process read from a file, read from the same file here.

    Raises:
        ModelError: the file is not here, or its content differs.
    """
    found = digest(reference.path)
    if found != reference.digest:
        what = "is not there any more" if found is None else "has changed"
        raise ModelError(f"the model file {reference.path} {what} since the pipeline was sent here: deploy it again")
    return read_file(reference.path, reference.options).saved


def _stamp(path: Path) -> Stamp:
    stats = [(str(each), each.stat()) for each in _contents(path)]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _contents(path: Path) -> Iterator[Path]:
    if is_mlflow(path):
        yield from sorted(each for each in path.rglob("*") if each.is_file())
    elif path.is_file():
        yield path
