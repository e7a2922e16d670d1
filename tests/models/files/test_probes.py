"""Rows and answers kept in a file: of the same types when they are read, and proof that a model answers as it did."""

import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from stretto import load_model, model, save_model
from stretto.errors import Disagreement, ModelError
from stretto.models.files.probes import Probes
from stretto.models.files.record import Record

X, y = load_iris(return_X_y=True, as_frame=True)
forest = RandomForestClassifier(10, random_state=0).fit(X, y)

TYPES = pd.DataFrame(
    {
        "int8": np.array([1, 2, 3], dtype=np.int8),
        "uint64": np.array([1, 2, 2**64 - 1], dtype=np.uint64),
        "float32": np.array([0.1, np.nan, np.inf], dtype=np.float32),
        "float": [0.1, -0.0, np.nan],
        "bool": [True, False, True],
        "category": pd.Categorical(["b", None, "a"], ["b", "a", "c"]),
        "ordered": pd.Categorical([1, 2, 1], [2, 1], ordered=True),
        "dates": pd.Categorical(pd.to_datetime(["2024-01-01", "2024-01-02", None])),
        "string": pd.array(["a", None, "c"], dtype="string"),
        "str": pd.Series(["a", None, "c"], dtype="str"),
        "Int64": pd.array([1, None, 2**62], dtype="Int64"),
        "boolean": pd.array([True, None, False], dtype="boolean"),
        "Float64": pd.array([0.5, None, 1], dtype="Float64"),
        "when": pd.to_datetime(["2024-01-01", None, "2024-01-02 03:04:05.000006"], format="ISO8601"),
        "zoned": pd.to_datetime(["2024-01-01", None, "2024-07-02"]).tz_localize("Europe/Berlin"),
        "span": pd.to_timedelta([1, None, 3], unit="s"),
        "objects": pd.Series(["a", 1, None], dtype=object),
        "more": pd.Series([Decimal("1.10"), float("nan"), 2**80], dtype=object),
        "days": pd.Series([datetime.date(2024, 1, 1), None, pd.NaT], dtype=object),
        "times": pd.Series(
            [datetime.datetime(2024, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), b"\x00", pd.NA], dtype=object
        ),
        "moments": pd.Series([pd.Timestamp("2024-01-01", tz="UTC"), np.float32(0.1), True], dtype=object),
        3: [1, 2, 3],
    }
)


class Counts:
    """Answers with the number of columns."""

    def fit(self, X, y=None):
        return self

    def get_params(self, deep=True):
        return {}

    def predict(self, X):
        return np.full(len(X), np.ndim(X))


def again(rows):
    kept = Probes.of(Counts(), rows)
    return Record.decode(Record(probes=kept).encode()).probes.rows()


@pytest.mark.parametrize("name", TYPES.columns.tolist(), ids=str)
def test_a_column_is_rebuilt_with_its_type_and_values(name):
    frame = TYPES[[name]]
    pd.testing.assert_frame_equal(again(frame), frame, check_column_type=False)
    kinds = [type(each) for each in frame[name].tolist()]
    assert [type(each) for each in again(frame)[name].tolist()] == kinds


def test_a_frame_is_rebuilt_with_its_names_in_order():
    pd.testing.assert_frame_equal(again(TYPES), TYPES, check_column_type=False)
    wide = pd.DataFrame([[1, 2.0]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]))
    pd.testing.assert_frame_equal(again(wide), wide)
    assert again(pl.DataFrame({"a": [1, 2]}))["a"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "rows",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array([["a", "b"], ["c", "d"]]),
        np.array([["a", 1], [None, 2.5]], dtype=object),
        np.array([[True], [False]]),
        np.array(["2024-01-01"], dtype="datetime64[D]")[:, None],
        np.asfortranarray(np.eye(3)),
        np.array([[1]], dtype=">i4"),
    ],
)
def test_an_array_is_rebuilt(rows):
    found = again(rows)
    assert (found.dtype.newbyteorder("="), found.tolist()) == (rows.dtype.newbyteorder("="), rows.tolist())


def test_texts_are_rebuilt():
    assert again(["a", "b"]) == ["a", "b"]
    assert again(pd.Series(["a", "b"], name="text")).tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (X[:0], "has no rows"),
        (pd.DataFrame({"a": pd.Series([object()], dtype=object)}), "of type object, which no file can hold"),
        (pd.DataFrame({"a": pd.period_range("2024", periods=2)}), "the column 'a' of type period"),
        (X.rename(columns=str.upper), "does not take the rows of probes="),
    ],
)
def test_rows_that_can_not_be_probes_are_refused(rows, says):
    with pytest.raises(ModelError, match=says):
        Probes.of(forest, rows)


