"""What a model takes and refuses: each refusal is an InputError that names the feature, alone and in a batch."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC

from stretto import Client, Pipeline, model, parallel, save_model
from stretto.engine.engine import CHUNK
from stretto.errors import InputError, ModelError, PipelineError, StepError
from stretto.models import model_step
from stretto.models.input.numeric import NumericInput
from stretto_composers import vote

iris = load_iris()
X, y = iris.data, iris.target
FRAME = pd.DataFrame(
    {"age": [30.0, 40.0, 50.0, 60.0], "colour": ["red", "blue", "red", "green"], "note": ["aa bb", "bb", "aa", "cc"]}
)
RICH = [0, 1, 0, 1]
ROW = {"age": 30.0, "colour": "red", "note": "aa bb"}
people = make_pipeline(
    ColumnTransformer(
        [
            ("age", StandardScaler(), ["age"]),
            ("colour", OneHotEncoder(), ["colour"]),
            ("note", CountVectorizer(), "note"),
        ]
    ),
    LogisticRegression(),
).fit(FRAME, RICH)


async def refusal(target: Any, row: Any, good: Any) -> InputError:
    """Return the error of a row, which is the same alone and between good rows, which it does not harm."""
    async with Client(target) as client:
        with pytest.raises(InputError) as alone:
            await client.predict(row)
        before, among, after = await client.predict_many([good, row, good], on_error="return")
        assert repr(before) == repr(after) == repr(await client.predict(good))
    assert among.args == alone.value.args
    return alone.value


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"colour": "pink"}, "colour", "'pink', which the model has never seen; it knows 'blue', 'green', 'red'"),
        ({"colour": None}, "colour", "is missing"),
        ({"colour": float("nan")}, "colour", "is missing"),
        ({"colour": ["red"]}, "colour", "no single value"),
        ({"colour": 3}, "colour", "3, which the model has never seen"),
        ({"age": "30"}, "age", "write it without quotes"),
        ({"age": "old"}, "age", "is 'old', which is a str"),
        ({"age": float("inf")}, "age", "infinite"),
        ({"age": 10**400}, "age", "infinite"),
        ({"age": None}, "age", "is missing (NaN or null), and the model does not take it"),
        ({"note": 5}, "note", "is 5, which is no text"),
        ({"note": None}, "note", "no text"),
        ({"nose": 1}, "nose", "unknown feature 'nose' (did you mean 'note'?)"),
    ],
    ids=repr,
)
async def test_a_bad_value_among_mixed_features_is_told_what_and_where(change: Any, field: str, says: str) -> None:
    error = await refusal(model(people, name="people"), {**ROW, **change}, ROW)
    assert error.field == field
    assert says in error.message
    assert "model 'people'" in error.message
    assert error.expected


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"age": 30.0, "colour": "red"}, "lacks 'note'"),
        ([30.0, "red"], "has 2 values, it takes 3"),
        ([30.0, "red", "a", "b"], "has 4 values"),
        ("red", "is not a row"),
        (None, "is not a row"),
        ([[30.0, "red", "a"]], "holds rows"),
    ],
    ids=repr,
)
async def test_a_row_of_another_form_is_told_what_a_row_is(row: Any, says: str) -> None:
    assert says in (await refusal(model(people), row, ROW)).message


async def test_rows_with_the_features_in_another_order_are_the_same() -> None:
    async with Client(model(people, output="proba")) as client:
        same = [ROW, dict(reversed(ROW.items())), list(ROW.values()), tuple(ROW.values()), pd.Series(ROW)]
        answers = await client.predict_many(same)
        assert all((answer == answers[0]).all() for answer in answers)


async def test_categories_that_are_numbers_are_known_too() -> None:
    encoder = OrdinalEncoder().fit(np.array([[1], [2], [5]]))
    error = await refusal(model(encoder, name="codes"), [3], [5])
    assert (
        error.message
        == "model 'codes': the value at position 0 is 3.0, which the model has never seen; it knows 1, 2, 5"
    )


async def test_an_encoder_that_ignores_what_it_does_not_know_takes_it() -> None:
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(FRAME[["colour"]])
    async with Client(model(encoder)) as client:
        assert (await client.predict({"colour": "pink"})).tolist() == [0, 0, 0]


async def test_a_gap_that_an_imputer_fills_is_no_bad_value() -> None:
    filled = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False))
    frame = FRAME[["colour"]].astype(object)
    async with Client(model(filled.fit(frame))) as client:
        assert (await client.predict({"colour": None})).tolist() == [0, 0, 1]
    assert (await refusal(model(filled), {"colour": "pink"}, {"colour": "red"})).field == "colour"


async def test_strings_without_names_go_by_place() -> None:
    table = np.array([["a", "x"], ["b", "y"], ["a", "y"]], dtype=object)
    encoder = OneHotEncoder(sparse_output=False).fit(table)
    async with Client(model(encoder)) as client:
        assert np.array_equal(await client.predict_many(table), encoder.transform(table))
        assert np.array_equal(await client.predict_many(table.tolist()), encoder.transform(table))
    assert (await refusal(model(encoder), ["c", "x"], ["a", "x"])).field == "0"


class Weekday(TransformerMixin, BaseEstimator):
    """A transformer of one's own, which says nothing of what its columns hold."""

    def fit(self, rows: Any, y: Any = None) -> Any:
        self.n_features_in_, self.feature_names_in_ = 2, np.array(["day", "hour"], dtype=object)
        return self

    def transform(self, rows: pd.DataFrame) -> np.ndarray:
        return np.column_stack([rows["day"].map({"mon": 0, "sun": 6}), rows["hour"] / 24])


