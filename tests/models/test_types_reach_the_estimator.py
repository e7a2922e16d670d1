"""What reaches `predict` has the types, names, order and values of the frame that the user would have passed.

A spy stands for the estimator: it answers with what it was given. ``STRETTO_EXAMPLES=20000 pytest`` on this file looks
for longer than the suite does.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from stretto import Client, model, step
from stretto.batch.frames import as_rows
from stretto.errors import InputError, ModelError
from stretto.testing.http_server import serving
from stretto.wire import decode_msgpack, encode_row
from tests.asgi import AsgiTransport

EXAMPLES = int(os.environ.get("STRETTO_EXAMPLES", "60"))
ZONE = dt.UTC


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the frame that a user makes of rows, with the types of the training frame."""
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in TYPES.items()})


CITY = pd.CategoricalDtype(["bonn", "ulm", "kiel"])
SIZE = pd.CategoricalDtype([3, 1, 2], ordered=True)
TYPES: dict[str, Any] = {
    **{f"{kind}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "float32": "float32",
    "float64": "float64",
    "flag": "bool",
    "city": CITY,
    "size": SIZE,
    "word": "str",
    "string": "string",
    "thing": "object",
    "price": "object",
    "rooms": "Int64",
    "small": "UInt8",
    "share": "Float64",
    "maybe": "boolean",
    "day": "datetime64[us]",
    "moment": "datetime64[ns]",
    "zoned": "datetime64[us, UTC]",
    "berlin": "datetime64[us, Europe/Berlin]",
    "span": "timedelta64[us]",
}


def _integers(name: str) -> st.SearchStrategy[int]:
    limits = np.iinfo(name)
    return st.integers(int(limits.min), int(limits.max))


def _or_missing(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


DAYS = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1))
FAR = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 1, 1))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **{f"{kind}{bits}": _integers(f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "float32": _or_missing(st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "float64": _or_missing(st.floats(allow_nan=False, allow_infinity=False)),
    "flag": st.booleans(),
    "city": _or_missing(st.sampled_from(["bonn", "ulm", "kiel"])),
    "size": _or_missing(st.sampled_from([3, 1, 2])),
    "word": _or_missing(TEXTS),
    "string": _or_missing(TEXTS),
    "thing": st.integers(-5, 5) | TEXTS | st.booleans(),
    "price": st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-99, max_value=99),
    "rooms": _or_missing(_integers("int64")),
    "small": _or_missing(_integers("uint8")),
    "share": _or_missing(st.floats(allow_nan=False, allow_infinity=False)),
    "maybe": _or_missing(st.booleans()),
    "day": _or_missing(FAR),
    "moment": _or_missing(DAYS),
    "zoned": _or_missing(DAYS.map(lambda day: day.replace(tzinfo=ZONE))),
    "berlin": _or_missing(DAYS.map(lambda day: day.replace(tzinfo=ZONE))),
    "span": _or_missing(st.timedeltas(dt.timedelta(-1000), dt.timedelta(1000))),
}
ROW = st.fixed_dictionaries(VALUES)
ROWS = st.lists(ROW, min_size=1, max_size=4)

FIRST: dict[str, Any] = {
    **{name: 1 for name in TYPES if "int" in name},
    "float32": 1.0,
    "float64": 1.0,
    "flag": True,
    "city": "bonn",
    "size": 1,
    "word": "a",
    "string": "a",
    "thing": 1,
    "price": Decimal("1.50"),
    "rooms": 1,
    "small": 1,
    "share": 1.0,
    "maybe": True,
    "day": dt.datetime(2024, 1, 1),
    "moment": dt.datetime(2024, 1, 1),
    "zoned": dt.datetime(2024, 1, 1, tzinfo=ZONE),
    "berlin": dt.datetime(2024, 1, 1, tzinfo=ZONE),
    "span": dt.timedelta(1),
}
TRAIN = frame_of([FIRST, {**FIRST, "thing": "text"}])


class Spy:
    """Answers each row with what it was given: the type of the table, and name, type and value of each column."""

    def predict(self, frame: Any) -> list[str]:
        """Return a line for each row."""
        columns = [(name, str(frame[name].dtype), list(frame[name])) for name in frame.columns]
        kind = type(frame).__name__
        return [
            "|".join([kind, *(f"{name}:{dtype}={_shown(values[i])}" for name, dtype, values in columns)])
            for i in range(len(frame))
        ]


def _shown(value: Any) -> str:
    return "missing" if pd.isna(value) and value is not pd.NA else f"{type(value).__name__} {value!r}"


SPY = Spy()
PART = model(SPY, name="spy", features=TRAIN)


def as_json(value: Any) -> Any:
    """Return a value as programs write it in JSON."""
    match value:
        case Decimal():
            return str(value)
        case dt.datetime():
            return value.isoformat()
        case dt.timedelta():
            return pd.Timedelta(value).isoformat()
        case _:
            return value


def agree(form: str, got: list[Any], want: list[str]) -> None:
    """Check that rows reached the estimator as they should, and say which columns did not."""
    for one, right in zip(got, want, strict=True):
        assert isinstance(one, str), f"{form}: {one!r}"
        differing = sorted(set(one.split("|")) ^ set(right.split("|")))
        assert one == right, f"{form}: {differing}"


@pytest.mark.parametrize("way", ["in process", "over HTTP", "as JSON"])
def test_what_reaches_the_estimator_is_the_users_own_frame(way: str) -> None:
    async def run(rows: list[dict[str, Any]], client: Client[Any, Any]) -> None:
        frame = frame_of(rows)
        want = SPY.predict(frame)
        turned = [dict(reversed(row.items())) for row in rows]
        if way == "as JSON":
            forms = {"JSON": [{name: as_json(each) for name, each in row.items()} for row in turned]}
        else:
            forms = {
                "frame": frame,
                "frame in another order": frame[frame.columns[::-1]],
                "dicts": turned,
                "tuples": [tuple(row[name] for name in TYPES) for row in rows],
                "objects": frame.astype(object).to_dict("records"),
            }
        for form, given_rows in forms.items():
            agree(form, await client.predict_many(given_rows, on_error="return"), want)
        for i in range(len(rows)):
            agree(
                "a row",
                [await client.predict(forms["JSON"][i] if way == "as JSON" else frame[i : i + 1])],
                want[i : i + 1],
            )
        assert await client.predict_many(forms["JSON"][:0] if way == "as JSON" else frame[:0]) == []

    async def all_examples() -> None:
        loop = asyncio.get_running_loop()

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(ROWS)
        def example(rows: list[dict[str, Any]]) -> None:
            asyncio.run_coroutine_threadsafe(run(rows, client), loop).result(60)

        if way == "in process":
            async with Client(PART) as client:
                await asyncio.to_thread(example)
        elif way == "as JSON":
            client = Client(AsgiTransport(PART))
            async with client:
                await asyncio.to_thread(example)
        else:
            async with serving(PART) as url, Client(url) as client:
                await asyncio.to_thread(example)

    asyncio.run(all_examples())


@settings(max_examples=EXAMPLES, deadline=None)
@given(ROWS)
def test_a_frame_arrives_over_the_wire_as_it_was(rows: list[dict[str, Any]]) -> None:
    sent = as_rows(frame_of(rows))
    got = decode_msgpack(encode_row(sent))
    for name, column in sent.columns.items():
        assert got.columns[name].dtype == column.dtype
        assert list(map(_shown, got.columns[name])) == list(map(_shown, column))


async def test_a_number_of_another_type_reaches_the_estimator_as_in_a_frame_of_its_own() -> None:
    odd = [{**FIRST, "int8": 300}, {**FIRST, "int32": 1.5}, {**FIRST, "uint8": None}, {**FIRST, "city": "rom"}]
    async with Client(PART) as client:
        for row, name, said in zip(
            odd,
            ["int8", "int32", "uint8", "city"],
            ["int8:int64=int 300", "int32:float64=float 1.5", "uint8:float64=missing", "city:category=str 'rom'"],
            strict=True,
        ):
            assert said in await client.predict(row), name
        # No row sees another: a neighbour keeps its own types.
        odd += [{**FIRST, "city": "paris"}, {**FIRST, "day": pd.Timestamp("2024-01-01 00:00:00.000000001")}]
        among = await client.predict_many([FIRST, *odd, FIRST])
        alone = [await client.predict(row) for row in [FIRST, *odd, FIRST]]
        assert among == alone


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("int8", "1", "which is a str, and the model has int8 here; write it without quotes"),
        ("flag", "yes", "and the model has bool here"),
        ("word", 5, "and the model has str here"),
        ("day", "yesterday", "a date is written as ISO 8601"),
        ("day", 5, "and the model has datetime64"),
        ("zoned", "2024-01-01T00:00:00", "it has no time zone"),
        ("day", "2024-01-01T00:00:00+02:00", "it has a time zone"),
        ("city", ["bonn"], "a list"),
    ],
)
async def test_a_value_of_another_kind_says_which_column_expected_and_got(name: str, value: Any, says: str) -> None:
    async with Client(PART) as client:
        answers = await client.predict_many([FIRST, {**FIRST, name: value}, FIRST], on_error="return")
        assert answers[0] == answers[2] == SPY.predict(frame_of([FIRST]))[0]
        assert answers[1].field == name
        assert says in answers[1].message