# In files


@pytest.mark.parametrize("suffix", [".skops", ".joblib", ".pkl", ".onnx"])
def test_a_model_that_answers_as_it_did_says_so(tmp_path, suffix):
    path = save_model(forest, tmp_path / f"m{suffix}", probes=X[::10])
    trusted = suffix in (".joblib", ".pkl")
    assert load_model(path, trusted=trusted).note == "answers as it did on 15 rows"
    assert "answers as it did on 15 rows" in str(model(path, trusted=trusted).plan().explain())


@pytest.mark.parametrize("suffix", [".skops", ".joblib"])
def test_under_another_scikit_learn_probes_take_the_place_of_the_warning(tmp_path, suffix, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.2.3")
        path = save_model(forest, tmp_path / f"m{suffix}", probes=X[::10])
    trusted = suffix != ".skops"
    assert load_model(path, trusted=trusted).note == "answers as it did on 15 rows with scikit-learn 1.2.3"
    with pytest.raises(ModelError, match=r"was saved with scikit-learn 1\.2\.3"):
        load_model(path, trusted=trusted, strict=True)


@pytest.mark.parametrize("other_version", [False, True])
def test_a_model_that_answers_otherwise_is_refused_with_the_rows(tmp_path, monkeypatch, other_version):
    linear = LinearRegression().fit(X, y)
    with monkeypatch.context() as patch:
        if other_version:
            patch.setattr("sklearn.base.__version__", "1.2.3")
        path = save_model(linear, tmp_path / "m.skops", probes=X[::50])
    before = LinearRegression.predict
    monkeypatch.setattr(LinearRegression, "predict", lambda self, X: before(self, X) + np.array([0, 0.5, 0]))
    with pytest.raises(
        Disagreement, match=r"1 of the 3 rows that were saved with it are others: row 1: .*by 0\.5"
    ) as caught:
        load_model(path)
    assert ("it was saved with scikit-learn 1.2.3" in str(caught.value)) == other_version
    assert caught.value.rows.splitlines()[0].startswith("row 1: ")


def test_another_label_is_refused(tmp_path, monkeypatch):
    path = save_model(LogisticRegression(max_iter=500).fit(X, y), tmp_path / "m.skops", probes=X[::50])
    monkeypatch.setattr(LogisticRegression, "predict", lambda self, X: np.zeros(len(X), dtype=int))
    with pytest.raises(Disagreement, match="row 1: predict 0, and was 1; row 2: predict 0, and was 2"):
        load_model(path)


def test_a_model_that_takes_the_rows_no_more_is_refused(tmp_path, monkeypatch):
    path = save_model(LinearRegression().fit(X, y), tmp_path / "m.skops", probes=X[::50])
    monkeypatch.setattr(LinearRegression, "predict", lambda self: None)
    with pytest.raises(ModelError, match="does not take the rows that were saved with it any more"):
        load_model(path)


def test_a_model_that_answers_itself_otherwise_is_not_saved(tmp_path):
    class Chance(StandardScaler):
        def transform(self, X, copy=None):
            return np.random.default_rng().normal(size=X.shape)

    Chance.__qualname__, Chance.__module__ = "StandardScaler", "sklearn.preprocessing._data"
    with pytest.raises(ModelError, match=r"could not be read again|can't save"):
        save_model(Chance().fit(X), tmp_path / "m.pkl", probes=X[:3])
    assert not list(tmp_path.iterdir())


def test_mixed_rows_texts_and_several_outputs_are_kept(tmp_path):
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y"] * 20), "n": np.arange(40)})
    columns = ColumnTransformer([("c", OneHotEncoder(), ["c"])], remainder="passthrough")
    mixed = make_pipeline(columns, LogisticRegression())
    words = make_pipeline(CountVectorizer(), LogisticRegression())
    several = RandomForestClassifier(3, random_state=0)
    for estimator, rows, target in (
        (mixed, frame, [0, 1] * 20),
        (words, ["good film", "bad film"] * 20, ["p", "n"] * 20),
        (several, X.to_numpy(), np.stack([y, y > 1], axis=1)),
    ):
        path = save_model(estimator.fit(rows, target), tmp_path / "m.skops", probes=rows[:5])
        assert load_model(path).note == "answers as it did on 5 rows"


def test_every_kind_of_answer_is_kept(tmp_path, monkeypatch):
    near = KMeans(3, n_init=1, random_state=0).fit(X)
    path = save_model(near, tmp_path / "m.skops", probes=X[::50])
    monkeypatch.setattr(KMeans, "transform", lambda self, X: np.zeros((len(X), 3)))
    with pytest.raises(Disagreement, match="row 0: transform"):
        load_model(path)
