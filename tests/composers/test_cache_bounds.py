"""What a cache keeps of rows that a stranger sends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stretto import Client
from stretto_composers import cache
from stretto_composers._cache import MOST_BYTES

HALF = "x" * (MOST_BYTES // 2)


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        (HALF, True),
        ({"a": HALF}, True),
        (HALF * 2, False),
        ([HALF, [HALF]], False),
        ({"a": {"b": HALF * 2}}, False),
        ({HALF: 1, HALF + "y": 2}, False),
        (list(range(MOST_BYTES // 8)), False),
        (np.zeros(MOST_BYTES // 8), False),
        (2 ** (9 * MOST_BYTES), False),
    ],
    ids=range(9),
)
async def test_a_large_row_is_answered_and_not_kept(row: Any, kept: bool) -> None:
    asked: list[int] = []

    def part(row: Any) -> int:
        asked.append(1)
        return 1

    async with Client(cache(part)) as client:
        assert [await client.predict(row) for _ in range(2)] == [1, 1]
        assert len(asked) == (1 if kept else 2)


async def test_a_large_answer_is_not_kept() -> None:
    asked: list[int] = []

    def part(row: int) -> str:
        asked.append(row)
        return "x" * row

    async with Client(cache(part)) as client:
        for row in (10, 10, MOST_BYTES, MOST_BYTES):
            assert len(await client.predict(row)) == row
    assert asked == [10, MOST_BYTES, MOST_BYTES]
