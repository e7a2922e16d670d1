"""A model answers each row as its estimator alone answers the user's own frame of that row.

Estimators, forms of rows and ways to ask are drawn. Where the estimator raises, that row alone fails, with an error of
ours. ``STRETTO_EXAMPLES=20000 pytest`` on this file looks for longer than the suite does.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from stretto import Client, Pipeline, model, step
from stretto.errors import InputError, StepError
from stretto.testing.http_server import serving
from tests.asgi import AsgiTransport
from tests.models.estimators import CASES, HOMES, Case

EXAMPLES = int(os.environ.get("STRETTO_EXAMPLES", "100"))

pytestmark = pytest.mark.filterwarnings("ignore")

ODD: dict[str, st.SearchStrategy[Any]] = {
    "zip": st.sampled_from([10115, 99999, -1, 2**40, 2**60 + 1, None]),
    "rooms": st.sampled_from([-7, 127, 300, None]),
    "area": st.none() | st.floats(-1e6, 1e6),
    "share": st.none() | st.floats(-1e3, 1e3, width=32),
    "garden": st.none() | st.booleans(),
    "city": st.sampled_from(["rom", "", "Ulm", None]),
    "street": st.sampled_from(["allee", "ring ", None]),
    "kind": st.sampled_from(["boat", "", None]),
    "grade": st.sampled_from([9, 0, None]),
    "floor": st.sampled_from([-1, 100, None]),
    "built": st.none() | st.datetimes(dt.datetime(1850, 1, 1), dt.datetime(2100, 1, 1)),
    "code": st.sampled_from(["c", 8, None]),
    "note": st.sampled_from(["", "bright", "never heard", "RIVER river"]),
    "length": st.none() | st.floats(-1e9, 1e9) | st.just(float("inf")),
    "width": st.none() | st.floats(-1e9, 1e9) | st.just(float("inf")),
}


@st.composite
def row_of(draw: st.DrawFn, case: Case) -> dict[str, Any]:
    """Draw a row: one of the homes, where some values may be unseen or missing."""
    home = HOME_ROWS[draw(st.integers(0, len(HOME_ROWS) - 1))]
    row = {name: home[name] for name in case.columns}
    for name in draw(st.lists(st.sampled_from(case.columns), max_size=2)):
        row[name] = draw(ODD[name])
    return row


def _python(value: Any) -> Any:
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


HOME_ROWS = [{name: _python(value) for name, value in row.items()} for row in HOMES.astype(object).to_dict("records")]


def series_of(values: list[Any], dtype: Any, numbers: bool = False) -> pd.Series:
    """Return the column that a user has: of the type of the homes, or of the type that its values need."""
    gone = [each is None for each in values]
    if isinstance(dtype, pd.CategoricalDtype):
        unseen = [each for each in dict.fromkeys(values) if each is not None and each not in dtype.categories]
        return pd.Series(pd.Categorical(values, categories=[*dtype.categories, *unseen], ordered=dtype.ordered))
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        if any(gone):
            return pd.Series(values, dtype="float64")
        limits = np.iinfo(dtype)
        fits = all(limits.min <= each <= limits.max for each in values)
        return pd.Series(values, dtype=dtype if fits else "int64")
    if str(dtype) == "bool" and any(gone):
        return pd.Series(values, dtype="float64" if numbers else "object")
    return pd.Series(values, dtype=dtype)


def frame_of(case: Case, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the frame that a user makes of rows."""
    columns = {name: [row[name] for row in rows] for name in case.columns}
    return pd.DataFrame({name: series_of(each, HOMES.dtypes[name], case.numbers) for name, each in columns.items()})


def table_of(case: Case, rows: list[dict[str, Any]], dtype: str | None = None) -> np.ndarray:
    """Return the array that a user makes of rows."""
    values = [list(row.values()) for row in rows]
    dtype = dtype or case.dtype
    if dtype == "int64" and any(each is None for row in values for each in row):
        dtype = "float64"
    if dtype == "object":
        table = np.empty((len(rows), len(case.columns)), dtype=object)
        for at, row in enumerate(values):
            table[at, :] = [np.nan if each is None else each for each in row]
        return table
    return np.array(values, dtype=dtype).reshape(len(rows), len(case.columns))


def outputs_of(case: Case) -> list[str]:
    """Return the outputs that a case is asked for."""
    if case.form == "row" or not hasattr(case.estimator, "predict"):
        return ["predict"]
    methods = {"proba": "predict_proba", "decision": "decision_function"}
    return ["predict", *(output for output, method in methods.items() if hasattr(case.estimator, method))]


