"""Nothing is guessed about what a function returned: it is a row for each, or it is refused with words that help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import datetime64_dtypes, timedelta64_dtypes

from stretto import Client, Pipeline, step
from stretto.batch.dates import dates
from stretto.errors import StepError
from stretto.testing.http_server import serving
from stretto_composers import vote
from tests.asking import alike

DAYS = np.array(["2024-01-04", "2024-02-29T12:00:00.000001", "NaT"], dtype="M8[ns]")
AS_PYTHON = [datetime(2024, 1, 4), datetime(2024, 2, 29, 12, 0, 0, 1), None]
COLUMNS = {"count": [1, 2, 3], "share": [0.5, 0.25, 1.0], "kind": ["a", "b", "c"]}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


async def many(fn: Any, rows: Any) -> list[Any]:
    """Return the answers of a function over many rows."""
    return await alike(step(fn, name="fn", vectorized=True), rows)


def a_pipeline(x: Any) -> Any:
    return Pipeline(abs)


def a_plan(x: Any) -> Any:
    return Pipeline(abs).plan()


def a_vote(x: Any) -> Any:
    return vote(min, max)


def a_generator(x: Any) -> Iterator[Any]:
    yield x


async def an_async_generator(x: Any) -> AsyncIterator[Any]:
    yield x


def a_map(x: Any) -> Any:
    return map(abs, [x])


async def slept(x: Any) -> Any:
    return x


def a_coroutine(x: Any) -> Any:
    return slept(x)


NO_VALUES = {
    a_pipeline: r"gave a pipeline, which nobody runs; to choose between parts write switch\(",
    a_plan: "gave a pipeline",
    a_vote: "gave a pipeline",
    a_generator: r"gave an iterator \(generator\), which nobody iterates; return a list",
    an_async_generator: "gave an async generator, which nobody iterates; collect its values inside",
    a_map: r"gave an iterator \(map\)",
    a_coroutine: "make it 'async def' and await inside",
}


@pytest.mark.parametrize("fn", list(NO_VALUES), ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("kind", ["row", "blocking", "async", "vectorized", "elements"])
async def test_what_nobody_runs_is_no_answer(fn: Any, kind: str) -> None:
    async def awaited(x: Any) -> Any:
        return fn(x)

    ways: dict[str, Any] = {
        "row": Pipeline(fn),
        "blocking": step(fn, blocking=True),
        "async": Pipeline(awaited),
        "vectorized": step(fn, vectorized=True),
        "elements": step(lambda rows: [fn(row) for row in rows], vectorized=True),
    }
    async with Client(ways[kind]) as client:
        answers = await client.predict_many([1, 2], on_error="return")
        assert [type(each) for each in answers] == [StepError, StepError]
        with pytest.raises(StepError, match=NO_VALUES[fn]):
            await client.predict(1)


async def test_other_values_pass_as_they_are() -> None:
    """Ranges, sets, objects of one's own: what can be iterated twice is a value."""
    for value in (range(3), {1}, object(), np.float64(1.0), (1, 2)):
        async with Client(lambda x, value=value: value) as client:
            assert await client.predict(1) is value


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "both",
    [
        lambda x: (x, x * x),
        lambda x: (pd.Series(x), pd.Series(x)),
        lambda x: (x.tolist(), x.tolist()),
        lambda x: [x, x * x],
        lambda x: [x.tolist(), x.tolist()],
    ],
    ids=["arrays", "series", "lists", "a list of arrays", "a list of lists"],
)
async def test_several_columns_are_not_taken_for_rows(both: Any, size: int) -> None:
    async with Client(step(lambda rows: both(np.asarray(rows, float)), vectorized=True)) as client:
        answers = await client.predict_many(list(range(size)), on_error="return")
        assert all(isinstance(each, StepError) for each in answers)
        assert "np.column_stack" in str(answers[0]) or "as many as it takes" in str(answers[0])
        two = await asyncio.gather(client.predict(1), client.predict(2), return_exceptions=True)
        assert all(isinstance(each, StepError) for each in two)


async def test_rows_of_as_many_values_as_there_are_rows_stay_rows() -> None:
    table = np.arange(9.0).reshape(3, 3)
    for fn in (list, lambda x: np.asarray(x).tolist(), np.asarray):
        async with Client(step(fn, vectorized=True)) as client:
            assert np.array_equal(await client.predict_many(table), table)


@pytest.mark.parametrize(
    "frame",
    [pd.DataFrame, pl.DataFrame, pa.table, lambda columns: {key: np.array(each) for key, each in columns.items()}],
    ids=["pandas", "polars", "pyarrow", "dict"],
)
async def test_a_frame_is_named_rows_with_their_types(frame: Any) -> None:
    def named(rows: Any) -> Any:
        return frame({key: [each[row] for row in rows] for key, each in COLUMNS.items()})

    answers = await many(named, [0, 1, 2])
    assert repr(answers) == repr(ROWS)
    async with serving(step(named, vectorized=True)) as url, Client(url) as client:
        assert repr(await client.predict_many([0, 1, 2])) == repr(ROWS)


