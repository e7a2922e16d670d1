"""Saved models: what is written is read back, whole and safely, or refused with what to do."""

import gc
import pickle
import re
import subprocess
import sys
import textwrap
import warnings

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import scipy.stats
import skl2onnx
import skops.io
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from stretto import Client, deploy, model, parallel
from stretto.compiler import compile_plan
from stretto.errors import ModelError
from stretto.models import model_step
from stretto.models.files import cache
from stretto.models.files.formats import load_model, save_model
from stretto.models.signature import Signature
from stretto.serve.pickling import pickle_plan, reachable, unpickle_plan

iris = load_iris()
X, y, NAMES, LABELS = iris.data, iris.target, iris.feature_names, iris.target_names
logistic = LogisticRegression(max_iter=1000).fit(X, y)
SUFFIXES = [".skops", ".joblib", ".pkl", ".pickle"]


WORDS = pd.DataFrame({"a": ["x"], "b": [1], "c": [1], "d": [1]})


def inner():
    def inner(x):
        return x

    return inner


class Foreign(BaseEstimator):
    """What no converter knows."""

    def fit(self, X, y=None):
        self.n_features_in_ = 4
        return self

    def predict(self, X):
        return X[:, 0]


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


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".onnx"])
def test_the_frame_that_a_model_was_fitted_on_is_recorded_as_its_signature(tmp_path, suffix):
    frame = pd.DataFrame(X, columns=NAMES).astype({NAMES[0]: "float32"})
    path = save_model(logistic, tmp_path / f"iris{suffix}", features=frame)
    model = load_model(path, trusted=suffix in SUFFIXES[1:])
    assert model.signature == Signature.of(frame)
    assert model.features == tuple(NAMES)
    path = save_model(logistic, tmp_path / f"iris{suffix}", features=X)
    model = load_model(path, trusted=suffix in SUFFIXES[1:])
    assert model.signature == Signature.of(X)
    assert model.features is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_signature_has_texts_and_categories(tmp_path, suffix):
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y"] * 9), "t": ["a", "b"] * 9, 3: range(18)})
    onehot = OneHotEncoder().fit(frame.rename(columns=str))
    path = save_model(onehot, tmp_path / f"m{suffix}", features=frame.rename(columns=str))
    found = load_model(path, trusted=suffix != ".skops").signature
    assert [each.name for each in found.columns] == ["c", "t", "3"]
    assert found.columns[0].categories == ("x", "y")
    assert found.columns[1].is_text


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


def test_types_that_are_not_known_are_named_with_how_to_allow_them(tmp_path):
    path = save_model(make_pipeline(FunctionTransformer(scipy.stats.zscore)).fit(X, y), tmp_path / "scores.skops")
    name = "scipy.stats._stats_py.zscore"
    with pytest.raises(ModelError, match=rf"{re.escape(name)}.*pass trusted=\['{re.escape(name)}'\]"):
        load_model(path)
    for trusted in (True, [name]):
        assert load_model(path, trusted=trusted).estimator.transform(X).shape == X.shape


def test_a_tree_needs_no_trust(tmp_path):
    path = save_model(DecisionTreeClassifier().fit(X, y), tmp_path / "tree.skops")
    for trusted in (False, True, ["sklearn.tree._tree.Tree"]):
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


