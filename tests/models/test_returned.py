"""What an estimator's method returns becomes a row for each, in the shape and with the names that it has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from stretto import Client, from_sklearn, model
from stretto.errors import StepError
from stretto.testing.http_server import serving
from stretto_composers import average, switch, vote
from tests.asking import alike

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 2))
FRAME = pd.DataFrame({"width": X[:, 0], "height": X[:, 1]})
y = (X[:, 0] > 0).astype(int)
ROWS = FRAME.head(4)


class Column:
    """Predicts a column: (n, 1), but (1,) of one row, as some libraries do."""

    def __init__(self, squeezes: bool = False) -> None:
        self.squeezes = squeezes

    def predict(self, X: np.ndarray) -> np.ndarray:
        column = (X[:, :1] > 0).astype(int)
        return column.ravel() if self.squeezes and len(X) == 1 else column


class Named(TransformerMixin, BaseEstimator):
    """A transformer of one's own that makes frames, of any library."""

    def __init__(self, frame: Any = pd.DataFrame) -> None:
        self.frame = frame

    def fit(self, X: Any, y: Any = None) -> Named:
        self.n_features_in_ = 2
        return self

    def transform(self, X: Any) -> Any:
        X = np.asarray(X)
        return self.frame({"sum": X.sum(axis=1), "count": np.full(len(X), 2)})


async def ask(part: Any, rows: Any) -> list[Any]:
    """Return the answers to many rows."""
    return await alike(part, rows.to_dict("records") if isinstance(rows, pd.DataFrame) else list(rows))


@pytest.mark.parametrize(
    "part",
    [
        lambda: model(Column(), name="column"),
        lambda: model(Column(squeezes=True), name="column"),
        lambda: model(lambda A: (A[:, :1] > 0).astype(int), name="column", features=["a", "b"]),
        lambda: model(lambda A: csr_array((A > 0).astype(int))[:, [0]], name="column", features=["a", "b"]),
    ],
    ids=["predict", "squeezes", "function", "sparse"],
)
async def test_a_column_of_predictions_is_a_value_a_row(part: Any) -> None:
    answers = await ask(part(), X[:5])
    assert answers == y[:5].tolist()
    assert all(type(each) is int for each in answers)
    routed = switch(part(), {0: lambda row: "zero", 1: lambda row: "one"})
    assert await ask(routed, X[:5]) == [("zero", "one")[each] for each in y[:5]]
    assert await ask(vote(part(), lambda row: 1, lambda row: 0), X[:5]) == y[:5].tolist()
    mean = average(part(), model(lambda A: np.full(len(A), 0.5), name="half", features=["a", "b"]))
    assert await ask(mean, X[:5]) == ((y[:5] + 0.5) / 2).tolist()


async def test_a_target_of_one_column_is_a_value_a_row() -> None:
    linear = LinearRegression().fit(X, X[:, :1])
    assert linear.predict(X[:2]).shape == (2, 1)
    assert await ask(model(linear), X[:4]) == linear.predict(X[:4]).ravel().tolist()


async def test_a_transformed_row_of_one_stays_a_row() -> None:
    best = SelectKBest(f_regression, k=1).fit(X, X[:, 0])
    assert [each.shape for each in await ask(model(best), X[:3])] == [(1,)] * 3
    assert await ask(model(best) >> model(LinearRegression().fit(X[:, :1], y)), X[:3])


async def test_probabilities_of_several_targets_are_lists_of_a_row() -> None:
    forest = RandomForestClassifier(2, random_state=0).fit(X, np.column_stack([y, 1 - y]))
    expected = forest.predict_proba(X[:2])
    answers = await ask(model(forest, output="proba"), X[:2])
    assert np.array_equal(answers, np.swapaxes(expected, 0, 1))


@pytest.mark.parametrize("output", ["predict", "proba"])
async def test_arrays_side_by_side_are_transposed_for_nobody_else(output: Any) -> None:
    class Both:
        classes_ = np.array([0, 1])

        def predict(self, X: np.ndarray) -> Any:
            return [X[:, 0], X[:, 1]]

        predict_proba = predict

    async with Client(model(Both(), name="both", output=output)) as client:
        for count in (1, 2, 3, 4):
            answers = await client.predict_many(X[:count], on_error="return")
            assert [type(each) for each in answers] == [StepError] * count
    with pytest.raises(StepError, match="could be columns or rows; return a dict of columns"):
        await ask(model(lambda A: (A[:, 0], A[:, 1]), name="both", features=["a", "b"]), X[:2])