def alone(case: Case, output: str, rows: Any) -> Any:
    """Return the estimator's own answer to the only row, or what it raised."""
    several = {"proba": ("predict_proba",), "decision": ("decision_function",)}
    names = several.get(output, ("predict", "transform", "__call__"))
    method = next(name for name in names if hasattr(case.estimator, name))
    try:
        answer = getattr(case.estimator, method)(rows)
        if case.form == "row":
            return answer
    except Exception as error:
        return error
    if isinstance(answer, pd.DataFrame):
        return {str(name): value[0] for name, value in answer.to_dict("list").items()}
    if isinstance(answer, list) and isinstance(answer[0], np.ndarray):
        return [each[0] for each in answer]
    answer = answer.toarray() if sparse.issparse(answer) else np.asarray(answer)
    return answer[0, 0] if method == "predict" and answer.ndim == 2 and answer.shape[1] == 1 else answer[0]


def same(got: Any, want: Any, close: float = 1e-6) -> bool:
    """Return whether two answers are equal: numbers within rounding, any missing value as any other."""
    if isinstance(want, dict):
        return isinstance(got, dict) and list(got) == list(want) and all(same(got[key], want[key]) for key in want)
    if isinstance(want, list | tuple | np.ndarray):
        got, want = list(got), list(want)
        return len(got) == len(want) and all(map(same, got, want, [close] * len(want)))
    if pd.isna(want):
        return bool(pd.isna(got))
    if isinstance(want, float | np.floating):
        return bool(np.isclose(got, want, rtol=close, atol=close))
    got, want = (each.item() if isinstance(each, np.generic) else each for each in (got, want))
    return type(got) is type(want) and bool(got == want)


def agree(got: list[Any], want: list[Any], said: str) -> None:
    """Check that each row has the estimator's answer, or an error of ours where the estimator raised."""
    assert len(got) == len(want), said
    for at, (ours, theirs) in enumerate(zip(got, want, strict=True)):
        if isinstance(theirs, Exception):
            assert isinstance(ours, InputError | StepError), f"{said}, row {at}: {ours!r} where it raised {theirs!r}"
        else:
            assert not isinstance(ours, Exception), f"{said}, row {at}: {ours!r} where it answered {theirs!r}"
            assert same(ours, theirs), f"{said}, row {at}: {ours!r} where it answered {theirs!r}"


def as_json(value: Any) -> Any:
    """Return a value as programs write it in JSON."""
    return value.isoformat() if isinstance(value, dt.datetime) else value