def test_a_file_whose_class_was_in_the_script_that_wrote_it_says_so(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import joblib, skops.io
        from sklearn.base import BaseEstimator, clone
        class Scale(BaseEstimator):
            def fit(self, X, y=None): self.n_ = 1; return self
            def predict(self, X): return X
        joblib.dump(Scale().fit([[1]]), "scale.joblib")
        skops.io.dump(Scale().fit([[1]]), "scale.skops")
        """)
    )
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
    for name in ("scale.joblib", "scale.skops"):
        with pytest.raises(
            ModelError, match="saved by a script or notebook that defines Scale itself: put Scale into a"
        ):
            load_model(tmp_path / name, trusted=True)


def test_a_file_of_a_module_that_is_not_there_names_it(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x04cnowhere_at_all\nModel\n.")
    with pytest.raises(ModelError, match="it needs the module nowhere_at_all, which is not installed here"):
        load_model(path, trusted=True)


def test_what_a_script_defines_is_not_saved(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        from sklearn.preprocessing import FunctionTransformer
        from stretto import save_model
        from stretto.errors import ModelError
        def double(X): return 2 * X
        for suffix in ("skops", "joblib"):
            try: save_model(FunctionTransformer(double).fit([[1]]), f"m.{suffix}")
            except ModelError as error: print(error)
        """)
    )
    said = subprocess.run([sys.executable, script], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said.count("holds the function double, which is defined in the script") == 2
    assert [each.name for each in tmp_path.iterdir()] == ["train.py"]


# Files that can't be written


@pytest.mark.parametrize(
    ("estimator", "path", "given", "says"),
    [
        (LogisticRegression(), "a.skops", {}, "not fitted"),
        (logistic, "a.h5", {}, "no known suffix"),
        (logistic, "nowhere/a.skops", {}, "there is no directory"),
        (logistic, "a.skops", {"labels": ["a"]}, "labels= has 1 names"),
        (logistic, "a.skops", {"features": ["a"]}, "features= has 1 names"),
        (logistic, "a.skops", {"features": X[:, :3]}, "features= has 3 columns"),
        (logistic, "a.skops", {"probes": X[:, :3]}, "does not take the rows of probes="),
        (FunctionTransformer(lambda x: x).fit(X), "a.pkl", {}, "can't save .*lambda"),
        (FunctionTransformer(lambda x: x).fit(X), "a.skops", {}, "can't save .*lambda.* in a module"),
        (FunctionTransformer(inner()).fit(X), "a.joblib", {}, "inner, which is defined inside a function"),
        (FunctionTransformer(inner()).fit(X), "a.skops", {}, "inner, which is defined inside a function"),
        (IsolationForest().fit(X), "a.onnx", {"features": WORDS}, "takes rows of numbers, and its column a"),
        (Foreign().fit(X), "a.onnx", {}, "Foreign has no ONNX graph: .*Save it as .skops"),
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


# Versions


@pytest.mark.parametrize("suffix", [".skops", ".joblib"])
def test_a_file_of_another_scikit_learn_is_warned_of_with_both_versions_or_refused(tmp_path, suffix, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.2.3")
        path = save_model(logistic, tmp_path / f"old{suffix}")
    says = rf"{path} was saved with scikit-learn 1\.2\.3, and \d+\.\d+.* is installed"
    with pytest.warns(UserWarning, match=says):
        assert load_model(path, trusted=suffix != ".skops").estimator.predict(X[:1]).tolist() == [0]
    with pytest.raises(ModelError, match=rf"{says}: install scikit-learn==1\.2\.3"):
        model(path, trusted=suffix != ".skops", strict=True)


def test_a_file_of_this_scikit_learn_is_not_warned_of(tmp_path):
    path = save_model(logistic, tmp_path / "new.skops")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(path, strict=True)


# ONNX files


def exported(path, estimator, types, **options):
    made = skl2onnx.convert_sklearn(estimator, initial_types=types, target_opset=18, options=options or None)
    path.write_bytes(made.SerializeToString())
    return path


def by_column():
    return make_pipeline(ColumnTransformer([("all", "passthrough", [0, 1, 2, 3])]), LinearRegression())


@pytest.mark.parametrize(
    ("kind", "zipmap"), [(FloatTensorType, True), (FloatTensorType, False), (DoubleTensorType, False)]
)
def test_an_onnx_file_answers_with_labels_and_probabilities(tmp_path, kind, zipmap):
    path = exported(tmp_path / "iris.onnx", logistic, [("rows", kind([None, 4]))], zipmap=zipmap)
    rows = [dict(zip(NAMES, row, strict=True)) for row in X.tolist()]
    assert model_step(path, features=NAMES, labels=LABELS).fn(rows).tolist() == LABELS[logistic.predict(X)].tolist()
    proba = model_step(path, output="proba").fn
    assert np.allclose(proba(X), logistic.predict_proba(X), atol=1e-6)
    assert pickle.loads(pickle.dumps(proba))(X[:1]).tolist() == proba(X[:1]).tolist()


def test_an_onnx_file_with_an_input_a_feature_takes_rows_by_name(tmp_path):
    types = [(name, FloatTensorType([None, 1])) for name in "abcd"]
    fitted = by_column().fit(X, y)
    step = model_step(exported(tmp_path / "m.onnx", fitted, types))
    assert step.features == tuple("abcd")
    assert np.allclose(step.fn([dict(zip("abcd", X[0].tolist(), strict=True))]), fitted.predict(X[:1]), atol=1e-5)


@pytest.mark.parametrize(
    ("types", "says"),
    [
        ([("rows", FloatTensorType([3, 4]))], "the number of rows is fixed"),
        ([("a", FloatTensorType([None, 2])), ("b", FloatTensorType([None, 2]))], "or one a feature"),
    ],
)
def test_an_onnx_file_that_takes_no_rows_of_numbers_is_refused(tmp_path, types, says):
    path = exported(tmp_path / "m.onnx", (LinearRegression() if len(types) == 1 else by_column()).fit(X, y), types)
    with pytest.raises(ModelError, match=f"{path}: its inputs are .*{says}"):
        load_model(path)


def test_an_onnx_file_that_takes_texts_is_refused(tmp_path):
    words = np.array([["a"], ["b"]])
    path = exported(tmp_path / "m.onnx", OneHotEncoder().fit(words), [("words", StringTensorType([None, 1]))])
    with pytest.raises(ModelError, match="rows of numbers"):
        load_model(path)


@pytest.mark.parametrize(
    "estimator", [logistic, RandomForestClassifier(5), SVC(), GaussianNB(), LinearRegression(), StandardScaler()]
)
def test_an_estimator_is_written_as_a_graph_with_the_same_answers(tmp_path, estimator):
    estimator = clone(estimator).fit(X, y)
    path = save_model(estimator, tmp_path / "m.onnx", features=NAMES, probes=X[::7])
    step = model_step(path)
    method = "predict" if hasattr(estimator, "predict") else "transform"
    expected = getattr(estimator, method)(X)
    assert step.features == tuple(NAMES)
    if expected.dtype.kind == "f":
        assert np.allclose(step.fn(X), expected, atol=1e-6)
    else:
        assert step.fn(X).tolist() == expected.tolist()
    if hasattr(estimator, "predict_proba"):
        assert np.allclose(model_step(path, output="proba").fn(X), estimator.predict_proba(X), atol=1e-6)


def test_a_written_graph_answers_with_texts_and_labels(tmp_path):
    named = LogisticRegression(max_iter=1000).fit(X, LABELS[y])
    assert model_step(save_model(named, tmp_path / "m.onnx")).fn(X[:1]).tolist() == ["setosa"]
    path = save_model(SVC().fit(X, LABELS[y]), tmp_path / "m.onnx", labels=["a", "b", "c"])
    assert model_step(path).fn(X[[0, 60, 149]]).tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("kept", [0, 0.5, 0.95])
def test_an_onnx_file_cut_short_is_refused(tmp_path, kept):
    path = exported(tmp_path / "m.onnx", logistic, [("rows", FloatTensorType([None, 4]))])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(ModelError, match=f"can't read {path}: it is"):
        load_model(path)


def test_without_onnxruntime_the_error_names_the_extra(tmp_path, monkeypatch):
    path = exported(tmp_path / "m.onnx", LinearRegression().fit(X[:, :3], y), [("rows", FloatTensorType([None, 3]))])
    assert onnx.load(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"needs onnxruntime: pip install 'stretto\[onnx\]'"):
        load_model(path)


# Once a process, and where models run


def test_a_file_in_two_branches_and_pipelines_is_read_once(tmp_path, monkeypatch):
    path = save_model(logistic, tmp_path / "iris.skops", labels=LABELS, features=NAMES)
    first, second = model(path, name="first"), model(str(path), name="second", labels=["a", "b", "c"])
    estimators = {id(step.fn.estimator) for step in parallel(first, second).plan().steps()}
    assert len(estimators) == 1
    save_model(LogisticRegression(C=0.1).fit(X, y), path)
    (changed,) = model(path).plan().steps()
    assert id(changed.fn.estimator) not in estimators


def test_what_is_sent_of_a_file_is_its_path_and_the_file_is_read_once_there(tmp_path, monkeypatch):
    path = save_model(KNeighborsClassifier().fit(np.tile(X, (50, 1)), np.tile(y, 50)), tmp_path / "near.skops")
    trusted = skops.io.get_untrusted_types(file=path)
    both = parallel(model(path, name="a", trusted=trusted), model(path, name="b", labels=LABELS, trusted=trusted))
    plan = compile_plan(both.plan())
    sent = pickle_plan(plan, {str(path)})
    assert len(sent) < 10_000 < len(pickle_plan(plan))
    del both, plan
    gc.collect()
    read = []
    monkeypatch.setattr(cache, "load_model", lambda *args, **how: read.append(args) or load_model(*args, **how))
    copies = [unpickle_plan(sent), unpickle_plan(sent)]
    assert len({id(step.fn.estimator) for copy in copies for step in copy.steps()}) == 1
    assert len(read) == 1


def test_a_file_that_changed_or_went_is_not_read_elsewhere(tmp_path):
    path = save_model(logistic, tmp_path / "iris.skops")
    sent = pickle_plan(compile_plan(model(path).plan()), {str(path)})
    save_model(LogisticRegression(C=0.1).fit(X, y), path)
    with pytest.raises(
        ModelError, match=f"the model file {path} has changed since the pipeline was sent here: deploy it again"
    ):
        unpickle_plan(sent)
    path.unlink()
    with pytest.raises(ModelError, match=f"the model file {path} is not there any more.*deploy it again"):
        unpickle_plan(sent)


def test_without_a_ray_models_go_as_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("stretto.serve.pickling.connected", lambda: False)
    assert reachable(model(save_model(logistic, tmp_path / "iris.skops")).plan()) == frozenset()


def test_arrays_of_a_mapped_file_stay_in_it(tmp_path):
    path = save_model(KNeighborsClassifier(algorithm="brute").fit(X, y), tmp_path / "near.joblib")
    fn = model_step(path, trusted=True, mmap=True).fn
    assert isinstance(fn.estimator._fit_X, np.memmap)
    assert np.array_equal(fn(X), fn.estimator.predict(X))
    with pytest.raises(ModelError, match=r"mmap=True is for \.joblib files"):
        load_model(save_model(logistic, tmp_path / "iris.skops"), mmap=True)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("there", [True, False], ids=["its file is there", "its file is removed"])
async def test_a_model_of_a_file_runs_on_serve(tmp_path, ray_cluster, there):
    path = save_model(logistic, tmp_path / "iris.skops", labels=LABELS)
    pipeline = parallel(model(path, name="here"), model(path, name="apart", num_replicas=1))
    if not there:
        path.unlink()
    assert reachable(pipeline.plan()) == ({str(path)} if there else set())
    async with deploy(pipeline, name="of-a-file") as client, Client(pipeline) as local:
        assert await client.predict_many(X) == await local.predict_many(X)
