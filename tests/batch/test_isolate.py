"""The row law's own code: what `each_row` and `isolate` return, and what they call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.batch.isolate import each_row, isolate
from stretto.engine.threads import run_sync
from stretto.errors import BadRows

rows = st.lists(st.integers(-3, 3), max_size=12)


def one(x: int) -> float:
    return 12 / x


def many(xs: list[int]) -> list[float]:
    return [12 / x for x in xs]


def named(xs: list[int]) -> list[float]:
    bad = {i: ZeroDivisionError("division by zero") for i, x in enumerate(xs) if not x}
    if bad:
        raise BadRows(dict(list(bad.items())[:1]))
    return many(xs)


@given(rows)
def test_a_row_has_the_same_outcome_alone_as_among_others(xs: list[int]) -> None:
    alone = [each_row([x], one).as_list()[0] for x in xs]
    for function in (None, many, named, lambda _: None):
        assert list(map(repr, each_row(xs, one, function).as_list())) == list(map(repr, alone))


@given(rows, st.sampled_from([many, named]), st.integers(2, 5))
def test_isolating_finds_the_failing_rows_and_no_others(xs: list[int], function: Any, parts: int) -> None:
    async def ask(positions: Sequence[int]) -> list[float]:
        return function([xs[i] for i in positions])

    found: dict[int, Any] = {}
    for positions, answer in run_sync(isolate(len(xs), ask, parts=parts)):
        answers = [answer] * len(positions) if isinstance(answer, Exception) else answer
        found |= dict(zip(positions, answers, strict=True))
    assert [repr(found[i]) for i in range(len(xs))] == list(map(repr, each_row(xs, one).as_list()))


def test_rows_are_called_one_by_one_only_where_many_cannot() -> None:
    called: list[int] = []
    outcomes = each_row([1, 2], lambda x: called.append(x), lambda xs: [x + 1 for x in xs])
    assert (outcomes.require(), called) == ([2, 3], [])


def test_a_row_that_is_named_is_not_called_again() -> None:
    called: list[int] = []

    def bad(xs: list[int]) -> list[int]:
        raise BadRows({1: ValueError("no")})

    outcomes = each_row([1, 2, 3], lambda x: called.append(x) or x, bad)
    assert (outcomes.values, list(outcomes.errors), called) == ([1, None, 3], [1], [1, 3])
    with pytest.raises(BadRows) as caught:
        outcomes.require()
    assert list(caught.value.errors) == [1]


async def test_only_the_named_kinds_of_failure_split_the_rows() -> None:
    async def ask(positions: Sequence[int]) -> int:
        if len(positions) > 1:
            raise ConnectionError("died")
        raise ValueError("not ours")

    with pytest.raises(ValueError, match="not ours"):
        await isolate(2, ask, ConnectionError)


async def test_bad_rows_that_name_no_row_fail_all_that_were_asked_for() -> None:
    async def ask(positions: Sequence[int]) -> int:
        raise BadRows({7: ValueError("out of range")})

    ((positions, error),) = await isolate(3, ask)
    assert (list(positions), type(error)) == ([0, 1, 2], BadRows)
