"""``.skops`` files: what they ask for, and reading them with no more than that."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from stretto.errors import ModelError
from stretto.models.files.safety import CHECKED, KNOWN, check_arrays

Word: TypeAlias = Literal["safe", "checked", "unknown"]

SMALL: Final = 256 * 2**20
LARGEST_RATIO: Final = 100
"""A file unpacks to no more than `SMALL` bytes, or this many times its own size: skops itself does not compress."""


def read_archive(path: Path, trusted: bool | Sequence[str]) -> Any:
    """Return the estimator in a ``.skops`` file, whose arrays have been checked.

    Raises:
        ModelError: it holds types that are neither safe nor trusted, arrays that would lead compiled code astray, or
            unpacks to far more than its size.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    _check_size(path)
    ours = [*CHECKED, *KNOWN]
    named = skops.io.get_untrusted_types(file=path) if trusted is True else list(trusted or ())
    try:
        estimator = skops.io.load(path, trusted=[*ours, *named])
    except UntrustedTypesFoundException as error:
        found = [each for each in untrusted(path) if each not in named]
        raise ModelError(
            f"{path.absolute()} holds types that are not known to be safe: {', '.join(found)}. "
            f"If you know who wrote it, pass trusted={[*named, *found]}, or trusted=True"
        ) from error
    try:
        check_arrays(estimator)
    except ModelError as error:
        raise ModelError(f"{path.absolute()}: {error}") from error.__cause__
    return estimator


def untrusted(path: Path) -> list[str]:
    """Return the types in a ``.skops`` file that must be named in ``trusted=[...]``, sorted."""
    import skops.io

    return [each for each in skops.io.get_untrusted_types(file=path) if each not in CHECKED | KNOWN]


def types_in(path: Path) -> dict[str, Word]:
    """Return the types and functions that a ``.skops`` file names, each with what is known of it.

    Raises:
        ModelError: it unpacks to far more than its size.
    """
    _check_size(path)
    unknown = untrusted(path)
    named = {name for each in _objects(_schema(path)) if (name := _name(each))}
    words: dict[str, Word] = {name: "checked" if name in CHECKED else "safe" for name in sorted(named)}
    for name in unknown:
        words[name] = "unknown"
    return words


def _check_size(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        sizes = [(each.filename, each.file_size) for each in archive.infolist()]
    packed = path.stat().st_size
    limit = max(SMALL, LARGEST_RATIO * packed)
    unpacked = sum(size for _, size in sizes)
    if unpacked <= limit:
        # A few bytes of the schema can have a large member read, again and again.
        named = dict(sizes)
        names = (each.get("file") for each in _objects(_schema(path)))
        unpacked = max(unpacked, sum(named.get(name, 0) for name in names if isinstance(name, str)))
    if unpacked > limit:
        raise ModelError(
            f"{path.absolute()} is damaged, or was made to do harm: its {packed:,} bytes unpack to {unpacked:,}"
        )


def _schema(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return msgspec.json.decode(archive.read("schema.json"))


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    left: list[Any] = [schema]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            found = cast("dict[str, Any]", each)
            yield found
            left.extend(found.values())
        elif isinstance(each, list):
            left.extend(cast("list[Any]", each))


def _name(described: dict[str, Any]) -> str:
    module, kind = described.get("__module__"), described.get("__class__")
    return f"{module}.{kind}" if isinstance(module, str) and isinstance(kind, str) else ""
