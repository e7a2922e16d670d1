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

# A module knows those on lines above its own. A package on a line of its own stands for all its modules.
LAYERS = """
    errors _collector
    _ir _scope _frames
    _virtual
    _column _coalesce
    backends.base
    _apply
    _evaluate
    _models
    _compile
    _pipeline
    _from_sklearn
    backends.lane
    backends.inline
    transports.base
    transports.local
    _connect
    _wire
    transports._connection
    transports.http
    server
    _guard
    _fate
    _ray
    backends.parcel backends.plans
    backends.calls
    backends.quarantine
    backends.serve
    backends.direct
    backends.replica
    transports.handle
    client
    _as_estimator
    _measure _rollout
    _application
    _deploy
    serving
    _profile
    stretto
    _probe
    testing _demo
    cli
    __main__
"""


def modules(root: Path) -> dict[str, Path]:
    """Give every module under `root`, by its name from there; that of a package is the folder's."""
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, package: str) -> Iterator[str]:
    """Give what a file imports of `package` when it is imported itself: not inside functions, not for type checkers."""
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
    """Give the module that an imported name is in."""
    parts = name.split(".")
    while ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts)


MODULES = {f"stretto.{name}".rstrip("."): path for name, path in modules(SDK).items()}
IMPORTS = {name: {home(each, MODULES) for each in imported(path, "stretto")} for name, path in MODULES.items()}
ORDER = {
    f"stretto.{name}" if name != "stretto" else name: line
    for line, names in enumerate(LAYERS.split("\n"))
    for name in names.split()
}
EMPTY = {"stretto.backends", "stretto.transports"}


def place(module: str) -> int | None:
    """Give the line a module, or the package it is in, stands on."""
    while module not in ORDER and "." in module:
        module = module.rpartition(".")[0]
        if module == "stretto":
            return None
    return ORDER[module]


@pytest.mark.parametrize("module", sorted(MODULES.keys() - EMPTY))
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    here = place(module)
    assert here is not None, f"{module} has no line in LAYERS: give it one"
    for other in IMPORTS[module] - {module}:
        there = place(other)
        within = there == here and module.split(".")[1] == other.split(".")[1]
        assert there is not None
        assert there < here or within, f"{module} imports {other}, which stands below it"


def test_every_name_in_the_list_is_a_module() -> None:
    assert set(ORDER) <= set(MODULES)


def test_the_packages_that_only_hold_modules_are_empty() -> None:
    assert all(not IMPORTS[package] for package in EMPTY)


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter(IMPORTS).prepare()


@pytest.mark.parametrize("path", sorted(COMPOSERS.rglob("*.py")), ids=lambda path: path.stem)
def test_a_composer_imports_only_public_names(path: Path) -> None:
    public = {f"stretto.{name}" for name in stretto.__all__}
    for module in ("stretto.errors", "stretto.testing"):
        names = vars(import_module(module))
        public |= {module, *(f"{module}.{name}" for name in names.get("__all__", names) if not name.startswith("_"))}
    assert set(imported(path, "stretto")) <= public
