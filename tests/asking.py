"""A part asked in every way that is to make no difference."""

from __future__ import annotations

from typing import Any

from stretto import Client
from stretto.testing import oracle


async def alike(part: Any, rows: Any) -> list[Any]:
    """Return the answers to many rows; they are those to each row alone, and those of the oracle."""
    async with Client(part) as client:
        answers = await client.predict_many(rows)
        alone = [await client.predict(row) for row in rows]
    meant = [await oracle(part, row) for row in rows]
    assert repr(answers) == repr(alone) == repr(meant)
    return answers
