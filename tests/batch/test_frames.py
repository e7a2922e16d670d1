"""Frames and series go in as they are: by name, in any order of columns, with gaps and strings, wherever it runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pandas as pd
import polars
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from stretto import Client, Pipeline, deploy, model, parallel, step
from stretto.batch.frames import Frame, as_row, as_rows
from stretto.errors import InputError
from stretto.testing.http_server import serving

iris = load_iris()
FLOWERS = pd.DataFrame(iris.data, columns=iris.feature_names)
flowers = LogisticRegression(max_iter=1000).fit(FLOWERS, iris.target)
rng = np.random.default_rng(0)
PEOPLE = pd.DataFrame(
    {
        "age": np.where(rng.random(150) < 0.1, np.nan, rng.normal(40, 9, 150)),
        "colour": rng.choice(["red", "green", "blue"], 150),
        "size": rng.choice(["s", "m"], 150),
        "note": rng.choice(["a good one", "bad", "so so"], 150),
        "id": np.arange(150),
    }
)
PEOPLE.loc[::9, "size"] = None
RICH = np.where((PEOPLE["colour"] == "red") | (PEOPLE["age"] > 50), "yes", "no")
people = make_pipeline(
    ColumnTransformer(
        [
            ("number", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
            ("word", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["size"]),
            ("colour", OneHotEncoder(), ["colour"]),
            ("text", TfidfVectorizer(), "note"),
        ]
    ),
    LogisticRegression(),
).fit(PEOPLE, RICH)
EXPECTED = people.predict_proba(PEOPLE)
FORMS: dict[str, Any] = {
    "pandas": PEOPLE,
    "polars": polars.from_pandas(PEOPLE),
    "arrow": polars.from_pandas(PEOPLE).to_arrow(),
    "other order": PEOPLE[PEOPLE.columns[::-1]],
    "without what is not used": PEOPLE.drop(columns="id"),
    "nullable types": PEOPLE.convert_dtypes(),
    "categories": PEOPLE.astype({"colour": "category", "size": "category"}),
    "another index": PEOPLE.set_index(np.arange(150)[::-1]),
    "dicts": [
        {key: None if value != value else value for key, value in row.items()} for row in PEOPLE.to_dict("records")
    ],
    "tuples": list(PEOPLE.itertuples(index=False, name=None)),
    "objects": PEOPLE.to_numpy(),
    "series": [PEOPLE.iloc[i] for i in range(150)],
    "a row a frame": [PEOPLE.iloc[i : i + 1] for i in range(150)],
}


@asynccontextmanager
async def connected(where: str, target: Pipeline[Any, Any]) -> AsyncIterator[Client[Any, Any]]:
    if where == "in process":
        async with Client(target) as client:
            yield client
    else:
        async with serving(target) as url, Client(url) as client:
            yield client


@pytest.mark.parametrize("where", ["in process", "http"])
@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_mixed_rows_gives_what_the_model_gives_for_its_frame(form: str, where: str) -> None:
    async with connected(where, model(people, name="people", output="proba")) as client:
        np.testing.assert_allclose(await client.predict_many(FORMS[form]), EXPECTED, rtol=1e-9)


@pytest.mark.parametrize("where", ["in process", "http"])
async def test_one_row_of_a_frame_is_a_row(where: str) -> None:
    async with connected(where, model(people, output="proba")) as client:
        for row in (PEOPLE.iloc[0], PEOPLE.iloc[:1], polars.from_pandas(PEOPLE[:1]), PEOPLE.iloc[0].to_dict()):
            np.testing.assert_allclose(await client.predict(row), EXPECTED[0])
        np.testing.assert_allclose(await client.submit(PEOPLE.iloc[1]), EXPECTED[1])
        np.testing.assert_allclose((await client.trace(PEOPLE.iloc[1])).answer, EXPECTED[1])
        np.testing.assert_allclose([answer async for answer in client.map(PEOPLE[:5])], EXPECTED[:5])


async def test_a_frame_goes_to_every_branch_and_mixes_with_rows_that_wait_beside_it() -> None:
    both = parallel(a=model(flowers, name="a"), b=model(flowers, name="b", output="proba"))
    async with Client(both) as client:
        answers = await client.predict_many(FLOWERS)
        assert [each["a"] for each in answers] == flowers.predict(FLOWERS).tolist()
    async with Client(lambda row: row) as client:
        assert await client.predict_many(PEOPLE[["colour", "id"]][:2]) == PEOPLE[["colour", "id"]][:2].to_dict(
            "records"
        )


async def test_a_frame_of_counted_columns_is_an_array() -> None:
    async with Client(model(LogisticRegression(max_iter=1000).fit(iris.data, iris.target))) as client:
        assert await client.predict_many(pd.DataFrame(iris.data)) == await client.predict_many(iris.data)
        assert await client.predict(pd.Series(iris.data[0])) == await client.predict(polars.Series(iris.data[0])) == 0


async def test_a_series_of_texts_is_rows_of_a_model_of_texts() -> None:
    texts = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(PEOPLE["note"], RICH)
    async with Client(model(texts)) as client:
        expected = texts.predict(PEOPLE["note"]).tolist()
        assert await client.predict_many(PEOPLE["note"]) == expected
        assert await client.predict_many(polars.Series(PEOPLE["note"].tolist())) == expected
        assert await client.predict("bad") == texts.predict(["bad"])[0]


async def test_what_was_fitted_on_pandas_categories_takes_strings_too() -> None:
    typed = PEOPLE[["age", "colour"]].astype({"colour": "category"})
    boosted = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(typed, RICH)
    async with Client(model(boosted, output="proba")) as client:
        for rows in (typed, PEOPLE[["age", "colour"]], typed.to_dict("records")):
            np.testing.assert_allclose(await client.predict_many(rows), boosted.predict_proba(typed))


async def test_a_frame_given_as_features_says_which_are_categories() -> None:
    """A model that takes categories alone is given the same ones, whatever rows are at hand."""

    class Codes:
        feature_names_in_ = np.array(["colour"], dtype=object)
        n_features_in_ = 1

        def predict(self, frame: pd.DataFrame) -> np.ndarray:
            return frame["colour"].cat.codes.to_numpy()

    typed = pd.DataFrame({"colour": pd.Categorical(["b", "a", "c"])})
    async with Client(model(Codes(), features=typed)) as client:
        assert await client.predict_many(typed) == [1, 0, 2]
        assert await client.predict({"colour": "c"}) == 2
        assert await client.predict({"colour": None}) == -1
        # What the model has not seen comes after what it knows: the model alone decides what to make of it.
        assert await client.predict({"colour": "d"}) == 3
        assert await client.predict_many([{"colour": "d"}, {"colour": "e"}, {"colour": "b"}]) == [3, 3, 1]


async def test_a_step_of_ones_own_gets_a_frame_as_columns() -> None:
    seen: list[Any] = []

    def note(columns: Any) -> Any:
        seen.append(columns)
        return columns["age"]

    async with Client(step(note, vectorized=True)) as client:
        await client.predict_many(PEOPLE[["age", "colour"]])
    assert list(seen[0]) == ["age", "colour"]
    assert seen[0]["colour"].dtype == object


def refusals() -> dict[str, tuple[Any, str]]:
    twice = pd.DataFrame(np.eye(2), columns=["a", "a"])
    return {
        "two of one name": (twice, "two columns are named 'a'"),
        "names that are no strings": (pd.DataFrame(np.eye(2), columns=["a", 3]), "named 3, of type int"),
        "no columns": (pd.DataFrame(index=[1, 2]), "has no columns"),
        "lazy": (polars.DataFrame({"a": [1]}).lazy(), r"a LazyFrame is lazy: collect\(\) it first"),
    }


@pytest.mark.parametrize("what", list(refusals()))
async def test_a_frame_that_can_not_be_rows_is_refused(what: str) -> None:
    frame, says = refusals()[what]
    async with Client(lambda row: row) as client:
        with pytest.raises(InputError, match=says):
            await client.predict_many(frame)


async def test_a_frame_of_many_rows_is_no_row() -> None:
    async with Client(model(flowers)) as client:
        with pytest.raises(InputError, match=r"the data frame has 150: give it to predict_many\(\)"):
            await client.predict(FLOWERS)
        with pytest.raises(InputError, match="two columns are named 'a'"):
            await client.predict(pd.Series([1.0, 2.0], index=["a", "a"]))


async def test_a_frame_of_another_schema_names_the_feature() -> None:
    async with Client(model(flowers, name="flowers")) as client:
        with pytest.raises(InputError, match="row 0: model 'flowers': the row lacks 'petal width") as caught:
            await client.predict_many(FLOWERS.drop(columns="petal width (cm)"))
        assert caught.value.field == "petal width (cm)"
        with pytest.raises(InputError, match="unknown feature 'colour'"):
            await client.predict_many(FLOWERS.assign(colour=1.0))
        with pytest.raises(InputError, match="is 'x', which is a str"):
            await client.predict_many(FLOWERS.assign(**{"petal width (cm)": "x"}))


async def test_no_rows_of_a_frame_have_no_answers() -> None:
    async with Client(model(people)) as client:
        assert await client.predict_many(PEOPLE[:0]) == []
        assert await client.predict_many(polars.from_pandas(PEOPLE)[:0]) == []


def test_a_frame_is_a_sequence_of_dicts() -> None:
    frame = as_rows(PEOPLE[["colour", "id"]])
    assert isinstance(frame, Frame)
    assert (len(frame), frame[0], frame[-1]["id"]) == (150, {"colour": PEOPLE["colour"][0], "id": 0}, 149)
    assert list(frame[3:5]) == [frame[3], frame[4]]
    with pytest.raises(IndexError):
        frame[150]


def test_what_is_no_frame_is_left_as_it_is() -> None:
    for row in ({"a": 1}, [1, 2], (1,), "x", None, np.ones(3), object()):
        assert as_row(row) is row
    rows = [{"a": 1}, [1, 2]]
    assert as_rows(rows) is rows


def test_frames_are_loaded_only_where_there_are_some() -> None:
    code = "import sys, stretto; stretto.Client(len); assert not {'narwhals', 'pandas', 'polars'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.usefixtures("ray_cluster")
async def test_a_frame_goes_by_handle_and_through_a_split_deployment() -> None:
    both = parallel(people=model(people, name="people", output="proba"), again=model(people, name="again"))
    async with deploy(both, name="frames", placement="split", ray_actor_options={"num_cpus": 0.01}) as client:
        answers = await client.predict_many(PEOPLE)
        np.testing.assert_allclose([each["people"] for each in answers], EXPECTED)
        assert (await client.predict(PEOPLE.iloc[0]))["again"] == people.predict(PEOPLE[:1])[0]
        async with Client(client.direct_url) as direct:
            assert (await direct.predict_many(PEOPLE[:3]))[2]["again"] == answers[2]["again"]
