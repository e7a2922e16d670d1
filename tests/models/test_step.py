"""Estimators as steps: the same answers as asked directly, and errors when built wrong."""

import asyncio
import json
import pickle
from dataclasses import replace

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.manifold import Isomap
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from stretto.batch.batch import Batch
from stretto.engine.apply import apply
from stretto.engine.context import Context
from stretto.errors import BadRows, InputError, ModelError
from stretto.models import accepting, default_name, is_estimator, model_step
from stretto.models.files.formats import SavedModel, save_model
from stretto.plan.steps import Step

iris = load_iris()
X, y, NAMES, LABELS = iris.data, iris.target, iris.feature_names, iris.target_names
logistic = LogisticRegression(max_iter=1000).fit(X, y)


def forms_of(table):
    rows = [dict(zip(NAMES, row, strict=True)) for row in table.tolist()]
    return {
        "2-d": table,
        "arrays": list(table),
        "lists": table.tolist(),
        "tuples": [tuple(row) for row in table.tolist()],
        "dicts": rows,
        "mixed": [rows[0], table[1], *table[2:].tolist()],
        "columns": dict(zip(NAMES, table.T, strict=True)),
    }


@pytest.fixture(scope="module")
def frame():
    return pd.DataFrame(X, columns=NAMES)


@pytest.mark.parametrize("form", forms_of(X))
@pytest.mark.parametrize("estimator", [logistic, SVC().fit(X, y)], ids=default_name)
def test_every_form_of_rows_gives_what_the_estimator_gives(estimator, form):
    answers = model_step(estimator, features=NAMES).fn(forms_of(X)[form])
    assert np.array_equal(answers, estimator.predict(X))


@pytest.mark.parametrize("output", ["proba", "decision"])
def test_numbers_are_those_of_the_estimator_to_the_last_bit(output):
    method = {"proba": "predict_proba", "decision": "decision_function"}[output]
    assert np.array_equal(model_step(logistic, output=output).fn(X), getattr(logistic, method)(X))


def test_probabilities_by_label_name_the_labels():
    columns = model_step(logistic, labels=LABELS, output="label_proba").fn(X[:2])
    assert list(columns) == ["setosa", "versicolor", "virginica"]
    assert np.array_equal(np.column_stack(list(columns.values())), logistic.predict_proba(X[:2]))


def test_a_transformer_answers_with_what_it_makes():
    scaler = StandardScaler().fit(X)
    for output in ("predict", "transform"):
        assert np.array_equal(model_step(scaler, output=output).fn(X), scaler.transform(X))


def test_a_sparse_answer_becomes_an_array():
    encoder = OneHotEncoder().fit(X[:9])
    assert np.array_equal(model_step(encoder).fn(X[:9]), encoder.transform(X[:9]).toarray())


def test_an_estimator_of_several_outputs_gives_an_entry_a_row():
    several = MultiOutputClassifier(DecisionTreeClassifier()).fit(X, np.column_stack([y, y % 2]))
    assert model_step(several).fn(X[:3]).shape == (3, 2)
    assert model_step(several, output="proba").fn(X[:2]) == [[[1, 0, 0], [1, 0]]] * 2


@pytest.mark.parametrize("output", ["predict", "proba", "label_proba", "decision"])
def test_no_rows_have_no_answers(output):
    answers = model_step(logistic, output=output).fn([])
    assert len(answers if output != "label_proba" else answers["0"]) == 0


def test_any_object_with_predict_is_a_model():
    class Longest:
        def predict(self, rows):
            return rows.argmax(axis=1)

    step = model_step(Longest())
    assert step.fn([[1, 3, 2], (9, 0, 0)]).tolist() == [1, 0]
    assert (step.name, repr(step.fn)) == ("longest", "Longest()")


def test_what_the_model_itself_raises_is_not_hidden():
    class Broken:
        def predict(self, rows):
            raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        model_step(Broken()).fn([[1]])


# Labels


def test_labels_name_the_classes_in_their_order(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(list(LABELS)))
    expected = LABELS[logistic.predict(X)].tolist()
    for labels in (LABELS, list(LABELS), tuple(LABELS), path, str(path)):
        assert model_step(logistic, labels=labels).fn(X).tolist() == expected


