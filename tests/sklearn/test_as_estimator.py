"""A pipeline as an estimator: scikit-learn scores it, clones it and skops writes it, with the pipeline's answers."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.svm import SVC

from stretto import Client, Pipeline, as_estimator, from_sklearn, model, parallel
from stretto.errors import InputError, PipelineError
from stretto_composers import average, vote

iris = load_iris()
X, y = iris.data, iris.target
NAMES = list(iris.feature_names)
logistic, svm = LogisticRegression(max_iter=1000).fit(X, y), SVC().fit(X, y)
forest = RandomForestClassifier(5, random_state=0).fit(X, y)
linear = LinearRegression().fit(X, X[:, 0])


def ensembles() -> dict[str, Any]:
    members = [model(each, name=name) for name, each in (("a", logistic), ("b", svm), ("c", forest))]
    likely = [model(each, name=name, output="label_proba") for name, each in (("a", logistic), ("c", forest))]
    voting = VotingClassifier([("a", logistic), ("b", forest)], voting="soft").fit(X, y)
    return {
        "a model": as_estimator(model(logistic)),
        "probabilities": as_estimator(model(logistic, output="proba")),
        "probabilities by label": as_estimator(model(logistic, output="label_proba")),
        "a vote": as_estimator(vote(*members)),
        "a mean": as_estimator(average(*likely), output="label_proba"),
        "an ensemble": as_estimator(from_sklearn(voting)),
        "an ensemble's probabilities": as_estimator(from_sklearn(voting, output="proba")),
    }


@pytest.mark.parametrize("name", list(ensembles()))
async def test_it_answers_as_the_pipeline_does(name: str) -> None:
    estimator = ensembles()[name]
    async with Client(estimator.pipeline) as client:
        answers = await client.predict_many(X)
    if estimator.output == "predict":
        assert estimator.predict(X).tolist() == answers
        assert not hasattr(estimator, "predict_proba")
    else:
        table = np.array([list(each.values()) if isinstance(each, dict) else each for each in answers])
        assert np.array_equal(estimator.predict_proba(X), table)
        assert estimator.predict(X).tolist() == estimator.classes_[table.argmax(axis=1)].tolist()
    assert accuracy_score(y, estimator.predict(X)) == estimator.score(X, y) > 0.9


@pytest.mark.parametrize("name", list(ensembles()))
def test_scikit_learn_scores_and_clones_it(name: str) -> None:
    estimator = ensembles()[name]
    assert is_classifier(estimator)
    assert clone(estimator) is estimator.fit(X, y) is estimator
    # Its parts are fitted: every fold is scored by the same pipeline.
    assert cross_val_score(estimator, X, y, cv=3).mean() == pytest.approx(estimator.score(X, y))
    assert cross_val_predict(estimator, X, y, cv=3).tolist() == estimator.predict(X).tolist()


@pytest.mark.parametrize("name", list(ensembles()))
def test_it_pickles_and_skops_writes_it(name: str) -> None:
    estimator = ensembles()[name]
    data = skops.io.dumps(estimator)
    unknown = skops.io.get_untrusted_types(data=data)
    assert not [each for each in unknown if not each.startswith(("stretto", "builtins.frozenset", "sklearn.tree"))]
    for twin in (pickle.loads(pickle.dumps(estimator)), skops.io.loads(data, trusted=unknown)):
        assert twin.predict(X).tolist() == estimator.predict(X).tolist()
        assert repr(twin.pipeline) == estimator.pipeline.text


def test_a_pipeline_of_numbers_is_a_regressor() -> None:
    estimator = as_estimator(average(model(linear, name="a"), model(linear, name="b")))
    assert is_regressor(estimator)
    assert not hasattr(estimator, "classes_")
    assert cross_val_score(estimator, X, X[:, 0]).min() > 0.99


def test_it_is_a_part_of_what_takes_estimators() -> None:
    estimator = as_estimator(model(logistic, output="proba"))
    calibrated = CalibratedClassifierCV(FrozenEstimator(estimator)).fit(X, y)
    assert calibrated.score(X, y) > 0.9
    # And the way back.
    assert VotingClassifier([("one", estimator), ("two", estimator)], voting="soft").fit(X, y).score(X, y) > 0.9


async def test_it_works_where_an_event_loop_runs_already() -> None:
    assert as_estimator(model(logistic)).predict(X[:3]).tolist() == [0, 0, 0]


def test_frames_and_names_pass_through() -> None:
    frame = pd.DataFrame(X, columns=NAMES)
    estimator = as_estimator(model(LogisticRegression(max_iter=1000).fit(frame, y)))
    assert list(estimator.feature_names_in_) == NAMES
    assert estimator.n_features_in_ == 4
    assert estimator.predict(frame[NAMES[::-1]]).tolist() == estimator.predict(X).tolist()
    with pytest.raises(InputError, match="lacks"):
        estimator.predict(frame[NAMES[:3]])
    assert not hasattr(as_estimator(model(logistic)), "feature_names_in_")


def test_no_rows_have_no_answers() -> None:
    assert as_estimator(model(logistic)).predict(X[:0]).shape == (0,)
    assert as_estimator(model(logistic, output="proba")).predict_proba(X[:0]).shape == (0, 3)


def test_what_it_can_not_know_it_asks_for() -> None:
    with pytest.raises(PipelineError, match=r"say of what, with classes="):
        as_estimator(Pipeline(lambda row: row), output="proba")
    with pytest.raises(PipelineError, match="output='decision'"):
        as_estimator(model(logistic), output="decision")
    told = as_estimator(parallel(a=model(logistic), b=model(svm)) >> (lambda said: said["a"]), classes=[0, 1, 2])
    assert told.score(X, y) > 0.9
