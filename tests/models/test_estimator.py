"""Every estimator of scikit-learn gives through Stretto what it gives alone, for one row and for many."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators, get_tags

from stretto import Client, model
from stretto.errors import ModelError

iris = load_iris()
CHOSEN = np.r_[0:10, 50:60, 100:110]
X, y = iris.data[CHOSEN], iris.target[CHOSEN]
TWO = (y > 0).astype(int)
SEVERAL = np.column_stack([y > 0, y > 1]).astype(int)
TEXTS = [f"{'good' if i % 3 else 'bad'} word {i % 5}" for i in range(30)]
DICTS = [{"kind": "ab"[i % 2], "size": float(i)} for i in range(30)]
CODES = (X * 2).astype(int)
SQUARE = X @ X.T

classifier, regressor, scaler = LogisticRegression(max_iter=500), LinearRegression(), StandardScaler()
named = [("one", clone(classifier)), ("two", RandomForestClassifier(3, random_state=0))]
numbers = [("one", clone(regressor)), ("two", LinearRegression(positive=True))]

GIVEN: dict[str, dict[str, Any]] = {
    "ColumnTransformer": {"transformers": [("scaled", scaler, [0, 2]), ("rest", "passthrough", [1])]},
    "FeatureUnion": {"transformer_list": [("scaled", scaler), ("again", StandardScaler(with_mean=False))]},
    "FixedThresholdClassifier": {"estimator": classifier},
    "FrozenEstimator": {"estimator": clone(classifier).fit(X, y)},
    "GridSearchCV": {"estimator": classifier, "param_grid": {"C": [0.1, 1.0]}, "cv": 2},
    "HalvingGridSearchCV": {"estimator": classifier, "param_grid": {"C": [0.1, 1.0]}, "cv": 2},
    "HalvingRandomSearchCV": {
        "estimator": classifier,
        "param_distributions": {"C": [0.1, 1.0]},
        "cv": 2,
        "random_state": 0,
    },
    "HistGradientBoostingClassifier": {"max_iter": 3, "min_samples_leaf": 5},
    "HistGradientBoostingRegressor": {"max_iter": 3, "min_samples_leaf": 5},
    "Isomap": {"n_neighbors": 20},
    "LocallyLinearEmbedding": {"n_neighbors": 10},
    "LocalOutlierFactor": {"novelty": True, "n_neighbors": 5},
    "Pipeline": {"steps": [("scale", scaler), ("ask", classifier)]},
    "RandomizedSearchCV": {"estimator": classifier, "param_distributions": {"C": [0.1]}, "n_iter": 1, "cv": 2},
    "SelfTrainingClassifier": {"estimator": classifier},
    "SparseCoder": {"dictionary": np.eye(4)},
    "StackingClassifier": {"estimators": named, "cv": 2},
    "StackingRegressor": {"estimators": numbers, "cv": 2},
    "TunedThresholdClassifierCV": {"estimator": classifier, "cv": 2},
    "VotingClassifier": {"estimators": named, "voting": "soft"},
    "VotingRegressor": {"estimators": numbers},
    "IterativeImputer": {"random_state": 0},
    "OrthogonalMatchingPursuitCV": {"cv": 2},
    "TSNE": {"perplexity": 5},
    "SequentialFeatureSelector": {"estimator": classifier, "n_features_to_select": 2, "cv": 2},
    "MultiOutputClassifier": {"estimator": classifier},
    "SelectKBest": {"k": 2},
    "QuantileTransformer": {"n_quantiles": 10},
    "KBinsDiscretizer": {"n_bins": 3, "quantile_method": "averaged_inverted_cdf"},
}
ROWS: dict[str, Any] = {
    "CategoricalNB": CODES,
    "CountVectorizer": TEXTS,
    "DictVectorizer": DICTS,
    "FeatureHasher": DICTS,
    "HashingVectorizer": TEXTS,
    "IsotonicRegression": X[:, 0],
    "KernelCenterer": SQUARE,
    "LabelBinarizer": y,
    "LabelEncoder": y,
    "MultiLabelBinarizer": [[i % 3, 3] for i in range(30)],
    "TfidfVectorizer": TEXTS,
    "SparseCoder": X,
}
TARGETS: dict[str, Any] = {
    "ClassifierChain": SEVERAL,
    "FixedThresholdClassifier": TWO,
    "MultiOutputClassifier": SEVERAL,
    "MultiOutputRegressor": X[:, :2],
    "MultiTaskElasticNet": X[:, :2],
    "MultiTaskElasticNetCV": X[:, :2],
    "MultiTaskLasso": X[:, :2],
    "MultiTaskLassoCV": X[:, :2],
    "RegressorChain": X[:, :2],
    "TunedThresholdClassifierCV": TWO,
    "CCA": X[:, :2],
    "PLSCanonical": X[:, :2],
    "PLSRegression": X[:, :2],
    "PLSSVD": X[:, :2],
}
NO_METHOD = "it has neither predict() nor transform(): it says nothing of rows it was not fitted on"
IMPOSSIBLE = {
    "AgglomerativeClustering": NO_METHOD,
    "DBSCAN": NO_METHOD,
    "HDBSCAN": NO_METHOD,
    "OPTICS": NO_METHOD,
    "SpectralClustering": NO_METHOD,
    "SpectralBiclustering": NO_METHOD,
    "SpectralCoclustering": NO_METHOD,
    "MDS": NO_METHOD,
    "ClassicalMDS": NO_METHOD,
    "SpectralEmbedding": NO_METHOD,
    "TSNE": NO_METHOD,
    "KernelDensity": "it has score_samples() alone",
    "EmpiricalCovariance": "it has score() alone",
    "GraphicalLasso": "it has score() alone",
    "GraphicalLassoCV": "it has score() alone",
    "LedoitWolf": "it has score() alone",
    "MinCovDet": "it has score() alone",
    "NearestNeighbors": "it has kneighbors() alone",
    "OAS": "it has score() alone",
    "ShrunkCovariance": "it has score() alone",
}
MANY_A_ROW = {"PatchExtractor": "its rows are images, of which it gives several patches each: a row does not stay one"}
METHODS = {"predict": "predict", "proba": "predict_proba", "decision": "decision_function", "transform": "transform"}

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401

    ALL = dict(all_estimators())


def fitted(name: str) -> Any:
    kind = ALL[name]
    accepted = inspect.signature(kind).parameters
    given = dict(GIVEN.get(name, {}))
    if "estimator" in accepted and name not in GIVEN:
        wants_numbers = "Regressor" in name or name in ("RANSACRegressor",)
        given["estimator"] = clone(regressor if wants_numbers else classifier)
    small = {"random_state": 0, "n_estimators": 3, "max_iter": 300, "cv": 2, "n_components": 2}
    given |= {key: value for key, value in small.items() if key in accepted and key not in given and name not in GIVEN}
    rows = ROWS.get(name, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = kind(**given)
        if name in ("LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer"):
            return estimator.fit(rows)
        if get_tags(estimator).estimator_type == "regressor" and name not in TARGETS:
            return estimator.fit(rows, X[:, 2] + 0.1)
        return estimator.fit(rows, TARGETS.get(name, y))


def alone(estimator: Any, method: str, rows: Any) -> list[Any]:
    """Return what the estimator answers, an entry a row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = getattr(estimator, method)(rows)
    if method == "transform" and answers.ndim == 1 and len(answers) != len(rows):
        answers = answers.reshape(len(rows), -1)  # of one row, SparsePCA gives the components alone
    if isinstance(answers, list):  # of a model with several outputs: the probabilities of each
        return [[each[i].tolist() for each in answers] for i in range(len(answers[0]))]
    return list(answers.toarray() if hasattr(answers, "toarray") else answers)