async def test_columns_of_a_json_table_are_rows() -> None:
    rows = [{name: as_json(each) for name, each in row.items()} for row in (FIRST, {**FIRST, "int8": 2})]
    names = list(FIRST)
    forms = [
        {name: [row[name] for row in rows] for name in names},
        {"dataframe_split": {"columns": names, "index": [0, 1], "data": [list(row.values()) for row in rows]}},
        {"columns": names, "data": [list(row.values()) for row in rows]},
        {"dataframe_records": rows},
        {"instances": rows},
        {"inputs": {name: [row[name] for row in rows] for name in names}},
    ]
    transport = AsgiTransport(PART)
    async with Client(transport):
        for body in forms:
            response = await transport.client.post("/batch", content=json.dumps(body))
            assert [each["answer"] for each in response.json()["outcomes"]] == SPY.predict(
                frame_of([FIRST, {**FIRST, "int8": 2}])
            )
        ragged = await transport.client.post("/batch", content=json.dumps({"columns": ["a"], "data": [[1], [1, 2]]}))
        assert (ragged.status_code, ragged.json()["detail"]) == (422, "row 1 of data does not have 1 values")


class Kinds:
    """Answers each row with the type of the table, and of its numbers."""

    n_features_in_ = 2

    def predict(self, table: Any) -> list[str]:
        return [f"{type(table).__name__} {table.dtype}"] * table.shape[0]


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array"])
async def test_sparse_rows_reach_the_estimator_sparse(kind: str) -> None:
    table = getattr(sparse, kind)([[1.0, 0], [0, 0], [0, 4]])
    part = model(Kinds(), name="kinds")
    async with Client(part) as client, serving(part) as url, Client(url) as remote:
        for asked in (client, remote):
            many = await asked.predict_many(table)
            one = [await asked.predict(table[at : at + 1]) for at in range(3)]
            streamed = [answer async for answer in asked.map(table)]
            mixed = await asked.predict_many([table[:1], [1.0, 2.0]])
            assert many == one == streamed == [f"{kind} float64"] * 3
            assert mixed == [f"{kind} float64", "ndarray float64"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.array([[1, 2], [3, 4]], dtype=np.int8), ["ndarray int8", "ndarray int8"]),
        (np.array([[1, 2]], dtype=np.float32), ["ndarray float32"]),
        (list(np.array([[1, 2]], dtype=np.float32)), ["ndarray float32"]),
        ([[1, 2], (1, 2.5), [True, False]], ["ndarray int64", "ndarray float64", "ndarray bool"]),
        ([["a", 2], [None, 2], ["b", 2]], ["ndarray object", "ndarray float64", "ndarray object"]),
    ],
)
async def test_an_object_that_was_fitted_on_arrays_gets_the_type_that_they_have(rows: Any, says: list[str]) -> None:
    async with Client(model(Kinds(), name="kinds")) as client:
        assert await client.predict_many(rows) == says
        assert [await client.predict(row) for row in rows] == says


