"""Compiled models: they answer as their estimators do, or are refused; what they can't answer the estimators do."""

import pickle
import sys
from importlib import import_module

import numpy as np
import pytest
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, SplineTransformer, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from stretto import Client, Pipeline, deploy, model, parallel
from stretto.compiler import compile_plan
from stretto.engine import stage_queue as lane
from stretto.errors import Disagreement, ModelError
from stretto.models import model_step
from stretto.onnx import engine as onnx_engine
from stretto.onnx.session import Session
from stretto.plan.steps import Stage
from stretto.testing.oracle import oracle, same
from stretto_composers import vote
from tests.cases import BAD_ROWS, FEATURES, SETOSA, iris_model

iris = load_iris()
THREE = make_classification(500, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0)
TWO = make_classification(400, 6, random_state=1)
NUMBERS = make_regression(300, 6, noise=3.0, random_state=0)
CLASSIFIERS = [
    LogisticRegression(),
    LinearSVC(),
    RidgeClassifier(),
    SVC(),
    SVC(kernel="poly", degree=2),
    SVC(kernel="sigmoid"),
    NuSVC(kernel="linear"),
    DecisionTreeClassifier(random_state=0),
    RandomForestClassifier(30, random_state=0),
    ExtraTreesClassifier(20, max_depth=4, random_state=0),
    GradientBoostingClassifier(n_estimators=15, random_state=0),
    HistGradientBoostingClassifier(max_iter=10, random_state=0),
    GaussianNB(),
    make_pipeline(StandardScaler(), SVC()),
    make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)),
    VotingClassifier([("logistic", LogisticRegression()), ("tree", DecisionTreeClassifier(random_state=0))]),
]
REGRESSORS = [
    Ridge(),
    SVR(),
    DecisionTreeRegressor(random_state=0),
    RandomForestRegressor(20, random_state=0),
    GradientBoostingRegressor(random_state=0),
    HistGradientBoostingRegressor(max_iter=20, random_state=0),
]


def named(estimator):
    return "-".join(type(each).__name__ for _, each in getattr(estimator, "steps", [("", estimator)]))


def thresholds(estimator, rows):
    """Rows with a number at the threshold of a tree, and at its neighbours in float32 and float64."""
    trees = [each.tree_ for each in np.ravel(getattr(estimator, "estimators_", [])) if hasattr(each, "tree_")]
    trees += [estimator.tree_] if hasattr(estimator, "tree_") else []
    rng, found = np.random.default_rng(0), []
    for tree in trees:
        for feature, value in zip(tree.feature, tree.threshold, strict=True):
            near = np.float32(value)
            up, down = np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))
            for each in (value, np.nextafter(value, np.inf), near, up, down) if feature >= 0 else ():
                row = rows[rng.integers(len(rows))].copy()
                row[feature] = each
                found.append(row)
    return np.array(found[:20_000]).reshape(-1, rows.shape[1])


def compiled_fn(estimator, **options):
    return model_step(estimator, engine="onnx", **options).fn


# The same answers


@pytest.mark.parametrize("data", [THREE, TWO], ids=["three", "two"])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=named)
def test_a_compiled_classifier_gives_the_same_labels_also_at_thresholds(estimator, data):
    rows, target = data
    fitted = estimator.fit(rows, target)
    rows = np.concatenate([rows, rows + 0.01, thresholds(fitted, rows)])
    fn = compiled_fn(fitted)
    assert fn.method.kernel.precision == "double"
    fn.method.bulk = None
    assert np.array_equal(fn(rows), fitted.predict(rows))


@pytest.mark.parametrize("estimator", [each for each in CLASSIFIERS if hasattr(each, "predict_proba")], ids=named)
def test_compiled_probabilities_are_the_same_within_rounding(estimator):
    fitted = estimator.fit(*THREE)
    fn = compiled_fn(fitted, output="proba")
    assert np.allclose(fn(THREE[0][:50]), fitted.predict_proba(THREE[0][:50]), atol=1e-6)
    assert fn(THREE[0][:50]).dtype == np.float64


@pytest.mark.parametrize("estimator", REGRESSORS, ids=named)
def test_compiled_numbers_are_the_same_within_rounding(estimator):
    fitted = estimator.fit(*NUMBERS)
    rows = np.concatenate([NUMBERS[0], thresholds(fitted, NUMBERS[0])])
    fn = compiled_fn(fitted)
    fn.method.bulk = None
    assert np.allclose(fn(rows), fitted.predict(rows), rtol=1e-9)


@pytest.mark.parametrize("labels", [None, ["low", "middle", "high"]])
def test_labels_are_those_of_the_step_that_is_not_compiled(labels):
    classes = np.array(["b", "c", "a"])[THREE[1]]
    fitted = RandomForestClassifier(5, random_state=0).fit(THREE[0], classes)
    plain = model_step(fitted, labels=labels).fn
    assert compiled_fn(fitted, labels=labels)(THREE[0]).tolist() == plain(THREE[0]).tolist()
    by_label = compiled_fn(fitted, labels=labels, output="label_proba")(THREE[0][:3])
    assert list(by_label) == list(plain.classes)


