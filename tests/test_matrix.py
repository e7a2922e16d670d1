"""Every case on every way of running, against the oracle."""

from __future__ import annotations

from typing import Any

import pytest

from stretto import Client
from stretto.errors import DeadlineExceeded, NotFound, StrettoError
from stretto.testing.oracle import oracle_outcome, same
from tests.cases import CASES, TROUBLES, Case, troubles
from tests.conftest import LOCAL_WAYS, RAY_WAYS, Connect

ALL_WAYS = (*LOCAL_WAYS, *RAY_WAYS)


# A case without models has the same shape split and fused: it is run once. On Ray all the ways of a case come one after
# the other, so that what is deployed for one of them serves the next and then goes.
RUNS = [
    pytest.param(way, case, id=f"{way}-{case.name}")
    for ways in (LOCAL_WAYS, RAY_WAYS)
    for case in CASES
    for way in ways
    if case.split or way != "serve split"
]


@pytest.mark.parametrize(("way", "case"), RUNS, indirect=["way"])
async def test_every_way_agrees_with_the_oracle(way: str, connect: Connect, case: Case) -> None:
    """Each row gives what the oracle says, alone and in a batch, failures included."""
    pipeline = case.build()
    expected = case.expect or [await oracle_outcome(pipeline, row) for row in case.rows]
    async with connect(case.name, pipeline) as client:
        batched = await client.predict_many(case.rows, on_error="return")
        for row, outcome, in_batch in zip(case.rows, expected, batched, strict=True):
            assert same(await _outcome(client, row), outcome), f"{row!r} alone"
            assert same(in_batch, outcome), f"{row!r} in a batch"


@pytest.mark.parametrize("way", ALL_WAYS, indirect=True)
async def test_an_error_is_the_same_object_wherever_it_is_seen(way: str, connect: Connect) -> None:
    """Class, arguments and row of an error are those it has in process, alone and in a batch."""
    async with Client(troubles()) as here, connect("troubles", troubles()) as there:
        for row in TROUBLES:
            ours, theirs = await _outcome(here, row), await _outcome(there, row)
            assert isinstance(ours, StrettoError)
            assert (type(theirs), theirs.args) == (type(ours), ours.args), row
        ours, theirs = [await client.predict_many(TROUBLES, on_error="return") for client in (here, there)]
        assert [(type(each), each.args, each.row) for each in theirs] == [
            (type(each), each.args, each.row) for each in ours
        ]
        for client in (here, there):
            with pytest.raises(NotFound, match="there is no step 'nope'; the steps are"):
                await client.predict_many(TROUBLES, step="nope")
            with pytest.raises(DeadlineExceeded):
                await client.predict("slow", timeout=0.2)


async def _outcome(client: Any, row: Any) -> Any:
    try:
        return await client.predict(row)
    except StrettoError as error:
        return error