async def test_a_transformer_of_ones_own_gets_its_columns_as_they_are() -> None:
    days = pd.DataFrame({"day": ["mon", "sun"], "hour": [12, 24]})
    pipeline = make_pipeline(Weekday(), LinearRegression()).fit(days, [1.0, 2.0])
    async with Client(model(pipeline)) as client:
        assert await client.predict_many(days) == pytest.approx([1.0, 2.0])
        assert await client.predict({"hour": 12, "day": "mon"}) == pytest.approx(1.0)


async def test_a_row_of_numbers_means_the_same_beside_one_of_strings() -> None:
    kinds = make_pipeline(
        FunctionTransformer(lambda rows: np.array([[len(str(each)) for each in row] for row in rows]))
    )
    kinds.fit(np.array([["a", 1.5]], dtype=object))
    rows = [[1, 2], ["abc", 2], [10, 2.25]]
    async with Client(model(kinds)) as client:
        alone = [(await client.predict(row)).tolist() for row in rows]
        assert [each.tolist() for each in await client.predict_many(rows)] == alone


async def test_rows_that_are_values_and_no_features() -> None:
    texts = make_pipeline(make_union(TfidfVectorizer(), CountVectorizer()), LogisticRegression()).fit(
        FRAME["note"], RICH
    )
    dicts = make_pipeline(DictVectorizer(), LogisticRegression()).fit([{"a": 1}, {"b": "x"}], [0, 1])
    numbers = IsotonicRegression().fit([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    voting = VotingClassifier([("a", texts), ("b", make_pipeline(TfidfVectorizer(), SVC()))]).fit(FRAME["note"], RICH)
    for target, rows, bad in (
        (voting, list(FRAME["note"]), None),
        (texts, list(FRAME["note"]), 7),
        (dicts, [{"a": 1}, {"b": "x"}], "a"),
        (numbers, [1.5], "1"),
    ):
        async with Client(model(target)) as client:
            assert await client.predict_many(rows) == target.predict(rows).tolist()
        assert "is not a row; a row is a" in (await refusal(model(target), bad, rows[0])).message


class Recorder:
    """A model of one's own that notes how many rows it is asked about."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def predict(self, rows: np.ndarray) -> np.ndarray:
        self.sizes.append(len(rows))
        return rows.sum(axis=1)


async def test_a_million_rows_go_through_in_chunks() -> None:
    recorder = Recorder()
    rows = np.arange(1_000_000.0).reshape(-1, 1)
    async with Client(model(recorder)) as client:
        assert await client.predict_many(rows) == rows[:, 0].tolist()
        assert max(recorder.sizes) <= CHUNK
        frame = pd.DataFrame({"a": rows[: 2 * CHUNK, 0]})
        async with Client(model(recorder, features=["a"])) as named:
            assert await named.predict_many(frame) == frame["a"].tolist()
    assert max(recorder.sizes) <= CHUNK


SHAPES = [
    (LogisticRegression(max_iter=1000).fit(X, y), {"predict": (0,), "proba": (0, 3), "decision": (0, 3)}),
    (SVC().fit(X, y > 1), {"predict": (0,), "decision": (0,)}),
    (StandardScaler().fit(X), {"transform": (0, 4), "predict": (0, 4)}),
    (MultiOutputRegressor(LinearRegression()).fit(X, X[:, :2]), {"predict": (0, 2)}),
    (people, {"predict": (0,), "proba": (0, 2), "decision": (0,)}),
    (CountVectorizer().fit(["a bb", "cc dd"]), {"transform": (0, 3)}),
    (OneHotEncoder(sparse_output=False).fit(FRAME[["colour"]]), {"transform": (0, 3)}),
]


@pytest.mark.parametrize(("estimator", "shapes"), SHAPES, ids=lambda each: type(each).__name__)
def test_no_rows_have_an_empty_answer_of_the_right_shape(estimator: Any, shapes: Any) -> None:
    for output, shape in shapes.items():
        assert model_step(estimator, output=output).fn([]).shape == shape
    if "proba" in shapes:
        said = model_step(estimator, output="label_proba").fn([])
        assert [each.shape for each in said.values()] == [(0,)] * shapes["proba"][1]


# Functions and objects of one's own


def total(rows: np.ndarray) -> np.ndarray:
    return rows.sum(axis=1)


async def test_a_function_of_an_array_is_a_model() -> None:
    async with Client(model(total, features=["a", "b"])) as client:
        assert await client.predict_many([{"b": 1, "a": 2}, [3, 4]]) == [3.0, 7.0]
    assert repr(model(total)).endswith("name='total')")
    assert (await refusal(model(total, features=["a", "b"]), {"a": 1, "b": "x"}, [1, 2])).field == "b"


async def test_a_model_that_writes_into_its_rows_harms_nobody() -> None:
    class Rude:
        def predict(self, rows: np.ndarray) -> np.ndarray:
            rows[:] = 0
            return rows[:, 0]

    rows = np.ones((3, 2))
    async with Client(parallel(rude=model(Rude()), fine=model(total))) as client:
        assert await client.predict_many(rows) == [{"rude": 0.0, "fine": 2.0}] * 3
    assert (rows == 1).all()


async def test_what_a_model_raises_or_gives_wrong_is_a_step_error() -> None:
    for wrong in (lambda rows: rows[0, 5], lambda rows: 7, lambda rows: np.ones(len(rows) + 1)):
        async with Client(model(wrong, name="wrong")) as client:
            with pytest.raises(StepError, match="step 'wrong' failed"):
                await client.predict([1.0, 2.0])


def test_what_can_not_be_a_model_is_refused() -> None:
    with pytest.raises(PipelineError, match="is a pipeline already"):
        model(Pipeline(total))
    with pytest.raises(ModelError, match="is no model"):
        model(7)
    with pytest.raises(ModelError, match="not fitted"):
        model(people[-1].__class__())


# Read once


def test_models_that_read_alike_share_the_work() -> None:
    """Steps whose readers have equal keys share what the first of them read."""
    one, two = (model_step(each, features=["a", "b", "c", "d"]) for each in (SHAPES[0][0], SHAPES[2][0]))
    other = model_step(SHAPES[2][0], features=["a", "b", "c", "e"])
    assert one.reader.key == two.reader.key != other.reader.key


async def test_the_rows_of_a_request_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    table = NumericInput.table
    monkeypatch.setattr(NumericInput, "table", lambda self, rows: read.append(self.row.model) or table(self, rows))
    members = [model(SVC().fit(X, y), name=name, features=list("abcd")) for name in ("one", "two", "three")]
    rows = [dict(zip("abcd", row, strict=True)) for row in X.tolist()]
    for target in (parallel(*members), vote(*members)):
        read.clear()
        async with Client(target) as client:
            await client.predict_many(rows)
        assert read == ["one"]


async def test_a_refusal_is_each_models_own() -> None:
    members = {name: model(SVC().fit(X, y), name=name, features=list("abcd")) for name in ("one", "two")}
    async with Client(parallel(**members)) as client:
        with pytest.raises(InputError, match="model 'one'"):
            await client.predict({"a": 1})
        for name in members:
            with pytest.raises(InputError, match=f"model '{name}'"):
                await client.predict_many([{"a": 1}], step=name)


# Loaded once


def test_a_file_is_read_once_however_many_pipelines_name_it(tmp_path: Any) -> None:
    path = save_model(SVC().fit(X, y), tmp_path / "svm.skops", labels=["a", "b", "c"])
    pipelines = [
        parallel(one=model(path, name="one"), two=model(str(path), name="two", output="decision")) for _ in range(10)
    ]
    estimators = {id(step.fn.estimator) for each in pipelines for step in each.plan().steps()}
    assert len(estimators) == 1
    assert {step.fn.labels.names for each in pipelines for step in each.plan().steps()} == {("a", "b", "c")}


def test_a_file_written_again_is_read_again_and_nothing_is_kept_alive(tmp_path: Any) -> None:
    path = save_model(SVC().fit(X, y), tmp_path / "svm.skops")
    first = model_step(path)
    save_model(LogisticRegression(max_iter=1000).fit(X, y), path)
    assert isinstance(model_step(path).fn.estimator, LogisticRegression)
    kept = weakref.ref(first.fn.estimator)
    del first
    gc.collect()
    assert kept() is None


def test_trust_of_one_caller_is_not_another_s(tmp_path: Any) -> None:
    path = save_model(SVC().fit(X, y), tmp_path / "svm.joblib")
    kept = model(path, trusted=True)
    with pytest.raises(ModelError, match="pass trusted=True"):
        model(path)
    assert repr(kept)


def test_a_pipeline_sent_elsewhere_has_a_model_of_two_branches_once() -> None:
    fitted = SVC().fit(X, y)
    both = parallel(one=model(fitted, name="one"), two=model(fitted, name="two", output="decision"))
    sent = pickle.loads(pickle.dumps(both.plan()))
    assert len({id(step.fn.estimator) for step in sent.steps()}) == 1


def test_an_estimator_asked_without_names_shares_its_arrays() -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    fitted = LogisticRegression(max_iter=1000).fit(frame, y)
    asked = model_step(fitted).fn.method._function.__self__
    assert asked is not fitted
    assert asked.coef_ is fitted.coef_


async def test_names_with_blanks_are_those_that_lightgbm_writes_with_underscores() -> None:
    frame = pd.DataFrame(X, columns=[*iris.feature_names[:3], "petal_width of it"])
    small = {"n_estimators": 3, "min_child_samples": 2, "verbose": -1}
    alone = lightgbm.LGBMClassifier(**small).fit(frame, y)
    assert "petal_width_of_it" in alone.feature_name_
    for estimator in (alone, make_pipeline(alone), VotingClassifier([("a", alone)]).fit(frame, y)):
        expected = estimator.predict(frame[::30]).tolist()
        for part in (model(estimator, name="booster"), model(estimator, name="booster", features=frame)):
            async with Client(part) as client:
                rows = frame[::30].to_dict("records")
                assert await client.predict_many(frame[::30]) == expected
                assert await client.predict_many(rows) == [await client.predict(row) for row in rows] == expected
                with pytest.raises(InputError, match="unknown feature 'petal with of it'"):
                    await client.predict(dict(zip([*frame.columns[:3], "petal with of it"], X[0], strict=True)))