def test_labels_are_given_back_as_they_were_given():
    answers = model_step(logistic, labels=["a", 1, None]).fn(X[[0, 60, 120]]).tolist()
    assert answers == ["a", 1, None]
    assert [type(each) for each in answers] == [str, int, type(None)]


@pytest.mark.parametrize("names", [[10, 20, 30], ["c", "a", "b"], [1.0, 2.0, -3.0]])
def test_labels_name_classes_that_are_not_counted_from_zero(names):
    estimator = LogisticRegression(max_iter=1000).fit(X, np.array(names)[y])
    labels = [f"class {name}" for name in estimator.classes_.tolist()]
    answers = model_step(estimator, labels=labels).fn(X).tolist()
    assert answers == [f"class {name}" for name in estimator.predict(X).tolist()]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["a", "b"], "labels= has 2 names .* has 3 classes"),
        ({"a": 1}, "pass a list"),
        (7, "pass a list"),
        ([["a"], "b", "c"], "a label is a string or a number"),
        ("labels.json", "there is no labels file"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, says):
    with pytest.raises(ModelError, match=says):
        model_step(logistic, labels=labels)


@pytest.mark.parametrize("text", ['{"a": 1}', "[1,"])
def test_a_labels_file_without_a_list_is_refused(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(ModelError, match="list"):
        model_step(logistic, labels=tmp_path / "labels.json")


@pytest.mark.parametrize(
    "estimator", [KMeans(3), IsolationForest(n_estimators=3), LinearRegression()], ids=default_name
)
def test_only_classifiers_have_labels(estimator):
    with pytest.raises(ModelError, match="needs a classifier with one array classes_"):
        model_step(estimator.fit(X, y), labels=LABELS)


def test_one_label_for_two_classes_is_refused_only_where_it_would_be_a_key_twice():
    assert model_step(logistic, labels=["small", "large", "large"]).fn(X[[0, 60, 120]]).tolist() == [
        "small",
        "large",
        "large",
    ]
    with pytest.raises(ModelError, match="one name for two classes"):
        model_step(logistic, labels=["small", "large", "large"], output="label_proba")


# Features


def test_names_come_from_the_estimator_or_from_the_user(frame):
    assert model_step(LogisticRegression(max_iter=1000).fit(frame, y)).features == tuple(NAMES)
    assert model_step(logistic, features=np.array(NAMES)).features == tuple(NAMES)
    assert model_step(logistic).features is None
    assert Step(fn=len, name="len").features is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogisticRegression(max_iter=1000),
        lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        lambda: make_pipeline(StandardScaler().set_output(transform="pandas"), LogisticRegression()),
        lambda: VotingClassifier([("a", LogisticRegression(max_iter=1000)), ("b", SVC())]),
        lambda: GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [2, 3]}, cv=2),
        lambda: CalibratedClassifierCV(SVC(), cv=2),
        lambda: RandomForestClassifier(5, random_state=0),
        lambda: HistGradientBoostingClassifier(max_iter=3),
        lambda: Isomap(n_neighbors=70),
        lambda: make_pipeline(ColumnTransformer([("s", StandardScaler(), NAMES[2:])]), LogisticRegression()),
    ],
)
def test_an_estimator_fitted_on_a_frame_answers_the_same_and_without_warning(make, frame):
    estimator = make().fit(frame, y)
    ask = getattr(estimator, "predict", None) or estimator.transform
    for form in forms_of(X).values():
        assert np.allclose(model_step(estimator).fn(form), ask(frame))
    assert list(estimator.feature_names_in_) == NAMES


def test_a_setting_that_makes_frames_of_all_answers_changes_nothing(frame):
    with sklearn.config_context(transform_output="pandas"):
        estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)
        assert model_step(estimator).fn(X).tolist() == estimator.predict(frame).tolist()
        assert isinstance(model_step(estimator[:1]).fn(X), np.ndarray)


