"""Votes, means and stacks are scikit-learn's: over the same fitted members, on every data set it brings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from stretto import Client, Pipeline, model, parallel
from stretto_composers import average, median, stack, vote, weighted
from tests.benchmarks.saved import DATASETS, saved, table

PAGE = Path(__file__).parents[2] / "docs" / "composers" / "vote.md"
LOADERS = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer, "digits": load_digits}
CLASSIFIERS: dict[str, Any] = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
    "bayes": GaussianNB(),
    "stump": DecisionTreeClassifier(max_depth=1),
    "odd": DecisionTreeClassifier(max_depth=3, max_features=1, random_state=3),
}
REGRESSORS: dict[str, Any] = {
    "ridge": Ridge(),
    "linear": LinearRegression(),
    "tree": DecisionTreeRegressor(max_depth=3, random_state=0),
}
WEIGHTS = [None, [2, 1, 1, 1], [1, 1, 0, 1], [0.1, 0.2, 0.3, 0.3], [0.3, 0.1, 0.1, 0.5], {"logistic": 3}]


@cache
def data(name: str) -> Any:
    return LOADERS[name]()


@cache
def fitted(name: str, *, text: bool) -> VotingClassifier:
    """Return a fitted ensemble; its weights and its kind of vote have no part in the fit."""
    found = data(name)
    labels = np.array(found.target_names).astype(str)[found.target] if text else found.target
    return VotingClassifier(list(CLASSIFIERS.items())).fit(found.data[::2], labels[::2])


def voting(name: str, kind: str, weights: Any, *, text: bool = False, only: int = 4) -> tuple[Any, list[Any]]:
    """Return the ensemble with other settings, and its members as models that name the classes as it does."""
    whole = fitted(name, text=text)
    twin = VotingClassifier(whole.estimators[:only], voting=kind, weights=weights)
    vars(twin).update(le_=whole.le_, classes_=whole.classes_, estimators_=whole.estimators_[:only])
    names = [member for member, _ in twin.estimators]
    models = [model(each, name=own, labels=whole.classes_) for own, each in zip(names, twin.estimators_, strict=True)]
    return twin, models


async def answers(pipeline: Pipeline[Any, Any], rows: Any) -> list[Any]:
    async with Client(pipeline) as client:
        together = await client.predict_many(rows)
        for i in range(0, len(rows), max(1, len(rows) // 7)):
            alone = await client.predict(rows[i])
            assert alone == (together[i] if isinstance(alone, str | int) else pytest.approx(together[i], rel=1e-9))
        return together


def both(composer: Callable[..., Any], members: list[Any], *first: Any, **options: Any) -> list[Pipeline[Any, Any]]:
    """Return the two spellings."""
    return [composer(*first, *members, **options), parallel(*members) >> composer(*first, **options)]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("name", LOADERS)
async def test_votes_are_scikit_learns(name: str, kind: str, weights: Any) -> None:
    """Label by label, with early stop and without, ties included."""
    by_order = [weights.get(own, 1) for own in CLASSIFIERS] if isinstance(weights, dict) else weights
    whole, models = voting(name, kind, by_order)
    rows = data(name).data
    expected = whole.predict(rows).tolist()
    for pipeline in both(vote, models, voting=kind, weights=weights):
        assert await answers(pipeline, rows) == expected
    assert await answers(vote(*models, voting=kind, weights=weights, early_stop=False), rows) == expected


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("name", LOADERS)
async def test_votes_for_text_are_scikit_learns(name: str, kind: str) -> None:
    """Also where the classes are text: they are in sort order there, and so they are here."""
    whole, models = voting(name, kind, None, text=True)
    expected = whole.predict(data(name).data).tolist()
    for pipeline in both(vote, models, voting=kind):
        assert await answers(pipeline, data(name).data) == expected


async def test_a_tie_goes_to_the_class_that_comes_first_whatever_its_label() -> None:
    """The class 0 of breast_cancer is named 'malignant', which sorts behind the name of class 1."""
    whole, _ = voting("breast_cancer", "hard", None, only=2)
    rows, names = data("breast_cancer").data, data("breast_cancer").target_names
    models = [
        model(each, name=own, labels=names) for (own, _), each in zip(whole.estimators, whole.estimators_, strict=True)
    ]
    said = np.array([each.predict(rows) for each in whole.estimators_])
    assert (said[0] != said[1]).sum() > 5, "there are ties"
    expected = names[whole.predict(rows)].tolist()
    for pipeline in both(vote, models):
        assert await answers(pipeline, rows) == expected


@pytest.mark.parametrize("name", LOADERS)
async def test_mean_probabilities_are_scikit_learns(name: str) -> None:
    whole, _ = voting(name, "soft", None)
    weighing, _ = voting(name, "soft", [1, 2, 3, 4])
    rows = data(name).data[::3]
    models = [
        model(each, name=own, output="proba")
        for (own, _), each in zip(whole.estimators, whole.estimators_, strict=True)
    ]
    for pipeline in both(average, models):
        np.testing.assert_allclose(await answers(pipeline, rows), whole.predict_proba(rows), rtol=1e-9)
    for pipeline in both(weighted, models, weights=[1, 2, 3, 4]):
        np.testing.assert_allclose(await answers(pipeline, rows), weighing.predict_proba(rows), rtol=1e-9)


@pytest.mark.parametrize("weights", [None, [2, 1, 1], [0.1, 0.2, 0.7], [0, 0, 1]], ids=str)
async def test_means_are_scikit_learns(weights: list[float] | None) -> None:
    rows, target = load_diabetes(return_X_y=True)
    whole = VotingRegressor(list(REGRESSORS.items()), weights=weights).fit(rows, target)
    models = [model(each, name=name) for name, each in zip(REGRESSORS, whole.estimators_, strict=True)]
    pipelines = both(average, models) if weights is None else both(weighted, models, weights=weights)
    for pipeline in pipelines:
        np.testing.assert_allclose(await answers(pipeline, rows), whole.predict(rows), rtol=1e-9)


async def test_a_median_is_numpys() -> None:
    rows, target = load_diabetes(return_X_y=True)
    members = {name: clone(each).fit(rows, target) for name, each in REGRESSORS.items()}
    models = [model(each, name=name) for name, each in members.items()]
    expected = np.median([each.predict(rows) for each in members.values()], axis=0)
    for pipeline in both(median, models):
        np.testing.assert_allclose(await answers(pipeline, rows), expected, rtol=1e-9)


STACKED = {
    "auto": ["logistic", "bayes", "svm", "linear svm"],
    "predict_proba": ["logistic", "bayes", "neighbours"],
    "decision_function": ["logistic", "svm", "linear svm"],
    "predict": ["bayes", "neighbours", "svm"],
}


@cache
def prefit(name: str) -> dict[str, Any]:
    more = {
        "neighbours": KNeighborsClassifier(3),
        "svm": make_pipeline(StandardScaler(), SVC()),
        "linear svm": make_pipeline(StandardScaler(), LinearSVC()),
    }
    found = data(name)
    members = {**CLASSIFIERS, **more}
    return {own: clone(each).fit(found.data[::2], found.target[::2]) for own, each in members.items()}


@pytest.mark.parametrize("passthrough", [False, True])
@pytest.mark.parametrize("method", STACKED)
@pytest.mark.parametrize("name", LOADERS)
async def test_stacks_are_scikit_learns(name: str, method: Any, passthrough: bool) -> None:
    """The columns are the same, in the same order: the final model is fitted on scikit-learn's."""
    found = data(name)
    members = [(own, prefit(name)[own]) for own in STACKED[method]]
    whole = StackingClassifier(
        members, DecisionTreeClassifier(random_state=0), cv="prefit", stack_method=method, passthrough=passthrough
    ).fit(found.data[1::2], found.target[1::2])
    models = [model(each, name=own, labels=found.target_names) for own, each in members]
    final = model(whole.final_estimator_, name="final", labels=found.target_names)
    expected = found.target_names[whole.predict(found.data)].tolist()
    for pipeline in both(stack, models, final, method=method, passthrough=passthrough):
        assert await answers(pipeline, found.data) == expected


@pytest.mark.parametrize("passthrough", [False, True])
async def test_stacks_of_regressors_are_scikit_learns(passthrough: bool) -> None:
    rows, target = load_diabetes(return_X_y=True)
    members = [(name, clone(each).fit(rows, target)) for name, each in REGRESSORS.items()]
    whole = StackingRegressor(members, Ridge(), cv="prefit", passthrough=passthrough).fit(rows, target)
    models = [model(each, name=name) for name, each in members]
    for pipeline in both(stack, models, model(whole.final_estimator_, name="final"), passthrough=passthrough):
        np.testing.assert_allclose(await answers(pipeline, rows), whole.predict(rows), rtol=1e-9)


@pytest.mark.parametrize("weights", ["even", "2, 1, 1, 1, 1"])
@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("name", DATASETS)
async def test_an_early_stop_saves_calls_and_changes_no_label(name: str, kind: str, weights: str) -> None:
    """As the table on vote's page says, which this makes."""
    found = await saved(name, kind, weights)
    assert found.same
    assert found.share > 0.2
    assert list(table([found]))[-1] in PAGE.read_text()
