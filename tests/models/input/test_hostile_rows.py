"""Rows that a stranger sends: of any length, with any value, and each an answer or the caller's own error."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from stretto import Client, Pipeline, model
from stretto.errors import InputError

NUMBERS = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0] * 5, "c": [1, 2, 3, 4] * 5})
MIXED = NUMBERS.assign(b=["x", "y", "x", "z"] * 5)
Y = [0, 1, 0, 1] * 5


def mixed(*parts: Any, remainder: Any = "drop") -> Any:
    return make_pipeline(ColumnTransformer(list(parts), remainder=remainder), LogisticRegression()).fit(MIXED, Y)


ONE_HOT = (("n", StandardScaler(), ["a", "c"]), ("o", OneHotEncoder(handle_unknown="ignore"), ["b"]))
ORDINAL = ("o", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["b", "c"])
MODELS: dict[str, Pipeline[Any, Any]] = {
    "numbers": model(LogisticRegression().fit(NUMBERS, Y)),
    "positions": model(LogisticRegression().fit(NUMBERS.to_numpy(), Y)),
    "typed numbers": model(LogisticRegression().fit(NUMBERS, Y), features=NUMBERS),
    "missing numbers": model(HistGradientBoostingClassifier().fit(NUMBERS, Y)),
    "trees": model(RandomForestClassifier(3).fit(NUMBERS, Y)),
    "mixed": model(mixed(*ONE_HOT)),
    "typed": model(mixed(*ONE_HOT), features=MIXED),
    "passed through": model(mixed(ORDINAL, remainder="passthrough")),
}
ODD = [
    2**63,
    10**400,
    -(10**400),
    1e308,
    Decimal("sNaN"),
    Decimal("NaN"),
    Decimal("Infinity"),
    Decimal("1e400"),
    Decimal("1e-400"),
    float("inf"),
    float("nan"),
    None,
    np.datetime64("NaT"),
]


@pytest.mark.parametrize("name", MODELS)
async def test_an_odd_number_is_the_callers_fault(name: str) -> None:
    """None of these makes a step fail: the model takes it, or the row is refused."""
    names = list((MIXED if name in ("mixed", "typed", "passed through") else NUMBERS).columns)
    rows: list[Any] = []
    for column, odd in itertools.product(["a", "c"], ODD):
        row = {**dict.fromkeys(names, 1.0), "b": "x", column: odd}
        rows.append([row[each] for each in names] if name == "positions" else {each: row[each] for each in names})
    async with Client(MODELS[name]) as client:
        found = await client.predict_many(rows, on_error="return")
        for row, outcome in zip(rows, found, strict=True):
            assert not isinstance(outcome, Exception) or isinstance(outcome, InputError), row
            if isinstance(outcome, Exception):
                with pytest.raises(InputError):
                    await client.predict(row)


class LongList(Sequence[float]):
    """A row of more values than anybody can look at."""

    def __len__(self) -> int:
        return 10**12

    def __getitem__(self, at: Any) -> Any:
        return [1.0] * len(range(10**12)[at]) if isinstance(at, slice) else 1.0


class LongDict(Mapping[Any, float]):
    """A row of more names than anybody can look at, all of them alike in their beginnings."""

    def __len__(self) -> int:
        return 10**12

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain(["a", "b", "c"], map(self.name, itertools.count()))

    def __getitem__(self, name: Any) -> float:
        return 1.0

    def name(self, at: int) -> Any:
        return f"a{at}"


class Numbered(LongDict):
    """The same with names that are numbers."""

    def name(self, at: int) -> Any:
        return at


@pytest.mark.parametrize("row", [LongList(), LongDict(), Numbered(), np.broadcast_to(1.0, 10**12)])
@pytest.mark.parametrize("name", MODELS)
async def test_a_row_that_is_too_long_is_not_walked(name: str, row: Any) -> None:
    async with Client(MODELS[name]) as client:
        with pytest.raises(InputError) as caught:
            await client.predict(row)
        assert len(str(caught.value)) < 1000


async def test_names_of_rows_are_not_kept() -> None:
    async with Client(MODELS["numbers"]) as client:
        tracemalloc.start()
        try:
            for at in range(20):
                with pytest.raises(InputError, match="unknown feature"):
                    await client.predict({"a": 1.0, f"{at}" + "c" * 2**20: 1.0})
            assert tracemalloc.get_traced_memory()[0] < 5 * 2**20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("name", ["numbers", "mixed", "trees"])
async def test_a_sparse_table_is_not_made_dense_to_refuse_it(name: str) -> None:
    wide: Any = csr_array((np.ones(2), ([0, 1], [0, 1])), shape=(2, 2**30))
    async with Client(MODELS[name]) as client:
        for rows in (wide, wide[:1]):
            with pytest.raises(InputError):
                await client.predict_many(rows)
        with pytest.raises(InputError):
            await client.predict(wide[:1])