async def test_a_dict_of_columns_is_what_to_return_instead() -> None:
    both = model(lambda A: {"mean": A.mean(axis=1), "count": np.full(len(A), 2)}, features=["a", "b"], name="both")
    expected = [{"mean": each, "count": 2} for each in X[:3].mean(axis=1).tolist()]
    assert await ask(both, X[:3]) == expected
    async with serving(both) as url, Client(url) as client:
        assert await client.predict_many(X[:3]) == expected


@pytest.mark.parametrize("library", ["pandas", "polars"])
async def test_set_output_names_the_answers(library: Any) -> None:
    scaler = StandardScaler().fit(FRAME).set_output(transform=library)
    expected = pd.DataFrame(StandardScaler().fit_transform(FRAME), columns=FRAME.columns).head(4).to_dict("records")
    for part in (model(scaler), from_sklearn(scaler), model(make_pipeline(scaler))):
        assert await ask(part, ROWS) == expected
    async with serving(model(scaler)) as url, Client(url) as client:
        assert await client.predict_many(ROWS) == expected


async def test_what_one_thread_is_set_to_makes_no_difference() -> None:
    """`sklearn.set_config` is about a thread, and a model runs in several."""
    with sklearn.config_context(transform_output="pandas"):
        answers = await ask(model(StandardScaler().fit(X)), X[:2])
        assert all(isinstance(each, np.ndarray) for each in answers)


async def test_columns_that_scikit_learn_keeps_keep_their_types() -> None:
    people = pd.DataFrame({"age": [1, 2, 3], "name": ["a", "b", "c"], "size": [0.5, 1.5, 2.5]})
    kept = ColumnTransformer([("kept", "passthrough", ["name"]), ("scaled", StandardScaler(), ["size"])])
    kept.set_output(transform="pandas").set_params(verbose_feature_names_out=False).fit(people)
    answers = await ask(model(kept), people)
    assert answers == kept.transform(people).to_dict("records")


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
async def test_a_transformer_of_ones_own_names_its_answers(frame: Any) -> None:
    expected = [{"sum": each, "count": 2} for each in X[:3].sum(axis=1).tolist()]
    assert await ask(model(Named(frame).fit(X)), X[:3]) == expected


async def test_a_predicted_frame_names_its_columns_and_a_series_is_its_values() -> None:
    class Both:
        def predict(self, X: np.ndarray) -> Any:
            return pd.DataFrame({"low": X[:, 0] - 1, "kind": ["a"] * len(X)})

    assert await ask(model(Both(), name="both"), X[:2]) == [{"low": each - 1, "kind": "a"} for each in X[:2, 0]]
    assert await ask(model(lambda A: pd.Series(A[:, 0] > 0), name="s", features=["a", "b"]), X[:3]) == [
        bool(each) for each in y[:3]
    ]

    class Classifier(LogisticRegression):
        def predict(self, X: Any) -> Any:
            return pd.Series(super().predict(X))

    labelled = model(Classifier().fit(X, y), labels=["low", "high"])
    assert await ask(labelled, X[:4]) == [["low", "high"][each] for each in y[:4]]


async def test_a_model_with_names_reads_a_named_answer_by_name_and_one_without_in_order() -> None:
    swapped = FunctionTransformer(lambda A: pd.DataFrame({"b": np.asarray(A)[:, 0], "a": np.asarray(A)[:, 1]})).fit(X)
    by_name = LinearRegression().fit(pd.DataFrame({"a": X[:, 0], "b": X[:, 1]}), X[:, 0])
    in_order = LinearRegression().fit(X, X[:, 0])
    assert np.allclose(await ask(model(swapped) >> model(by_name), X[:4]), X[:4, 1])
    assert np.allclose(await ask(model(swapped) >> model(in_order), X[:4]), X[:4, 0])


async def test_what_takes_answers_as_they_come_gets_their_names() -> None:
    class Sum:
        def predict(self, X: Any) -> Any:
            return X["sum"] + X["count"]

    first = Named().fit(X)
    assert await ask(model(first) >> model(Sum(), name="sum"), X[:3]) == (X[:3].sum(axis=1) + 2).tolist()


async def test_a_pipeline_whose_steps_make_frames_answers_as_it_does() -> None:
    chain = make_pipeline(StandardScaler().set_output(transform="pandas"), Named(), LinearRegression())
    chain.fit(FRAME, X[:, 0])
    for part in (model(chain), from_sklearn(chain)):
        assert np.allclose(await ask(part, ROWS), chain.predict(ROWS))