async def test_a_frame_of_one_row_reaches_the_estimator_as_one_of_many() -> None:
    class Own:
        feature_names_in_ = np.array(["n", "city"], dtype=object)
        n_features_in_ = 2

        def predict(self, frame: pd.DataFrame) -> list[str]:
            return [" ".join(str(each) for each in frame.dtypes)] * len(frame)

    frame = pd.DataFrame({"n": np.array([1, 2], dtype=np.int8), "city": pd.Categorical(["ulm", "bonn"])})
    part = model(Own(), name="own")
    async with Client(part) as client, serving(part) as url, Client(url) as remote:
        for asked in (client, remote):
            one_by_one = await asyncio.gather(*(asked.predict(frame[at : at + 1]) for at in range(2)))
            streamed = [answer async for answer in asked.map(frame)]
            assert await asked.predict_many(frame) == one_by_one == streamed == ["int8 category"] * 2
            assert (await asked.trace(frame[:1])).answer == "int8 category"
            assert await asked.predict_many([frame[:1], {"n": 1, "city": "ulm"}]) == ["int8 category", "int64 object"]


async def test_numbers_of_a_signature_in_float32_are_rounded_as_in_its_array() -> None:
    rows = np.array([[0.1], [0.3], [0.2]], dtype=np.float32)
    nearest = KNeighborsClassifier(1).fit(rows, [0, 1, 2])
    async with Client(model(nearest, output="proba", features=rows)) as client:
        want = nearest.predict_proba(np.array([[0.1], [0.25], [0.3]], dtype=np.float32))
        assert np.array_equal(await client.predict_many([[0.1], [0.25], [0.3]]), want)
        with pytest.raises(InputError, match="infinite, or too large"):
            await client.predict([1e300])