def test_a_model_that_selects_columns_by_name_needs_pandas(frame, monkeypatch):
    estimator = ColumnTransformer([("s", StandardScaler(), NAMES[2:])]).fit(frame)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ModelError, match="pip install pandas"):
        model_step(estimator)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (["a", "b"], "features= has 2 names, but LogisticRegression was fitted on 4"),
        (["a", "b", "a", "c"], "'a' more than once"),
        ("abcd", "as a list"),
        ({"a", "b", "c", "d"}, "as a list"),
        ([1, 2, 3, 4], "takes names, not 1"),
        ([], "is empty"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, says):
    with pytest.raises(ModelError, match=says):
        model_step(logistic, features=features)


def test_features_may_rename_but_not_reorder_those_fitted(frame):
    estimator = LogisticRegression(max_iter=1000).fit(frame, y)
    renamed = model_step(estimator, features=["sl", *NAMES[1:]])
    assert renamed.fn([dict(zip(renamed.features, X[0], strict=True))]).tolist() == [0]
    with pytest.raises(ModelError, match="in another place than LogisticRegression was fitted with"):
        model_step(estimator, features=NAMES[::-1])


def test_a_model_accepts_the_features_of_others_when_told_to():
    step = model_step(logistic, features=NAMES)
    row = {**dict(zip(NAMES, X[0], strict=True)), "age": 3}
    with pytest.raises(BadRows):
        step.fn([row])
    for extra in (frozenset({"age"}), None):
        assert accepting(step, extra).fn([row]).tolist() == [0]
        assert accepting(step, extra).key != step.key
    assert accepting(step, frozenset()) is step
    other = Step(fn=len, name="len")
    assert accepting(other, None) is other


# Missing values


def culprits(step, rows):
    """Return the positions of the rows that fail, each with an InputError, when the step is applied to all of them."""
    batch = Batch.of(rows, request=True)
    errors = apply(step, batch, Context()).errors
    assert all(isinstance(each, InputError) for each in errors.values())
    return list(errors)


def test_missing_values_are_refused_unless_the_model_takes_them():
    rows = X[:3].copy()
    rows[1, 2] = np.nan
    assert culprits(model_step(logistic), rows) == [1]
    boosted = HistGradientBoostingClassifier(max_iter=3).fit(X, y)
    assert np.array_equal(model_step(boosted).fn(rows), boosted.predict(rows))
    assert (
        model_step(boosted).fn([[5.1, None, 1.4, 0.2]]).tolist() == boosted.predict([[5.1, np.nan, 1.4, 0.2]]).tolist()
    )


def test_a_pipeline_with_an_imputer_takes_missing_values_though_its_tag_says_no():
    imputed = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=1000)).fit(X, y)
    assert model_step(imputed).fn([[5.1, None, 1.4, 0.2]]).tolist() == [0]


def test_rows_whose_missing_values_a_part_refuses_fail_alone():
    columns = ColumnTransformer([("filled", SimpleImputer(), [0, 1]), ("rest", "passthrough", [2, 3])])
    step = model_step(make_pipeline(columns, SelectKBest(k=2), LogisticRegression(max_iter=1000)).fit(X, y))
    assert culprits(step, [[5.1, None, 1.4, 0.2], [5.1, 3.5, None, 0.2], [5.1, 3.5, 1.4, 0.2]]) == [1]


def test_infinity_is_refused_where_the_model_refuses_it():
    for estimator in (logistic, make_pipeline(logistic)):
        assert culprits(model_step(estimator), [X[0], [np.inf, 1, 1, 1]]) == [1]
    boosted = HistGradientBoostingClassifier(max_iter=3).fit(X, y)
    rows = [X[0], [np.inf, 1, 1, 1]]
    assert model_step(boosted).fn(rows).tolist() == boosted.predict(rows).tolist()


def test_a_number_too_large_for_a_tree_is_refused_by_the_tree_itself():
    with pytest.warns(RuntimeWarning, match="overflow"), pytest.raises(ValueError, match="too large for dtype"):
        model_step(DecisionTreeClassifier().fit(X, y)).fn([[1e300, 1, 1, 1]])


# Steps


def test_equal_models_have_equal_keys(tmp_path):
    path = save_model(logistic, tmp_path / "logistic.skops")
    for target in (logistic, path):
        key = model_step(target, name="a", labels=LABELS).key
        assert key == model_step(target, name="b", labels=list(LABELS)).key
        assert hash(key) == hash(model_step(target, labels=LABELS).key)
        assert key != model_step(target).key
        assert key != model_step(target, output="proba").key
    assert model_step(SVC().fit(X, y)).key != model_step(SVC().fit(X, y)).key


