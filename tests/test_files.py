"""Saved models: what is written is read back, whole and safely, or refused with what to do."""

import pickle

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from stretto._models import model_step
from stretto._models.files import load_model, save_model
from stretto.errors import ModelError

iris = load_iris()
X, y, NAMES, LABELS = iris.data, iris.target, iris.feature_names, iris.target_names
logistic = LogisticRegression(max_iter=1000).fit(X, y)
SUFFIXES = [".skops", ".joblib", ".pkl", ".pickle"]


class Bomb:
    """Runs code when it is unpickled."""

    went_off = False

    def __reduce__(self):
        return setattr, (Bomb, "went_off", True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_model_is_read_back_with_its_labels_and_features(tmp_path, suffix):
    path = save_model(logistic, tmp_path / f"iris{suffix}", labels=LABELS, features=NAMES)
    model = load_model(path, trusted=suffix != ".skops")
    assert model.labels == ("setosa", "versicolor", "virginica")
    assert model.features == tuple(NAMES)
    assert np.array_equal(model.estimator.predict_proba(X), logistic.predict_proba(X))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_and_features_are_optional(tmp_path, suffix):
    model = load_model(save_model(logistic, tmp_path / f"iris{suffix}"), trusted=suffix != ".skops")
    assert (model.labels, model.features) == (None, None)


def test_a_file_is_a_step_with_the_labels_it_holds_unless_others_are_given(tmp_path):
    path = save_model(logistic, tmp_path / "iris.skops", labels=LABELS, features=NAMES)
    row = dict(zip(NAMES, X[0], strict=True))
    assert model_step(path).fn([row]).tolist() == ["setosa"]
    assert model_step(str(path), labels=["a", "b", "c"]).fn([row]).tolist() == ["a"]
    assert model_step(path, features=["a", "b", "c", "d"]).fn([dict(zip("abcd", X[0], strict=True))]).tolist() == [
        "setosa"
    ]


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".skops", skops.io.dump),
        (".joblib", joblib.dump),
        (".pkl", joblib.dump),
        (".pkl", lambda model, path: path.write_bytes(pickle.dumps(model))),
    ],
)
def test_a_file_that_others_wrote_with_an_estimator_alone_is_read(tmp_path, suffix, write):
    path = tmp_path / f"iris{suffix}"
    write(logistic, path)
    assert np.array_equal(load_model(path, trusted=suffix != ".skops").estimator.predict(X), logistic.predict(X))


def test_skops_reads_the_estimator_of_a_file_of_ours(tmp_path):
    path = save_model(logistic, tmp_path / "iris.skops", labels=LABELS)
    assert np.array_equal(skops.io.load(path).predict(X), logistic.predict(X))


# Trust


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".pickle"])
@pytest.mark.parametrize("trusted", [False, ["builtins.setattr"]])
def test_a_pickle_runs_nothing_unless_it_is_trusted(tmp_path, suffix, trusted):
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    for load in (load_model, model_step):
        with pytest.raises(ModelError, match=r"pass trusted=True; better, save the model as \.skops"):
            load(path, trusted=trusted)
    assert not Bomb.went_off


def test_a_pickle_named_skops_runs_nothing(tmp_path):
    path = tmp_path / "bomb.skops"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="it is a pickle, not a skops file"):
        load_model(path, trusted=True)
    assert not Bomb.went_off


def test_types_that_skops_does_not_trust_are_named_with_how_to_allow_them(tmp_path):
    path = save_model(DecisionTreeClassifier().fit(X, y), tmp_path / "tree.skops")
    with pytest.raises(ModelError, match=r"sklearn\.tree\._tree\.Tree.*pass trusted=\['sklearn\.tree\._tree\.Tree'\]"):
        load_model(path)
    for trusted in (True, ["sklearn.tree._tree.Tree"]):
        assert load_model(path, trusted=trusted).estimator.predict(X[:1]).tolist() == [0]


# Files that can't be read


def test_a_missing_file_is_named_in_full_with_one_like_it(tmp_path):
    save_model(logistic, tmp_path / "iris.skops")
    with pytest.raises(
        ModelError, match=rf"there is no model file {tmp_path}/iris\.joblib; did you mean 'iris\.skops'"
    ):
        load_model(tmp_path / "iris.joblib")
    with pytest.raises(ModelError, match=r"did you mean 'iris\.skops'"):
        load_model(tmp_path / "irsi.skops")


def test_a_missing_file_is_named_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"there is no model file {tmp_path}/iris.skops"):
        load_model("iris.skops")


@pytest.mark.parametrize(
    ("path", "says"),
    [("nowhere/iris.skops", "its directory does not exist"), (".", "is a directory"), ("iris.h5", "no known suffix")],
)
def test_a_path_that_is_no_model_file_is_refused(tmp_path, path, says):
    (tmp_path / "iris.h5").touch()
    with pytest.raises(ModelError, match=says):
        load_model(tmp_path / path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0, 0.3, 0.9])
def test_a_file_cut_short_is_refused(tmp_path, suffix, kept):
    path = save_model(logistic, tmp_path / f"iris{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelError, match=f"can't read {path}: it is") as caught:
        load_model(path, trusted=True)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("suffix", "content", "says"),
    [
        (".skops", b"hello", "it is no skops file"),
        (".skops", pickle.dumps(1), "name it .pkl or .joblib"),
        (".joblib", b"PK\x03\x04 and so on", "if skops wrote it, name it .skops"),
        (".pkl", b"hello", "it is damaged"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, suffix, content, says):
    path = tmp_path / f"iris{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=says):
        load_model(path, trusted=True)


@pytest.mark.parametrize("content", [{"a": 1}, LogisticRegression(), LogisticRegression, X])
def test_a_file_that_holds_no_fitted_estimator_is_refused(tmp_path, content):
    path = tmp_path / "iris.joblib"
    joblib.dump(content, path)
    with pytest.raises(ModelError, match=r"iris\.joblib: .*(no model|not fitted|is a class)"):
        load_model(path, trusted=True)


# Files that can't be written


@pytest.mark.parametrize(
    ("estimator", "path", "given", "says"),
    [
        (LogisticRegression(), "a.skops", {}, "not fitted"),
        (logistic, "a.onnx", {}, "no known suffix"),
        (logistic, "nowhere/a.skops", {}, "there is no directory"),
        (logistic, "a.skops", {"labels": ["a"]}, "labels= has 1 names"),
        (logistic, "a.skops", {"features": ["a"]}, "features= has 1 names"),
        (FunctionTransformer(lambda x: x).fit(X), "a.pkl", {}, "can't save .*lambda"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, estimator, path, given, says):
    with pytest.raises(ModelError, match=says):
        save_model(estimator, tmp_path / path, **given)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = save_model(logistic, tmp_path / "iris.pkl")
    before = path.read_bytes()
    with pytest.raises(ModelError):
        save_model(FunctionTransformer(lambda x: x).fit(X), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "other").touch()
    assert save_model(logistic, tmp_path / "m.skops").stat().st_mode == (tmp_path / "other").stat().st_mode
