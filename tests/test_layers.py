"""Imports point one way: each module knows only those that stand above it in the list below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import stretto
import stretto_composers

SDK = Path(stretto.__file__).parent
COMPOSERS = Path(stretto_composers.__file__).parent

# A folder, or a module of the root, imports only what stands on lines above its own.
LAYERS = """
    errors
    plan
    batch
    engine
    models
    compiler
    pipeline
    nodes
    composer
    wire
    transports
    server
    client
    serve
    serving
    sklearn
    observe
    stretto
    testing _demo
    cli
    __main__
    onnx
    lignum
"""


def modules(root: Path) -> dict[str, Path]:
    """Return every module under `root`, by its name from there; that of a package is the folder's."""
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, package: str) -> Iterator[str]:
    """Yield what a file imports of `package` at import time: not inside functions, not for type checkers."""
    left: list[ast.AST] = [ast.parse(path.read_text())]
    while left:
        node = left.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                left += node.orelse
                continue
            case ast.Import():
                yield from (each.name for each in node.names if each.name.split(".")[0] == package)
            case ast.ImportFrom(module=str(module), level=0) if module.split(".")[0] == package:
                yield from (f"{module}.{each.name}" for each in node.names)
            case ast.ImportFrom(level=level) if level:
                raise AssertionError(f"{path}:{node.lineno}: imports are absolute")
            case _:
                pass
        left += ast.iter_child_nodes(node)


def home(name: str, known: dict[str, Path]) -> str:
    """Return the module that an imported name is in."""
    parts = name.split(".")
    while ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts)


MODULES = {f"stretto.{name}".rstrip("."): path for name, path in modules(SDK).items()}
IMPORTS = {name: {home(each, MODULES) for each in imported(path, "stretto")} for name, path in MODULES.items()}
ORDER = {name: line for line, names in enumerate(LAYERS.split("\n")) for name in names.split()}


def folder(module: str) -> str:
    """Return the folder of a module, or its own name where it stands in the root."""
    return module.split(".")[1] if "." in module else module


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_folder_imports_only_folders_above_it(module: str) -> None:
    here = ORDER[folder(module)]
    for other in IMPORTS[module]:
        there = ORDER[folder(other)]
        assert there < here or folder(other) == folder(module), f"{module} imports {other}, which stands below it"


def test_the_list_names_what_is_there() -> None:
    assert set(ORDER) == {folder(module) for module in MODULES}


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter(IMPORTS).prepare()


@pytest.mark.parametrize("path", sorted(COMPOSERS.rglob("*.py")), ids=lambda path: path.stem)
def test_a_composer_imports_only_public_names(path: Path) -> None:
    public = {f"stretto.{name}" for name in stretto.__all__}
    for module in ("stretto.errors", "stretto.nodes"):
        names = vars(import_module(module))
        public |= {module, *(f"{module}.{name}" for name in names.get("__all__", names) if not name.startswith("_"))}
    assert set(imported(path, "stretto")) <= public
