"""What the pages on composers, and on scale, show is what happens."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest

from stretto import nodes
from stretto_composers import __all__ as catalogue
from tests.test_surface import COMPOSERS

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted((DOCS / "composers").glob("*.md"))
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str | None]]:
    """Return the Python blocks of a page, each with the text block right after it: what it prints."""
    found: list[tuple[str, str | None]] = []
    text = page.read_text()
    end = -1
    for match in BLOCK.finditer(text):
        kind, body = match.groups()
        if kind == "python":
            found.append((body, None))
        elif found and not text[end : match.start()].strip():
            found[-1] = (found[-1][0], body)
        end = match.end()
    return found


@pytest.mark.parametrize(
    "page", [*PAGES, DOCS / "inference-protocol.md", DOCS / "scale.md"], ids=lambda page: page.stem
)
async def test_the_examples_on_a_page_print_what_it_says(page: Path) -> None:
    """The blocks of a page run one after the other, with `await` at the top as in a notebook."""
    names: dict[str, object] = {"__name__": f"docs.{page.stem}"}
    for source, expected in blocks(page):
        code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            pending = eval(code, names)
            if inspect.iscoroutine(pending):
                await pending
        if expected is not None:
            assert printed.getvalue() == expected, source


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "index"], ids=lambda page: page.stem)
def test_a_page_has_an_example_and_a_reference_and_is_found(page: Path) -> None:
    assert any(expected for _, expected in blocks(page)), "an example that prints"
    assert re.search(rf"::: stretto(_composers)?\.{page.stem}\b", page.read_text())
    assert f"({page.name})" in (DOCS / "composers" / "index.md").read_text(), "in the table"
    assert f"composers/{page.name}" in (DOCS.parent / "mkdocs.yml").read_text(), "in the navigation"


@pytest.mark.parametrize("name", catalogue)
def test_everything_in_the_catalogue_is_on_a_page(name: str) -> None:
    shown = "\n".join(page.read_text() for page in PAGES)
    assert re.search(rf"::: stretto_composers\.{name}\b|members: \[.*\b{name}\b", shown)


def test_the_first_sentence_of_a_composer_is_one_line_of_a_table() -> None:
    """`stretto composers` prints it: one sentence, without markup for code blocks."""
    import stretto_composers

    for name in COMPOSERS:
        sentence = (getattr(stretto_composers, name).__doc__ or "").partition("\n\n")[0]
        assert sentence.endswith("."), name
        assert "``" not in sentence, name


def test_the_design_names_each_kind_of_node_in_its_table() -> None:
    table = (DOCS / "design.md").read_text().partition("| node | meaning |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)", table, flags=re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == {kind.__name__ for kind in nodes.Node.__subclasses__()}


def test_pages_name_the_passes_in_the_order_in_which_they_run() -> None:
    design, how = ((DOCS / page).read_text() for page in ("design.md", "how-it-works.md"))
    (line,) = re.findall(r"^The passes run in this order: (.*)\.$", design, flags=re.MULTILINE)
    passes = re.findall(r"`(\w+)`", line)
    assert re.findall(r"^    - \*(\w+)\*", how, flags=re.MULTILINE) == passes
    source = (DOCS.parent / "sdk" / "stretto" / "compiler" / "compile.py").read_text()
    assert all(re.search(rf"\b{each}\b", source) for each in passes)


@pytest.mark.parametrize("page", ["design", "how-it-works", "index", "layout", "performance"])
def test_lines_of_prose_are_short(page: str) -> None:
    """A table's rows and code may be longer."""
    lines = (DOCS / f"{page}.md").read_text().splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_what_a_page_includes_of_a_file_is_marked_there(page: Path) -> None:
    for file, section in re.findall(r'^--8<-- "([\w./-]+):([a-z_]+)"$', page.read_text(), flags=re.MULTILINE):
        source = (DOCS.parent / file).read_text()
        assert source.find(f"[start:{section}]") < source.find(f"[end:{section}]"), f"{file}:{section}"
        assert f"[start:{section}]" in source, f"{file}:{section}"