def polars_of(case: Case, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return the frame of polars."""
    types = {"int64": pl.Int64, "int8": pl.Int64, "Int64": pl.Int64, "float64": pl.Float64, "float32": pl.Float32}
    columns = {}
    for name in case.columns:
        values = [row[name] for row in rows]
        dtype = {"bool": pl.Boolean, "str": pl.String, "datetime64[us]": pl.Datetime("us")} | types
        kind = dtype.get(str(HOMES.dtypes[name]), pl.Int64 if name == "grade" else pl.Categorical)
        columns[name] = pl.Series(name, values, dtype=kind)
    return pl.DataFrame(columns)


FORMS: dict[str, list[str]] = {
    "frame": ["frame", "turned frame", "dicts", "in order", "objects", "polars", "arrow", "series"],
    "array": ["array", "arrays", "in order", "float32", "sparse"],
    "text": ["values", "series", "polars"],
    "row": ["dicts", "frame", "arrow"],
}
JSON = ("dicts", "in order", "values")


def forms_of(case: Case, signed: bool, way: str) -> list[str]:
    """Return the forms in which a case takes rows."""
    forms = FORMS[case.form]
    if case.form == "array":
        left_out = set() if case.dtype == "float64" else {"float32", "sparse"}
        forms = [each for each in forms if each not in left_out] + (["dicts"] if case.signed is False else [])
    if case.typed and not signed and case.form == "frame":
        forms = forms[:2]  # the types are in a frame alone
    if "code" in case.columns:
        forms = [
            each for each in forms if each not in ("polars", "arrow")
        ]  # which have no columns of texts and numbers
    return [each for each in forms if way != "as JSON" or each in JSON]


def in_form(case: Case, form: str, rows: list[dict[str, Any]]) -> Any:
    """Return rows in one form."""
    match form:
        case "frame":
            return frame_of(case, rows)
        case "turned frame":
            return frame_of(case, rows)[list(reversed(case.columns))]
        case "dicts":
            return [dict(reversed(row.items())) for row in rows]
        case "in order":
            return [tuple(row.values()) for row in rows]
        case "objects":
            return [np.array(list(row.values()), dtype=object) for row in rows]
        case "polars" if case.form == "text":
            return pl.Series(in_form(case, "values", rows), dtype=pl.String)
        case "polars":
            return polars_of(case, rows)
        case "arrow":
            return pa.table({name: pa.Array.from_pandas(column) for name, column in frame_of(case, rows).items()})
        case "series" if case.form == "text":
            return pd.Series(in_form(case, "values", rows), dtype="str")
        case "series":
            return [frame_of(case, [row]).iloc[0] for row in rows]
        case "values":
            return [row["note"] for row in rows]
        case "array":
            return table_of(case, rows)
        case "arrays":
            return list(table_of(case, rows))
        case "float32":
            return table_of(case, rows, "float32")
        case _:
            return sparse.csr_array(table_of(case, rows))


def answers_of(case: Case, output: str, signed: bool, form: str, rows: list[dict[str, Any]]) -> list[Any]:
    """Return the estimator's own answer to each row: with a signature, to one with the types that it has."""
    if not rows:
        return []
    match case.form:
        case "row" if form == "dicts":
            tables: list[Any] = rows
        case "row":
            tables = frame_of(case, rows).astype(object).to_dict("records")
        case "text":
            tables = [[row["note"]] for row in rows]
        case "array" if form in ("sparse", "float32") or (form in ("array", "arrays") and not signed):
            table = in_form(case, "array" if form == "arrays" else form, rows)
            table = table.astype("float64") if form == "float32" and signed else table
            tables = [table[at : at + 1] for at in range(len(rows))]
        case "array":
            # Without a signature nobody recorded that numbers are float32.
            dtype = "float64" if case.dtype == "float32" and not signed else case.dtype
            tables = [table_of(case, [row], dtype) for row in rows]
        case _ if form in ("frame", "turned frame") and not signed:
            frame = frame_of(case, rows)
            tables = [frame[at : at + 1] for at in range(len(rows))]
        case _:
            tables = [frame_of(case, [row]) for row in rows]
    return [alone(case, output, table) for table in tables]


@cache
def part_of(name: str, output: str, signed: bool) -> Pipeline[Any, Any]:
    """Return the part that is asked."""
    case = CASES[name]
    if case.form == "row":
        return step(case.estimator, name="m")
    if not hasattr(case.estimator, "predict") and not hasattr(case.estimator, "transform"):
        return model(case.estimator, name="m", features=list(case.columns))
    return model(case.estimator, name="m", output=output, features=case.rows if signed else None)


@st.composite
def examples(draw: st.DrawFn, way: str) -> tuple[str, str, bool, str, list[dict[str, Any]], bool]:
    """Draw a case, an output, whether with a signature, a form of rows, the rows, and if they are asked one by one."""
    name = draw(st.sampled_from(list(CASES)))
    case = CASES[name]
    output = draw(st.sampled_from(outputs_of(case)))
    signed = draw(st.booleans()) if case.signed is None else case.signed
    if way == "as JSON" and case.typed:
        signed = True  # JSON has no types
    form = draw(st.sampled_from(forms_of(case, signed, way)))
    rows = draw(st.lists(row_of(case), max_size=4))
    if way == "as JSON":
        rows = [{key: _finite(value) for key, value in row.items()} for row in rows]
    return name, output, signed, form, rows, draw(st.booleans())


def _finite(value: Any) -> Any:
    return 1e300 if value == float("inf") else value


async def check(client: Client[Any, Any], way: str, drawn: tuple[Any, ...]) -> None:
    """Check the answers of a case to rows in a form: one by one, or together."""
    name, output, signed, form, rows, singly = drawn
    case = CASES[name]
    said = (
        f"{name}, {output}, {'signed' if signed else 'unsigned'}, {form}, {way}, {'one by one' if singly else 'many'}"
    )
    want = answers_of(case, output, signed, form, rows)
    sent = [{key: as_json(value) for key, value in row.items()} for row in rows] if way == "as JSON" else rows
    asked = in_form(case, form, sent)
    if not singly:
        agree(await client.predict_many(asked, on_error="return"), want, said)
    else:
        asked = list(asked) if case.form == "text" else asked
        whole = hasattr(asked, "columns") or sparse.issparse(asked)
        each = [asked[at : at + 1] if whole else asked[at] for at in range(len(rows))]
        agree(await asyncio.gather(*map(client.predict, each), return_exceptions=True), want, said)


@pytest.mark.parametrize("way", ["in process", "over HTTP", "as JSON"])
def test_a_model_answers_as_its_estimator_alone(way: str) -> None:
    async def all_examples() -> None:
        loop = asyncio.get_running_loop()
        clients: dict[Any, Client[Any, Any]] = {}

        async with AsyncExitStack() as stack:

            async def client_of(*key: Any) -> Client[Any, Any]:
                if key not in clients:
                    part = part_of(*key)
                    match way:
                        case "in process":
                            target: Any = part
                        case "as JSON":
                            target = AsgiTransport(part)
                        case _:
                            target = await stack.enter_async_context(serving(part))
                    clients[key] = await stack.enter_async_context(Client(target))
                return clients[key]

            async def run(drawn: tuple[Any, ...]) -> None:
                await check(await client_of(*drawn[:3]), way, drawn)

            @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
            @given(examples(way))
            def example(drawn: Any) -> None:
                asyncio.run_coroutine_threadsafe(run(drawn), loop).result(60)

            await asyncio.to_thread(example)

    asyncio.run(all_examples())
