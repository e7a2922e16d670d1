"""The page on models runs as it stands, from top to bottom, and names every estimator that can't be one."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

from tests.models.test_estimator import IMPOSSIBLE, MANY_A_ROW

PAGE = Path(__file__).parent.parent / "docs" / "models.md"


async def test_the_blocks_of_the_page_run() -> None:
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) > 5
    for block in blocks:
        code = compile(block, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.iscoroutine(result):
            await result


def test_the_page_names_what_can_not_be_a_model() -> None:
    table = PAGE.read_text().partition("| why not |")[2].partition("## ")[0]
    assert set(re.findall(r"^\|.*?\|", table, flags=re.MULTILINE))
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == IMPOSSIBLE.keys() | MANY_A_ROW.keys()
