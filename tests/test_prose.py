"""Docstrings and names are in the English of Python's documentation: PEP 257, the Google style, the field's terms."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "sdk").rglob("*.py"), *(ROOT / "composers").rglob("*.py")])

# Folders and files that are not held yet. The list only gets shorter.
UNCONVERTED = ("sdk/stretto/models", "sdk/stretto/sklearn")
SOURCES = [path for path in FILES if not any(path.is_relative_to(ROOT / each) for each in UNCONVERTED)]

# Words that begin no docstring of a function, with what does instead.
VERBS = {
    "Give": "Return",
    "Gives": "Return",
    "Say": "Return",
    "Says": "Return",
    "Tell": "Return",
    "Tells": "Return",
    "Have": "the verb of what is done",
    "Has": "the verb of what is done",
    "Let": "the verb of what is done",
    "Refuse": "Raise, or Check",
    "Refuses": "Raise, or Check",
    "Answer": "Return",
    "Answers": "Return",
    "Ask": "Call",
    "Note": "Record",
}

# Words and phrases that stand in no name, docstring, message or comment, with the field's.
WORDS = {
    "answer otherwise": "differ",
    "answers alike": "agree",
    "answers otherwise": "differs",
    "culprits": "failing rows",
    "dear": "expensive",
    "dearer": "more expensive",
    "dearest": "most expensive",
    "direct way in": "direct ingress",
    "fate": "child processes",
    "hangup": "disconnect",
    "heard": "arrived",
    "lest": "so that .. not",
    "parcel": "pickled rows",
    "quarantine": "isolate",
    "short way in": "direct ingress",
    "tame": "finite",
    "tell apart": "distinguish",
    "tells apart": "distinguishes",
    "time given was used up": "deadline exceeded",
    "vigil": "watch",
    "whoever": "the caller, the user",
}

# Variables and parameters say what they are, not what happened to them.
NAMES = {"asked", "found", "given", "heard", "known", "made", "said", "tame", "told"}

# Names that two modules of the SDK define with one meaning, or that cannot be confused, and why.
SHARED = {
    "main": "the entry point of a program",
}

# Names that two modules define with two meanings. The list only gets shorter.
AMBIGUOUS = {
    "Answers",
    "CHUNK",
    "DEPTH",
    "Handle",
    "Kind",
    "LANES",
    "Member",
    "PATIENCE",
    "Part",
    "Reading",
    "Request",
    "Run",
    "Schema",
    "Sent",
    "build",
    "connect",
    "Engine",
    "Program",
    "converters",
    "merge",
    "probe",
    "run",
    "describe",
    "find",
    "packed",
}

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def place(path: Path, node: ast.AST | int) -> str:
    """Return where something is, as editors understand it."""
    return f"{path.relative_to(ROOT)}:{node if isinstance(node, int) else getattr(node, 'lineno', 1)}"


def docstrings() -> Iterator[tuple[str, Documented | None, str]]:
    """Yield the place, the definition (None for a module) and the docstring of everything that has one."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | Documented) and (text := ast.get_docstring(node)):
                yield place(path, node), None if isinstance(node, ast.Module) else node, text


DOCSTRINGS = list(docstrings())
FUNCTIONS = [each for each in DOCSTRINGS if isinstance(each[1], ast.FunctionDef | ast.AsyncFunctionDef)]


def test_a_docstring_begins_with_a_verb_of_the_field() -> None:
    begins = [(where, text.split()[0].rstrip(".,:;")) for where, node, text in DOCSTRINGS if node is not None]
    assert [f"{where}: {word}, better {VERBS[word]}" for where, word in begins if word in VERBS] == []


def test_the_first_line_of_a_docstring_is_one_sentence() -> None:
    def is_sentence(text: str) -> bool:
        first, *second = text.split("\n")[:2]
        without_code = re.sub(r"``.*?``|`.*?`", "", first)
        return first.endswith((".", "?")) and second in ([], [""]) and not re.search(r"[.?!] [A-Z]", without_code)

    assert [f"{where}: {text.splitlines()[0]}" for where, _, text in DOCSTRINGS if not is_sentence(text)] == []


def test_return_is_said_of_functions_that_return_something() -> None:
    def returns_nothing(node: Documented | None) -> bool:
        returns = getattr(node, "returns", None)
        return isinstance(returns, ast.Constant) and returns.value is None

    wrong = [(where, text) for where, node, text in FUNCTIONS if text.startswith("Return") and returns_nothing(node)]
    assert [f"{where}: {text.splitlines()[0]}" for where, text in wrong] == []


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every name, string and comment of a file."""
    kinds = {tokenize.NAME, tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in kinds:
            yield place(path, token.start[0]), " ".join(token.string.split())


def test_no_text_has_a_word_that_the_field_has_another_for() -> None:
    pattern = re.compile(rf"(?<![A-Za-z])({'|'.join(sorted(WORDS, key=len, reverse=True))})(?![A-Za-z])", re.IGNORECASE)
    wrong = [(where, each[0]) for path in SOURCES for where, text in texts(path) for each in pattern.finditer(text)]
    assert [f"{where}: {word}, better {WORDS[word.lower()]}" for where, word in wrong] == []


def bound(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the name of every variable and parameter of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield place(path, node), name
            case _:
                pass


def test_no_variable_is_named_by_what_happened_to_it() -> None:
    assert [f"{where}: {name}" for path in SOURCES for where, name in bound(path) if name in NAMES] == []


def public(path: Path) -> Iterator[str]:
    """Yield the public names that a module defines itself, without type variables."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                if not re.match(r"(TypeVar|ParamSpec)\(", ast.unparse(value)):
                    yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case _:
                pass


def test_a_public_name_has_one_meaning() -> None:
    """No two modules of the SDK define the same name, unless `SHARED` says why."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in (each for each in FILES if each.is_relative_to(ROOT / "sdk")):
        for name in dict.fromkeys(public(path)):
            if not name.startswith("_"):
                places[name].append(place(path, 1))
    assert {
        name: where for name, where in places.items() if len(where) > 1 and name not in SHARED.keys() | AMBIGUOUS
    } == {}
