"""Model files as a process has read them: each once, and known again when they are sent elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stretto.errors import ModelError
from stretto.models.files.formats import SavedModel, Trust, load_model
from stretto.models.files.mlflow import is_mlflow
from stretto.models.files.once import Once

_read: Final[Once[SavedModel]] = Once()


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is read; see `load_model`."""

    trusted: Trust = False
    strict: bool = False
    mmap: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for readings that give the same."""
        trusted = self.trusted if isinstance(self.trusted, bool) else tuple(self.trusted)
        return trusted, self.strict, self.mmap


@dataclass(frozen=True, slots=True)
class File:
    """A file, or MLflow's folder, as it was when it was read: equal to another reading of the same content."""

    path: str
    modified: int
    size: int
    saved: SavedModel = field(compare=False)
    reading: Reading = field(compare=False)

    @property
    def is_current(self) -> bool:
        """Whether the file, or every file of the folder, is still there as it was read."""
        return _stamp(Path(self.path)) == (self.modified, self.size)


@dataclass(frozen=True, slots=True)
class Sent:
    """What is sent in place of a model that whoever gets it can read: where it is, and the digest of what was read."""

    path: str
    digest: str
    reading: Reading


def opened(target: str | os.PathLike[str], reading: Reading) -> File:
    """Return the file at a path, read, unless this process holds what is in it already.

    Raises:
        ModelError: it can't be read as a model; see `load_model`.
    """
    path = Path(target).expanduser().resolve()
    modified, size = _stamp(path)
    # The message of an error says the path as it was given.
    saved = _read.get(
        (str(path), modified, size, *reading.key),
        lambda: load_model(target, trusted=reading.trusted, strict=reading.strict, mmap=reading.mmap),
    )
    return File(str(path), modified, size, saved, reading)


def digest(path: str) -> str | None:
    """Return the digest of a file's content, or of a folder's; None where it is not there."""
    whole = hashlib.sha256()
    try:
        for each in _contents(Path(path)):
            with each.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return None
    return whole.hexdigest() if Path(path).exists() else None


def received(sent: Sent) -> SavedModel:
    """Return the model that was read from a file elsewhere, from the same file here.

    Raises:
        ModelError: the file is not here, or is not what it was.
    """
    found = digest(sent.path)
    if found != sent.digest:
        what = "is not there any more" if found is None else "is another one now"
        raise ModelError(f"the model file {sent.path} {what}, since the pipeline was sent here: deploy it again")
    return opened(sent.path, sent.reading).saved


def _stamp(path: Path) -> tuple[int, int]:
    """Return when a file was modified and its size, and for a folder the sums over its files; zeros if it is gone."""
    found = [each.stat() for each in _contents(path)]
    return sum(each.st_mtime_ns for each in found), sum(each.st_size for each in found)


def _contents(path: Path) -> Iterator[Path]:
    if is_mlflow(path):
        yield from sorted(each for each in path.rglob("*") if each.is_file())
    elif path.is_file():
        yield path
