"""Outputs of the Open Inference Protocol equal what `predict_many` returns for the same rows.

Estimators, rows, and the forms of tensors are drawn. Where rows fail, the error of the request is that of the first.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stretto import Client, Pipeline, model
from stretto.errors import StrettoError
from stretto.server import asgi
from tests.inference import answers_of, posted, tensor
from tests.models.estimators import CASES
from tests.models.test_estimators_answer_as_alone import outputs_of, row_of, same

pytestmark = pytest.mark.filterwarnings("ignore")

# A column of texts and numbers is no tensor, and some rows are no table.
DRAWN = [name for name, case in CASES.items() if case.form != "row" and "code" not in case.columns]


@cache
def pipeline_of(name: str, output: Any) -> Pipeline[Any, Any]:
    case = CASES[name]
    signed = {"features": list(case.columns)} if case.form == "array" else {"features": case.rows}
    return model(case.estimator, name="drawn", output=output, **({} if case.signed is False else signed))


def column_of(values: list[Any]) -> list[Any]:
    """Return the values as a tensor has them: one type, dates as ISO 8601, and missing ones among floats and texts."""
    values = [each.isoformat() if isinstance(each, dt.datetime) else each for each in values]
    present = [each for each in values if each is not None]
    if any(isinstance(each, bool) for each in present):
        return [bool(each) for each in values]
    if any(isinstance(each, float) for each in present) or (
        len(present) < len(values) and not any(isinstance(each, str) for each in present)
    ):
        return [None if each is None else float(each) for each in values]
    return values


@pytest.mark.timeout(300)
@settings(suppress_health_check=list(HealthCheck), max_examples=80)
@given(data=st.data())
async def test_outputs_are_the_answers_of_predict_many(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(DRAWN))
    case = CASES[name]
    pipeline = pipeline_of(name, data.draw(st.sampled_from(outputs_of(case))))
    drawn = data.draw(st.lists(row_of(case), min_size=1, max_size=4))
    columns = {each: column_of([row[each] for row in drawn]) for each in case.columns}
    binary = data.draw(st.booleans())
    if case.form == "text":
        rows: list[Any] = next(iter(columns.values()))
        tensors = [tensor("text", rows, binary=binary)]
    elif case.form == "array" and all(type(each) is float for column in columns.values() for each in column):
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        tensors = [tensor("x", np.array(rows), binary=binary)]
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        tensors = [tensor(each, values, binary=binary) for each, values in columns.items()]
    async with Client(pipeline) as client:
        expected = await client.predict_many(rows, on_error="return")
        transport = httpx.ASGITransport(asgi(client))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            response = await posted(http, "drawn", tensors, binary=data.draw(st.booleans()))
    failed = [at for at, each in enumerate(expected) if isinstance(each, StrettoError)]
    if failed:
        assert response.status_code == expected[failed[0]].status, response.text
        assert re.match(f"row {failed[0]}: ", response.json()["error"])
    else:
        answers = answers_of(response)
        assert len(answers) == len(expected)
        assert all(same(got, want) for got, want in zip(answers, expected, strict=True)), (answers, expected)