async def test_columns_that_are_numbered_are_taken_by_position() -> None:
    frame = pd.DataFrame({1: [0.0, 5.0], 0: [5.0, 0.0]})
    for estimator in (LogisticRegression(), make_pipeline(OneHotEncoder(), LogisticRegression())):
        fitted = estimator.fit(frame, [0, 1])
        async with Client(model(fitted)) as client:
            assert await client.predict_many(frame) == fitted.predict(frame).tolist()
            assert await client.predict(frame[:1]) == fitted.predict(frame[:1])[0]


async def test_categories_that_are_numbers_are_numbers() -> None:
    frame = pd.DataFrame({"grade": pd.Categorical([1, 2, 3, 1])})
    for estimator in (
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=1, categorical_features="from_dtype"),
    ):
        fitted = estimator.fit(frame, [0, 1, 1, 0])
        async with Client(model(fitted, features=frame)) as client:
            assert await client.predict_many(frame) == fitted.predict(frame).tolist()
            assert await client.predict({"grade": 2}) == fitted.predict(frame[1:2])[0]


async def test_an_array_of_numbers_in_a_column_of_objects_is_one_of_objects() -> None:
    async with Client(model(SPY, name="spy", features=pd.DataFrame({"thing": ["a", 1]}))) as client:
        for rows in (pd.DataFrame({"thing": [7]}), pl.DataFrame({"thing": [7]}), [{"thing": 7}]):
            assert await client.predict_many(rows) == ["DataFrame|thing:object=int 7"]


async def test_large_integers_beside_missing_ones_keep_their_digits() -> None:
    large = 2**60 + 1
    part = model(SPY, name="spy", features=pd.DataFrame({"n": [1]}))
    want = [f"DataFrame|n:int64=int {large}", "DataFrame|n:float64=missing"]
    async with Client(part) as client:
        for frame in (pl.DataFrame({"n": [large, None]}), pa.table({"n": [large, None]})):
            assert await client.predict_many(frame) == want


@pytest.mark.parametrize("name", sorted(TYPES))
async def test_no_rows_have_no_answers_whatever_their_type(name: str) -> None:
    async with Client(model(SPY, features=TRAIN[[name]])) as client:
        for none in ([], TRAIN[[name]][:0], TRAIN[[name]][:0].astype(object), np.empty((0, 1), dtype=object)):
            assert await client.predict_many(none) == []


async def test_no_rows_have_no_answers_where_the_function_takes_none() -> None:
    async with Client(step(lambda rows: [max(rows)] * len(rows), name="highest", vectorized=True)) as client:
        assert await client.predict_many([]) == []


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame({"n": [1, 2], "more": [1, 2]}), "features= has 2 names, but LogisticRegression was fitted on 1"),
        (pd.DataFrame({"k": [1, 2]}), "features= has a column 'k', but LogisticRegression was fitted on 'n'"),
        (pd.DataFrame({"n": ["a", "b"]}), "features= has texts in column 'n', and LogisticRegression takes numbers"),
    ],
)
def test_a_signature_that_does_not_fit_is_refused_when_the_model_is_made(frame: pd.DataFrame, says: str) -> None:
    fitted = LogisticRegression().fit(pd.DataFrame({"n": [1, 2]}), [0, 1])
    with pytest.raises(ModelError, match=says):
        model(fitted, features=frame)


async def test_an_object_of_ones_own_that_was_fitted_on_a_frame_gets_its_types() -> None:
    class Own:
        feature_names_in_ = np.array(["n"], dtype=object)
        n_features_in_ = 1

        def predict(self, frame: pd.DataFrame) -> list[str]:
            return [str(frame["n"].dtype)] * len(frame)

    async with Client(model(Own(), name="own")) as client:
        assert await client.predict_many(pd.DataFrame({"n": np.array([1, 2], dtype=np.int8)})) == ["int8", "int8"]
        assert [await client.predict({"n": each}) for each in (1, 1.5, True)] == ["int64", "float64", "bool"]
