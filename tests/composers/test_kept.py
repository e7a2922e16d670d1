"""The catalogue's page says of each composer that keeps something between requests what that is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_composer_with_a_policy_or_work_aside_is_in_the_table() -> None:
    sources = (ROOT / "composers" / "stretto_composers").glob("_*.py")
    keeping = {path.stem[1:] for path in sources if re.search(r"\b(Around|Aside)\(", path.read_text())}
    page = (ROOT / "docs" / "composers" / "index.md").read_text().partition("## What is kept between requests")[2]
    told = set(re.findall(r"^\| `(\w+)` \|", page.partition("## ")[0], re.MULTILINE))
    assert keeping == told != set()
