"""What is public, what importing it costs, and how composers are found."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pytest

import stretto
import stretto_composers
from stretto import errors, nodes

ROOT = Path(__file__).parent.parent

# What stands in the catalogue beside composers: what they take, what is made of them.
BESIDE = {"Calibration", "Circuit", "Example", "Report", "agreement", "calibrate", "confidence"}
FORMER = {"guard": stretto_composers.circuit_breaker}
COMPOSERS = sorted(set(stretto_composers.__all__) - BESIDE)


def public(module: ModuleType) -> set[str]:
    """Return the names without an underscore that are not modules reached by importing others."""
    names = {name for name in vars(module) if not name.startswith("_")}
    return {name for name in names if not isinstance(getattr(module, name), ModuleType) or name in ("errors", "nodes")}


def test_all_is_sorted_and_is_what_is_public() -> None:
    # Ruff's order: constants, then classes, then functions.
    kinds = sorted(stretto.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert stretto.__all__ == kinds
    asked_later = set(vars(stretto)["_LATER"])
    assert public(stretto) - {"TYPE_CHECKING", "Any", "annotations"} | asked_later == set(stretto.__all__)


def test_every_public_name_is_there_and_has_a_doc() -> None:
    for name in stretto.__all__:
        thing = getattr(stretto, name)
        assert thing is not None
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name


def test_nodes_holds_what_authors_of_composers_need() -> None:
    kinds = sorted(nodes.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert nodes.__all__ == kinds
    assert public(nodes) == set(nodes.__all__)
    assert not set(nodes.__all__) & set(stretto.__all__)
    for name in nodes.__all__:
        thing = getattr(nodes, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name


@pytest.mark.parametrize("name", nodes.__all__)
def test_a_name_that_moved_to_nodes_says_where_it_is(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"stretto.{name} is now stretto.nodes.{name}"):
        assert getattr(stretto, name) is getattr(nodes, name)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'stretto' has no attribute 'Pipelin'"):
        _ = stretto.Pipelin  # type: ignore[attr-defined]


def test_every_error_is_of_one_tree_and_stands_in_its_drawing() -> None:
    classes = [each for each in vars(errors).values() if inspect.isclass(each) and each.__module__ == errors.__name__]
    assert all(issubclass(each, errors.StrettoError) for each in classes)
    drawn = {line.split("*")[1].split()[0].rstrip(":") for line in (errors.__doc__ or "").splitlines() if "*" in line}
    # BadRows is a message to the evaluator, which users raise and never meet.
    assert {each.__name__ for each in classes} - drawn <= {"BadRows"}
    assert drawn <= {each.__name__ for each in classes}


@pytest.mark.parametrize("module", ["stretto", "stretto.nodes", "stretto_composers", "stretto.testing"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    heavy = {
        "ray",
        "sklearn",
        "scipy",
        "starlette",
        "uvicorn",
        "pandas",
        "skops",
        "click",
        "rich",
        "onnx",
        "onnxruntime",
        "mlflow",
    }
    check = f"import sys, {module}; heavy = {heavy} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_the_composers_register_by_entry_point() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["stretto.composers"]
    found = {name: EntryPoint(name, value, "stretto.composers").load() for name, value in declared.items()}
    assert found == {name: getattr(stretto_composers, name) for name in COMPOSERS} | FORMER
    installed = [each for each in entry_points(group="stretto.composers") if each.value.startswith("stretto_composers")]
    assert installed
    assert all(found[each.name] is each.load() for each in installed)


def test_every_composer_has_a_page_with_an_example() -> None:
    assert stretto_composers.__all__ == sorted(stretto_composers.__all__)
    for name in COMPOSERS:
        assert ">>>" in (getattr(stretto_composers, name).__doc__ or ""), name