def test_batching_is_invisible_on_both_sides_of_where_the_estimator_takes_over():
    fitted = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(*THREE)
    fn = compiled_fn(fitted, output="proba")
    fn.method.bulk = 100
    assert np.allclose(np.concatenate([fn(row[None]) for row in THREE[0]]), fn(THREE[0]), atol=1e-6)


@pytest.mark.parametrize("row", BAD_ROWS, ids=repr)
async def test_bad_rows_are_refused_in_the_same_words(row):
    both = parallel(iris_model("logistic"), iris_model("svm"))
    async with Client(both) as plain, Client(both.optimize(iris.data)) as made:
        with pytest.raises(Exception) as expected:  # noqa: PT011
            await plain.predict(row)
        with pytest.raises(type(expected.value)) as caught:
            await made.predict(row)
    assert caught.value.args == expected.value.args


def test_a_row_with_missing_values_goes_to_the_estimator():
    rows = THREE[0].copy()
    rows[0, 0] = np.nan
    fitted = HistGradientBoostingClassifier(max_iter=5).fit(*THREE)
    assert np.array_equal(compiled_fn(fitted)(rows), fitted.predict(rows))


# Verified, or refused


def test_what_answers_otherwise_is_refused_with_the_rows(monkeypatch):
    fitted, other = LogisticRegression().fit(*THREE), LogisticRegression(C=1e-4).fit(*THREE)
    graphs = onnx_engine.kernels
    monkeypatch.setattr("stretto.onnx.engine.kernels", lambda _, output: graphs(other, output))
    with pytest.raises(Disagreement, match=r"model 'flowers': LogisticRegression .* on \d+ of 500 rows") as caught:
        model(fitted, name="flowers", engine="onnx", sample=THREE[0])
    row, _, answers = caught.value.rows.splitlines()[0].partition(": ")
    given = np.array([eval(row)])
    assert answers == f"{other.predict(given)[0]}, and not {fitted.predict(given)[0]}"
    with pytest.raises(Disagreement, match="model 'flowers'"):
        model(fitted, name="flowers").optimize()


def test_float32_is_used_where_doubles_can_t_be_and_is_named():
    fitted = make_pipeline(SimpleImputer(), LogisticRegression()).fit(*THREE)
    assert "ONNX Runtime in float32" in compiled_fn(fitted).method.note


@pytest.mark.parametrize(
    ("estimator", "given", "says"),
    [
        (make_pipeline(SplineTransformer(), Ridge()), {}, r"can't compile Pipeline.*Leave engine= out"),
        (make_pipeline(FunctionTransformer(np.abs), Ridge()), {}, "its rows are not numbers alone"),
        (Ridge(), {"engine": "tensorrt"}, "the engines are .*'onnx'"),
        (Ridge(), {"sample": [[1.0, 2.0]]}, "sample= has a row that the model does not take.*it takes 6"),
        (LogisticRegression(), {"output": "decision"}, "output='decision'"),
    ],
)
def test_what_can_t_be_compiled_is_refused_with_the_reason(estimator, given, says):
    target = THREE[1] if isinstance(estimator, LogisticRegression) else NUMBERS[1][:500]
    fitted = estimator.fit(THREE[0][: len(target)], target)
    with pytest.raises(ModelError, match=says):
        model_step(fitted, **{"engine": "onnx", **given})