def test_a_file_that_was_written_again_is_another_model(tmp_path):
    path = save_model(logistic, tmp_path / "m.skops")
    key = model_step(path).key
    save_model(SVC().fit(X, y), path)
    assert model_step(path).key != key


def test_a_model_is_a_vectorized_pure_step_named_after_its_class_or_file(tmp_path):
    step = model_step(logistic, options={"num_replicas": 2})
    assert (step.name, step.vectorized, step.pure, step.options) == (
        "logisticregression",
        True,
        True,
        {"num_replicas": 2},
    )
    assert model_step(save_model(logistic, tmp_path / "iris_v1.skops")).name == "iris_v1"
    assert model_step(logistic, name="mine").name == "mine"


@pytest.mark.parametrize("by", [pickle, cloudpickle])
def test_a_step_survives_pickling(by, frame):
    fitted = LogisticRegression(max_iter=1000).fit(frame, y)
    step = accepting(model_step(fitted, labels=LABELS), frozenset({"age"}))
    twin = pickle.loads(by.dumps(step))
    assert twin.fn(forms_of(X)["dicts"]).tolist() == step.fn(X).tolist()
    assert (twin.name, twin.reader.extra, repr(twin.fn)) == (step.name, step.reader.extra, repr(step.fn))
    assert twin.key == accepting(replace(twin), frozenset({"age"})).key


def classes(step):
    return step.model.classes


def test_a_model_names_its_classes():
    assert classes(model_step(logistic)) == (0, 1, 2)
    assert classes(model_step(logistic, labels=LABELS)) == ("setosa", "versicolor", "virginica")
    assert classes(model_step(LinearRegression().fit(X, y))) is None


def test_a_model_shows_itself_in_one_line(tmp_path):
    wide = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000, solver="newton-cg")).fit(X, y)
    assert "\n" not in repr(model_step(wide).fn)
    assert repr(model_step(logistic).fn) == "LogisticRegression(max_iter=1000)"
    path = save_model(logistic, tmp_path / "m.skops")
    assert repr(model_step(path).fn) == repr(str(path))


def test_a_model_that_was_loaded_is_a_target_too():
    step = model_step(SavedModel(logistic, labels=tuple(LABELS), features=tuple(NAMES)))
    assert step.fn([dict(zip(NAMES, X[0], strict=True))]).tolist() == ["setosa"]


# Built wrong


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (LogisticRegression, r"pass a fitted instance, such as LogisticRegression\(\)\.fit"),
        (LogisticRegression(), r"LogisticRegression is not fitted: call \.fit"),
        (make_pipeline(StandardScaler(), SVC()), "not fitted"),
        (asyncio.sleep, r"write step\(fn\)"),
        (7, "7 is no model"),
        (DBSCAN().fit(X), r"neither predict\(\) nor transform\(\)"),
    ],
)
def test_what_is_no_fitted_estimator_is_refused(target, says):
    with pytest.raises(ModelError, match=says):
        model_step(target)


@pytest.mark.parametrize(
    ("estimator", "output", "says"),
    [
        (SVC().fit(X, y), "proba", "SVC supports 'predict', 'decision'"),
        (LinearRegression().fit(X, y), "label_proba", "LinearRegression supports 'predict'"),
        (logistic, "transform", "supports 'predict', 'proba', 'label_proba', 'decision'"),
        (logistic, "propa", "which is no kind of output"),
    ],
)
def test_an_output_the_estimator_does_not_have_is_refused(estimator, output, says):
    with pytest.raises(ModelError, match=says):
        model_step(estimator, output=output)


def test_a_model_error_names_the_model():
    with pytest.raises(ModelError, match="model 'iris'"):
        model_step(logistic, name="iris", labels=["a"])


def test_estimators_are_told_from_everything_else():
    assert all(map(is_estimator, (logistic, LogisticRegression(), StandardScaler(), make_pipeline(SVC()))))
    assert not any(map(is_estimator, (LogisticRegression, len, lambda x: x, "predict", None, object())))
