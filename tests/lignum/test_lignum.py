"""Boosters that lignum computes agree with their libraries bit for bit."""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import xgboost
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import Ridge

from stretto import model
from stretto.errors import ModelError
from stretto.lignum.boosters import splits
from stretto.models import model_step

THREE = make_classification(400, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0)
TWO = make_classification(400, 6, random_state=1)
NUMBERS = make_regression(400, 6, noise=3.0, random_state=0)
CATBOOST = {"iterations": 20, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
BOOSTERS = {
    "xgboost": ("XGBClassifier", "XGBRegressor", {"n_estimators": 20, "n_jobs": 1}),
    "lightgbm": ("LGBMClassifier", "LGBMRegressor", {"n_estimators": 20, "n_jobs": 1, "verbose": -1}),
    "catboost": ("CatBoostClassifier", "CatBoostRegressor", CATBOOST),
}


@pytest.fixture(params=BOOSTERS)
def library(request: pytest.FixtureRequest) -> str:
    return request.param


def fitted(library: str, rows: np.ndarray, target: np.ndarray, **options: Any) -> Any:
    classifier, regressor, settings = BOOSTERS[library]
    kind = getattr(import_module(library), regressor if target.dtype.kind == "f" else classifier)
    return kind(**{**settings, **options}).fit(rows, target)


def at_thresholds(estimator: Any, rows: np.ndarray) -> np.ndarray:
    """Return rows with a number at the threshold of a tree, and at its neighbours in float32 and float64."""
    rng, found = np.random.default_rng(0), []
    for feature, value in zip(*splits(estimator), strict=True):
        near = np.float32(value)
        up, down = np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))
        for number in (value, np.nextafter(value, np.inf), np.nextafter(value, -np.inf), near, up, down):
            row = rows[rng.integers(len(rows))].copy()
            row[feature] = number
            found.append(row)
    return np.array(found[:20_000])


@pytest.mark.parametrize(("rows", "target"), [THREE, TWO, NUMBERS], ids=["three", "two", "numbers"])
@pytest.mark.parametrize("output", ["predict", "proba"])
def test_answers_are_equal_also_at_thresholds(library: str, rows: np.ndarray, target: np.ndarray, output: Any) -> None:
    if target.dtype.kind == "f" and output == "proba":
        pytest.skip("a regressor has no probabilities")
    estimator = fitted(library, rows, target)
    plain, fast = (model_step(estimator, output=output, engine=engine).fn for engine in (None, "lignum"))
    fast.method.bulk = None
    table = np.concatenate([rows, rows + 0.01, at_thresholds(estimator, rows)])
    assert np.array_equal(fast(table), plain(table))
    assert np.array_equal(pickle.loads(pickle.dumps(fast))(table), plain(table))
    assert "lignum" in fast.method.note
    assert "all numbers equal" in fast.method.note


def test_labels_are_those_of_the_step_that_is_not_compiled(library: str) -> None:
    labels = ["low", "middle", "high"]
    estimator = fitted(library, *THREE)
    plain, fast = (model_step(estimator, labels=labels, engine=engine).fn for engine in (None, "lignum"))
    assert fast(THREE[0]).tolist() == plain(THREE[0]).tolist()


def test_missing_values_go_to_the_booster(library: str) -> None:
    estimator = fitted(library, *TWO)
    rows = TWO[0].copy()
    rows[::3, 2] = np.nan
    plain, fast = (model_step(estimator, output="proba", engine=engine).fn for engine in (None, "lignum"))
    assert np.array_equal(fast(rows), plain(rows))


def test_early_stopping_is_kept() -> None:
    estimator = xgboost.XGBRegressor(n_estimators=200, early_stopping_rounds=2, n_jobs=1)
    estimator.fit(NUMBERS[0][:300], NUMBERS[1][:300], eval_set=[(NUMBERS[0][300:], NUMBERS[1][300:])], verbose=False)
    fn = model_step(estimator, engine="lignum").fn
    assert np.array_equal(fn(NUMBERS[0]), estimator.predict(NUMBERS[0]))


def test_what_lignum_can_t_compute_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match=r"engine='lignum' can't compile Ridge .*not of XGBoost, LightGBM or CatBoost"):
        model(Ridge().fit(*NUMBERS), engine="lignum")
    with pytest.raises(ModelError, match=r"missing=0"):
        model(xgboost.XGBRegressor(n_estimators=2, missing=0.0).fit(*NUMBERS), engine="lignum")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(import_module("sys").modules, "lignum", None)
    with pytest.raises(ModelError, match=r"engine='lignum' needs lignum: pip install 'stretto\[lignum\]'"):
        model(Ridge().fit(*NUMBERS), engine="lignum")