@pytest.mark.parametrize("missing", ["onnxruntime", "skl2onnx"])
def test_without_the_extra_the_error_names_it(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    fitted = Ridge(alpha=7).fit(*NUMBERS)
    with pytest.raises(ModelError, match=r"pip install 'stretto\[onnx\]'"):
        model(fitted, engine="onnx")
    with pytest.raises(ModelError, match=r"pip install 'stretto\[onnx\]'"):
        Pipeline(fitted).optimize()


# Sessions


def test_equal_graphs_are_one_session_of_a_process():
    fn = compiled_fn(LogisticRegression().fit(*THREE))
    again = pickle.loads(pickle.dumps(fn))
    assert again(THREE[0]).tolist() == fn(THREE[0]).tolist()
    assert again.method.kernel._session._runtime is fn.method.kernel._session._runtime
    assert Session(fn.method.kernel.content)._runtime is fn.method.kernel._session._runtime


def test_a_step_and_its_compiled_form_are_not_the_same_work():
    fitted = Ridge().fit(*NUMBERS)
    assert model_step(fitted).key != model_step(fitted, engine="onnx").key


# Whole pipelines


def scaled():
    scaler = StandardScaler().fit(iris.data)
    machine = SVC().fit(scaler.transform(iris.data), iris.target)
    return model(scaler, name="scaler", features=FEATURES) >> model(machine, name="machine", labels=iris.target_names)


PIPELINES = {
    "fan-out": lambda: parallel(iris_model("logistic"), iris_model("svm")),
    "chain": scaled,
    "chain in a fan-out": lambda: parallel(iris_model("logistic"), scaled=scaled()),
    "fan-out in a fan-out": lambda: parallel(a=parallel(iris_model("logistic"), iris_model("svm")), b=scaled()),
    "probabilities": lambda: parallel(iris_model("proba"), iris_model("svm")),
    "vote after": lambda: parallel(iris_model("logistic"), iris_model("svm")) >> vote(),
    "vote of": lambda: vote(iris_model("logistic"), iris_model("svm"), scaled()),
}


@pytest.fixture(autouse=True)
def _measured_alike(monkeypatch):
    """Whether a graph is the faster one for a row is measured, and a busy machine may say no."""
    module = import_module("stretto.models.compiled")
    monkeypatch.setattr(module, "_time", lambda what, *_: 0.0 if isinstance(what, module.Compiled) else 1.0)


def graphs(pipeline):
    return [
        node.step
        for node in compile_plan(pipeline.plan()).walk()
        if isinstance(getattr(node, "step", None), Stage) and node.step.compute is not None
    ]


async def test_a_graph_inside_a_vote_runs_in_a_thread_too(monkeypatch):
    """A stage that takes long goes to a thread, where no event loop runs and nothing in it may wait."""
    monkeypatch.setattr(lane, "LOOP_BUDGET", -1.0)
    pipeline = vote(iris_model("logistic"), iris_model("svm"), scaled().optimize(iris.data))
    assert len(graphs(pipeline)) == 1
    row = dict(zip(FEATURES, iris.data[77].tolist(), strict=True))
    async with Client(pipeline) as client:
        assert same(await client.predict(row), await oracle(pipeline, row))


@pytest.mark.parametrize("name", PIPELINES)
async def test_an_optimized_pipeline_answers_as_the_oracle_does(name):
    pipeline = PIPELINES[name]()
    made = pipeline.optimize(iris.data)
    rows = [dict(zip(FEATURES, row, strict=True)) for row in iris.data.tolist()]
    expected = [await oracle(pipeline, row) for row in rows]
    assert len(graphs(made)) == 1
    async with Client(made) as client, Client(pickle.loads(pickle.dumps(made))) as copy:
        for answers in (
            await client.predict_many(rows),
            [await client.predict(row) for row in rows],
            [await copy.predict(row) for row in rows],
        ):
            assert all(map(close, answers, expected))


def close(answer, expected):
    if isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(close(answer[key], expected[key]) for key in expected)
    return np.allclose(answer, expected, atol=1e-6) if isinstance(expected, float) else answer == expected


async def test_what_overflows_on_the_way_is_answered_by_the_models_themselves():
    scaler = StandardScaler().fit(iris.data * 1e-300)
    machine = SVC().fit(iris.data, iris.target)
    pipeline = model(scaler, name="scaler", features=FEATURES) >> model(machine, name="machine")
    made = pipeline.optimize(iris.data * 1e-300)
    async with Client(pipeline) as plain, Client(made) as client:
        for row in ([1e9] * 4, [1e-300] * 4):
            answers = [await each.predict_many([row], on_error="return") for each in (plain, client)]
            assert repr(answers[0]) == repr(answers[1])


def test_the_plan_says_what_is_compiled_and_what_is_not_and_why():
    slow = KNeighborsClassifier().fit(iris.data, iris.target)
    odd = make_pipeline(FunctionTransformer(np.abs), Ridge()).fit(iris.data, iris.target)
    made = parallel(iris_model("logistic"), model(slow, name="near"), model(odd, name="odd")).optimize(iris.data)
    shown = str(made.plan())
    assert "ONNX Runtime in double; verified on 150 rows, numbers within 1e-06" in shown
    assert "not compiled: " in shown.partition("── odd")[2]
    assert "one graph on ONNX Runtime" in str(parallel(iris_model("logistic"), iris_model("svm")).optimize().plan())


def test_functions_are_not_run_to_optimize_what_is_behind_them():
    def refuse(row):
        raise AssertionError

    made = (Pipeline(refuse) >> iris_model("logistic")).optimize([SETOSA])
    assert "ONNX Runtime in double; verified on 256 rows" in str(made.plan())


def test_compiling_twice_changes_nothing():
    made = Pipeline(iris_model("logistic")).optimize()
    assert made.optimize().plan().text == made.plan().text


@pytest.mark.asyncio(loop_scope="session")
async def test_a_compiled_pipeline_answers_on_serve(ray_cluster):
    made = parallel(iris_model("logistic"), iris_model("svm")).optimize(iris.data)
    async with deploy(made, name="compiled") as client:
        assert await client.predict(SETOSA) == {"logistic": "setosa", "svm": "setosa"}