async def test_columns_that_are_only_counted_are_rows_of_an_array() -> None:
    answers = await many(lambda rows: pd.DataFrame([[row, 2 * row] for row in rows]), [1, 2, 3])
    assert np.array_equal(answers, [[1, 2], [2, 4], [3, 6]])


async def test_names_that_are_no_texts_become_texts_and_one_name_twice_is_refused() -> None:
    assert await many(lambda rows: pd.DataFrame({2020: rows, ("a", 1): rows}), [1]) == [{"2020": 1, "('a', 1)": 1}]
    async with Client(step(lambda rows: pd.DataFrame([[1, 2]], columns=["a", "a"]), vectorized=True)) as client:
        with pytest.raises(StepError, match="two columns 'a'"):
            await client.predict(1)
    async with Client(step(lambda rows: pl.DataFrame({"a": rows}).lazy(), vectorized=True)) as client:
        with pytest.raises(StepError, match="LazyFrame, which is lazy; collect"):
            await client.predict(1)


SERIES: dict[str, tuple[Any, list[Any]]] = {
    "Int64": (pd.array([1, None], "Int64"), [1, None]),
    "full Int64": (pd.array([2**60 + 1, 1], "Int64"), [2**60 + 1, 1]),
    "boolean": (pd.array([True, None], "boolean"), [True, None]),
    "string": (pd.array(["a", None], "string"), ["a", None]),
    "category": (pd.Categorical(["a", "b"]), ["a", "b"]),
    "dates": (pd.to_datetime(["2024-01-04", None]), [datetime(2024, 1, 4), None]),
    "zoned": (pd.to_datetime(["2024-01-04", None]).tz_localize("UTC"), [datetime(2024, 1, 4, tzinfo=UTC), None]),
    "spans": (pd.to_timedelta([3, 4], unit="D"), [timedelta(3), timedelta(4)]),
    "objects": (pd.Series([{"a": 1}, None], dtype=object), [{"a": 1}, None]),
}


@pytest.mark.parametrize("name", list(SERIES))
async def test_a_series_is_its_values(name: str) -> None:
    values, expected = SERIES[name]
    assert repr(await many(lambda rows: pd.Series(values).iloc[rows], [0, 1])) == repr(expected)
    assert repr(await many(lambda rows: {"a": pd.Series(values).iloc[rows]}, [0, 1])) == repr(
        [{"a": each} for each in expected]
    )


async def test_a_polars_series_is_its_values() -> None:
    assert await many(lambda rows: pl.Series([1, None, 3])[rows], [0, 1, 2]) == [1, None, 3]
    assert await many(lambda rows: pl.Series([date(2024, 1, 4)] * 2)[rows], [0, 1]) == [date(2024, 1, 4)] * 2


async def test_dates_are_pythons_in_any_unit() -> None:
    assert await many(lambda rows: DAYS[rows], [0, 1, 2]) == AS_PYTHON
    assert await many(lambda rows: {"due": DAYS[rows]}, [0, 1, 2]) == [{"due": each} for each in AS_PYTHON]
    assert await many(lambda rows: np.array([3], dtype="m8[D]").astype("m8[ns]"), [0]) == [timedelta(days=3)]
    async with serving(step(lambda rows: {"due": DAYS[rows]}, vectorized=True)) as url, Client(url) as client:
        assert await client.predict_many([0, 1, 2]) == [{"due": each} for each in AS_PYTHON]


@given(st.one_of(datetime64_dtypes(), timedelta64_dtypes()), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_a_date_that_python_can_not_hold_stays_as_it_is(dtype: Any, numbers: list[int]) -> None:
    array = np.array(numbers, dtype=np.int64).view(dtype.str[1:] if dtype.byteorder == "=" else dtype)
    for value, answer in zip(array, dates(array), strict=True):
        if np.isnat(value):
            assert answer is None
        elif isinstance(answer, np.generic):
            assert answer == value
        else:
            assert isinstance(answer, date | datetime | timedelta)
            assert same_moment(answer, value)


def same_moment(answer: date | timedelta, value: np.generic) -> bool:
    """Return whether the two are one; a span of many days fits a timedelta, and not 64 bits of microseconds."""
    if isinstance(answer, timedelta):
        unit, step = np.datetime_data(value.dtype)
        micro = {
            "W": 604_800_000_000,
            "D": 86_400_000_000,
            "h": 3_600_000_000,
            "m": 60_000_000,
            "s": 1_000_000,
            "ms": 1_000,
        }
        count = int(value.astype(np.int64)) * step
        if unit in ("us", *micro):
            return answer // timedelta(microseconds=1) == count * micro.get(unit, 1)
    return bool(np.array(answer).astype(value.dtype) == value)
