"""The page on layout names every module in its place, and the place of what people look for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_layers import LAYERS

ROOT = Path(__file__).parent.parent
SDK = ROOT / "sdk" / "stretto"
PAGE = (ROOT / "docs" / "layout.md").read_text()
QUESTIONS = re.findall(r"^\| (.+?) \| `([\w/]+\.py)` \| `(\w+)` \|$", PAGE, flags=re.MULTILINE)
FOLDERS = re.findall(r"^## `(\w+)/`.*?\n(.*?)(?=^## |^\*\*`|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)


def defined(path: Path) -> set[str]:
    """Return the names of functions, classes, parameters and constants that a file defines."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case _:
                pass
    return names


def test_there_is_an_answer_to_each_ordinary_question() -> None:
    assert len(QUESTIONS) >= 16


@pytest.mark.parametrize(("question", "path", "name"), QUESTIONS, ids=[question for question, _, _ in QUESTIONS])
def test_the_answer_is_where_the_page_says(question: str, path: str, name: str) -> None:
    source = ROOT / path if path.startswith("composers/") else SDK / path
    assert source.is_file(), question
    assert name in defined(source), question


@pytest.mark.parametrize(("folder", "section"), FOLDERS, ids=[folder for folder, _ in FOLDERS])
def test_a_section_names_the_modules_of_its_folder(folder: str, section: str) -> None:
    named = re.findall(r"^\| `([\w/]+\.py)` \|", section, flags=re.MULTILINE)
    there = {str(path.relative_to(SDK / folder)) for path in (SDK / folder).rglob("*.py")}
    assert set(named) - {"__init__.py"} == {each for each in there if not each.endswith("__init__.py")}
    assert len(named) == len(set(named))


def test_folders_and_modules_stand_in_the_order_of_imports() -> None:
    """The page's order is that of `LAYERS` in `test_layers.py`, in any order within a line."""
    place = {name: line for line, names in enumerate(LAYERS.split("\n")) for name in names.split()}
    named = re.findall(r"^(?:## `(\w+)/`|\*\*`(\w+)\.py`)", PAGE, flags=re.MULTILINE)
    places = [place[folder or module] for folder, module in named]
    assert places == sorted(places)
    assert {folder or module for folder, module in named} == set(place) - {"stretto"}
