"""What the pages on composers show is what happens."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest

from stretto_composers import __all__ as catalogue
from tests.test_surface import COMPOSERS

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted((DOCS / "composers").glob("*.md"))
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str | None]]:
    """Give a page's Python blocks, each with the text block that stands right behind it: what it prints."""
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
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
