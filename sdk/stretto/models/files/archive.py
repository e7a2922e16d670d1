"""``.skops`` files: what they ask for, and reading them with no more than that."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias, cast

import msgspec
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

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

    named = skops.io.get_untrusted_types(file=path) if trusted is True else list(trusted or ())
    _check(path, named)
    try:
        estimator = skops.io.load(path, trusted=[*CHECKED, *KNOWN, *named])
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

    return [each for each in skops.io.get_untrusted_types(file=path) if each not in CHECKED and each not in KNOWN]


def types_in(path: Path) -> dict[str, Word]:
    """Return the types and functions that a ``.skops`` file names, each with what is known of it.

    Raises:
        ModelError: it unpacks to far more than its size.
    """
    _check(path, [])
    unknown = untrusted(path)
    with zipfile.ZipFile(path) as archive:
        named = {name for each in _objects(archive) if (name := _name(each))}
    words: dict[str, Word] = {name: "checked" if name in CHECKED else "safe" for name in sorted(named)}
    for name in unknown:
        words[name] = "unknown"
    return words


def _check(path: Path, named: Sequence[str]) -> None:
    """Check what a file says of itself, before skops makes anything of it; types that are `named` are the user's."""
    packed = path.stat().st_size
    limit = max(SMALL, LARGEST_RATIO * packed)
    with zipfile.ZipFile(path) as archive:
        sizes = {each.filename: each.file_size for each in archive.infolist()}
        unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked <= limit:
            described = list(_objects(archive))
            # A few bytes of the schema can have a large member read, again and again.
            names = (each.get("file") for each in described)
            unpacked = max(unpacked, sum(sizes.get(name, 0) for name in names if isinstance(name, str)))
            wrong = _misused(described, named) or _wrong_nodes(described, archive)
            if wrong:
                raise ModelError(f"{path.absolute()}: it is damaged, or was made to do harm: {wrong}")
    if unpacked > limit:
        raise ModelError(
            f"{path.absolute()}: it is damaged, or was made to do harm: its {packed:,} bytes unpack to {unpacked:,}"
        )


def _misused(described: Sequence[dict[str, Any]], named: Sequence[str]) -> str:
    for each in described:
        name, loader = _name(each), each.get("__loader__")
        usual = CHECKED.get(name) or KNOWN.get(name)
        if usual is not None and loader != usual and name not in named:
            return f"{name} in it is a {loader}, and not a {usual}"
    return ""


def _wrong_nodes(described: Sequence[dict[str, Any]], archive: zipfile.ZipFile) -> str:
    """Return what is wrong with the nodes of a tree, which scikit-learn takes for an array before it looks.

    skops takes what has an id that came before for that, whatever else it says.
    """
    trees = [each for each in described if each.get("__loader__") == "TreeNode"]
    if not trees:
        return ""
    by_id: dict[Any, list[dict[str, Any]]] = {}
    for each in described:
        if isinstance(each.get("__id__"), int):
            by_id.setdefault(each["__id__"], []).append(each)
    for tree in trees:
        for state in by_id.get(tree["content"].get("__id__"), []) or [tree["content"]]:
            if state.get("__loader__") != "DictNode":
                return "a tree in it has no state"
            nodes = state["content"].get("nodes", {})
            for each in by_id.get(nodes.get("__id__"), []) or [nodes]:
                array = each.get("__loader__") == "NdArrayNode" and each.get("type") == "numpy"
                if not array or _name(each) != "numpy.ndarray" or _dimensions(archive, each["file"]) != 1:
                    return "a tree in it has no nodes"
    return ""


def _dimensions(archive: zipfile.ZipFile, name: str) -> int:
    with archive.open(name) as file:
        stream = cast("BinaryIO", file)
        read = read_array_header_1_0 if read_magic(stream) == (1, 0) else read_array_header_2_0
        return len(read(stream)[0])


def _objects(archive: zipfile.ZipFile) -> Iterator[dict[str, Any]]:
    """Yield the objects in the schema of a file."""
    left: list[Any] = [msgspec.json.decode(archive.read("schema.json"))]
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