def first(rows: Any) -> Any:
    return rows[:1]


def same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        if b.dtype.kind == "f":
            np.testing.assert_allclose(a.astype(float), b, rtol=1e-9, atol=1e-12)
        else:
            assert (a == b).all()


@pytest.mark.parametrize("name", sorted(set(ALL) - set(IMPOSSIBLE) - set(MANY_A_ROW)))
async def test_an_estimator_gives_what_it_gives_alone(name: str) -> None:
    estimator, rows = fitted(name), ROWS.get(name, X)
    outputs = [output for output, method in METHODS.items() if hasattr(estimator, method)]
    assert outputs
    for output in outputs:
        async with Client(model(estimator, output=output)) as client:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=RuntimeWarning)
                many = await client.predict_many(rows)
                one = await client.predict(next(iter(rows)))
                none = await client.predict_many([])
            same(many, alone(estimator, METHODS[output], rows))
            same([one], alone(estimator, METHODS[output], first(rows)))
            assert none == []


@pytest.mark.parametrize("name", sorted(IMPOSSIBLE))
def test_what_has_no_answer_for_a_new_row_is_refused(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = ALL[name](**GIVEN.get(name, {})).fit(X)
    with pytest.raises(ModelError, match=r"is no model: it has neither predict\(\) nor transform\(\)"):
        model(estimator)


def test_the_table_of_the_impossible_names_estimators_that_exist() -> None:
    assert IMPOSSIBLE.keys() | MANY_A_ROW.keys() <= ALL.keys()
