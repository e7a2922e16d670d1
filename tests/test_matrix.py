"""Every case on every way of running, against the oracle."""

from __future__ import annotations

from typing import Any

import pytest

from stretto.errors import StrettoError
from stretto.testing import oracle_outcome, same
from tests.cases import CASES, Case
from tests.conftest import Connect


def _skip(way: str, case: Case) -> str:
    if way == "serve split" and not case.split:
        return "a case without models has the same shape split and fused"
    return ""


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_every_way_agrees_with_the_oracle(way: str, connect: Connect, case: Case) -> None:
    """Each row gives what the oracle says, alone and in a batch, failures included."""
    if _skip(way, case):
        pytest.skip(_skip(way, case))
    pipeline = case.build()
    expected = case.expect or [await oracle_outcome(pipeline, row) for row in case.rows]
    async with connect(case.name, pipeline) as client:
        batched = await client.predict_many(case.rows, on_error="return")
        for row, outcome, in_batch in zip(case.rows, expected, batched, strict=True):
            assert same(await _outcome(client, row), outcome), f"{row!r} alone"
            assert same(in_batch, outcome), f"{row!r} in a batch"


async def _outcome(client: Any, row: Any) -> Any:
    try:
        return await client.predict(row)
    except StrettoError as error:
        return error
