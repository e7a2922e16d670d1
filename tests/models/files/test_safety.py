"""Arrays that compiled code trusts: whoever writes a file can't lead it outside them, and every fitted model passes."""

import warnings

import numpy as np
import pytest
import skops.io
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, RadiusNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC, SVR, NuSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.tree._tree import Tree

from stretto import load_model, save_model
from stretto.errors import ModelError
from stretto.models.files.safety import check_arrays

X, y = load_iris(return_X_y=True)
TEXTS = ["a good film", "a bad film", "good", "bad"] * 5
HARM = "damaged, or was made to do harm"

ORDINARY = [
    DecisionTreeClassifier(),
    DecisionTreeRegressor(max_leaf_nodes=8, criterion="absolute_error"),
    RandomForestClassifier(5, ccp_alpha=0.01),
    RandomForestRegressor(5),
    ExtraTreesClassifier(5),
    AdaBoostClassifier(n_estimators=3),
    BaggingClassifier(max_features=0.5),
    IsolationForest(n_estimators=5, max_features=0.5),
    RandomTreesEmbedding(5),
    GradientBoostingClassifier(n_estimators=3),
    GradientBoostingClassifier(n_estimators=3, init="zero"),
    GradientBoostingClassifier(n_estimators=3, init=LogisticRegression(max_iter=500)),
    GradientBoostingRegressor(n_estimators=3),
    HistGradientBoostingClassifier(max_iter=3),
    KNeighborsClassifier(algorithm="kd_tree", leaf_size=3),
    KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"),
    KNeighborsClassifier(algorithm="brute"),
    KNeighborsRegressor(),
    RadiusNeighborsClassifier(radius=3),
    KMeans(3, n_init=1),
    SVC(),
    SVC(probability=True, kernel="linear"),
    NuSVC(nu=0.2),
    SVR(),
    OneClassSVM(),
    MLPClassifier(3, max_iter=3),
    make_pipeline(SimpleImputer(), SelectKBest(k=2), OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
]


@pytest.fixture(autouse=True)
def _without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few iterations, and of probability=True
        yield


@pytest.mark.parametrize("estimator", ORDINARY, ids=lambda each: f"{type(each).__name__}")
def test_what_scikit_learn_fits_needs_no_trust_and_answers_the_same(tmp_path, estimator):
    estimator.fit(X, y)
    read = load_model(save_model(estimator, tmp_path / "m.skops")).estimator
    method = "predict" if hasattr(estimator, "predict") else "transform"
    expected, answers = (getattr(each, method)(X) for each in (estimator, read))
    assert np.array_equal(*(each.toarray() if sparse.issparse(each) else each for each in (expected, answers)))


@pytest.mark.parametrize(("kernel", "of_sparse"), [("precomputed", False), ("rbf", False), ("rbf", True)])
def test_support_vectors_of_kernels_and_sparse_rows_pass(kernel, of_sparse):
    rows = X @ X.T if kernel == "precomputed" else X
    check_arrays(SVC(kernel=kernel).fit(sparse.csr_array(rows) if of_sparse else rows, y))


def test_several_outputs_and_texts_pass():
    several = np.stack([y, y > 1], axis=1)
    check_arrays(KNeighborsClassifier().fit(X, several))
    check_arrays(RandomForestClassifier(3).fit(X, several))
    check_arrays(make_pipeline(TfidfVectorizer(), SVC()).fit(TEXTS, [0, 1] * 10))
    categories = np.array([["a"], ["b"], ["c"]] * 20)
    check_arrays(OneHotEncoder(drop="first", min_frequency=2).fit(categories))
    check_arrays(
        HistGradientBoostingClassifier(categorical_features=[0], max_iter=2).fit(
            np.arange(60)[:, None] % 3, [0, 1] * 30
        )
    )


# What could be in a file


def crafted_tree(change, estimator=None):
    """Return a fitted tree with other nodes."""
    fitted = (estimator or DecisionTreeClassifier(random_state=0)).fit(X, y)
    state = fitted.tree_.__getstate__()
    state = {**state, "nodes": state["nodes"].copy()}
    change(state)
    args = fitted.tree_.__reduce__()[1]
    fitted.tree_ = Tree(*args)
    fitted.tree_.__setstate__(state)
    return fitted


def node(field, value, at=0):
    def change(state):
        state["nodes"][field][at] = value

    return change


def state(**changed):
    return lambda found: found.update(changed)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (node("left_child", 10**6), "child beyond its"),
        (node("left_child", -7), "child beyond its"),
        (node("right_child", -1), "child beyond its"),
        (node("left_child", 0), "child beyond its"),
        (node("right_child", 2, at=2), "below itself"),
        (node("right_child", 1), "two parents"),
        (node("feature", 4), "a feature beyond its 4"),
        (node("feature", -2), "a feature beyond its 4"),
        (node("feature", 2**40), "a feature beyond its 4"),
        (state(max_depth=0), "has a depth of 0, and has"),
        (state(node_count=3), "child beyond its|two parents"),
        (state(node_count=0), "no nodes"),
    ],
)
def test_a_tree_that_leads_outside_its_arrays_is_refused(tmp_path, change, says):
    crafted = crafted_tree(change)
    path = tmp_path / "m.skops"
    skops.io.dump(crafted, path)
    with pytest.raises(ModelError, match=rf"{path}: .*{HARM}: a Tree in it .*({says})"):
        load_model(path)
    skops.io.dump(make_pipeline(BaggingClassifier().fit(X, y).set_params(estimator=crafted)), path)
    with pytest.raises(ModelError, match=HARM):
        load_model(path)


def test_a_count_of_nodes_beyond_those_there_is_that_of_those_there():
    check_arrays(crafted_tree(state(node_count=10**9)))


def test_a_tree_that_takes_more_features_than_its_owner_is_refused(tmp_path):
    for crafted in (DecisionTreeClassifier().fit(X, y), DecisionTreeRegressor().fit(X, y)):
        crafted.n_features_in_ = 2
        with pytest.raises(ModelError, match="takes 2 features, and its tree 4"):
            check_arrays(crafted)
        del crafted.n_features_in_
        with pytest.raises(ModelError, match="takes None features"):
            check_arrays(crafted)


def boosted(**changed):
    fitted = GradientBoostingClassifier(n_estimators=2).fit(X, y)
    vars(fitted).update(changed)
    return fitted


def test_boosting_with_other_than_its_trees_is_refused():
    good = boosted()
    for crafted in (
        boosted(n_features_in_=2),
        boosted(estimators_=good.estimators_[:, :1].repeat(9, axis=1)),
        boosted(estimators_=np.array([[None] * 3])),
        boosted(init_=GradientBoostingClassifier(n_estimators=1).fit(X, y > 0)),
    ):
        with pytest.raises(ModelError, match=HARM):
            check_arrays(crafted)
    headless = DecisionTreeRegressor().fit(X, y)
    headless.tree_ = None
    with pytest.raises(ModelError, match="in place of a tree"):
        check_arrays(boosted(estimators_=np.array([[headless] * 3])))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("left", 10**6, "child beyond its"),
        ("right", 0, "child beyond its"),
        ("feature_idx", 4, "splits a feature beyond"),
        ("feature_idx", -1, "splits a feature beyond"),
        ("is_categorical", 1, "a number for a category|a set of categories that it lacks"),
    ],
)
def test_a_histogram_tree_that_leads_outside_its_arrays_is_refused(tmp_path, field, value, says):
    crafted = HistGradientBoostingClassifier(max_iter=2).fit(X, y)
    crafted._predictors[1][0].nodes[field][0] = value
    skops.io.dump(crafted, tmp_path / "m.skops")
    with pytest.raises(ModelError, match=says):
        load_model(tmp_path / "m.skops")


def test_a_categorical_split_of_a_number_is_refused():
    crafted = HistGradientBoostingClassifier(max_iter=2).fit(X, y)
    tree = crafted._predictors[0][0]
    tree.raw_left_cat_bitsets = np.zeros((1, 8), dtype=np.uint32)
    tree.nodes["is_categorical"][0] = 1
    with pytest.raises(ModelError, match="a number for a category"):
        check_arrays(crafted)


@pytest.mark.parametrize(("at", "value"), [(1, 10**6), (1, -1)])
def test_neighbours_outside_the_rows_are_refused(tmp_path, at, value):
    crafted = KNeighborsClassifier(algorithm="kd_tree").fit(X, y)
    parts = list(crafted._tree.__getstate__())
    parts[at] = parts[at].copy()
    parts[at][0] = value
    crafted._tree.__setstate__(tuple(parts))
    skops.io.dump(crafted, tmp_path / "m.skops")
    with pytest.raises(ModelError, match="KDTree in it mixes up its rows"):
        load_model(tmp_path / "m.skops")


@pytest.mark.parametrize("field", ["idx_start", "idx_end", "is_leaf"])
@pytest.mark.parametrize("value", [0, 10**6, -1])
def test_nodes_of_neighbours_outside_the_rows_are_refused(field, value):
    crafted = KNeighborsClassifier(algorithm="ball_tree", leaf_size=5).fit(X, y)
    parts = list(crafted._tree.__getstate__())
    parts[2] = parts[2].copy()
    at = -1 if field == "is_leaf" else 1
    if parts[2][field][at] == value or (field == "is_leaf" and value):
        return
    parts[2][field][at] = value
    crafted._tree.__setstate__(tuple(parts))
    with pytest.raises(ModelError, match=HARM):
        check_arrays(crafted)


@pytest.mark.parametrize(
    ("estimator", "changed"),
    [
        (SVC(), {"_n_support": np.array([10**6, 1, 1], dtype=np.int32)}),
        (SVC(), {"_n_support": np.array([-1, 40, 5], dtype=np.int32)}),
        (SVC(), {"_dual_coef_": np.ones((1, 3))}),
        (SVC(), {"_intercept_": np.ones(1)}),
        (SVC(), {"support_": np.arange(3, dtype=np.int32)}),
        (SVC(), {"n_features_in_": 40}),
        (SVC(), {"_probA": np.ones(1)}),
        (SVR(), {"_n_support": np.array([1, 1], dtype=np.int32)}),
        (SVR(), {"_n_support": SVR().fit(X, y)._n_support[:1]}),
        (SVR(), {"_dual_coef_": np.ones((1, 3))}),
        (KNeighborsClassifier(algorithm="brute"), {"n_features_in_": 40}),
        (KNeighborsClassifier(algorithm="brute"), {"_y": np.full(150, 7)}),
        (KNeighborsClassifier(algorithm="brute"), {"n_jobs": 2**30}),
        (KMeans(3, n_init=1), {"cluster_centers_": np.ones((3, 2))}),
        (KMeans(3, n_init=1), {"_n_threads": 2**20}),
        (OneHotEncoder(), {"_n_features_outs": [1, 1, 1, 1]}),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(estimator, changed):
    vars(estimator.fit(X, y)).update(changed)
    with pytest.raises(ModelError, match=HARM):
        check_arrays(estimator)


def test_words_outside_the_vocabulary_are_refused():
    crafted = CountVectorizer().fit(TEXTS)
    crafted.vocabulary_["film"] = 10**6
    with pytest.raises(ModelError, match="outside its vocabulary"):
        check_arrays(crafted)


@pytest.mark.parametrize("form", ["csr_array", "csc_array", "coo_array"])
def test_sparse_values_outside_their_array_are_refused(form):
    crafted = getattr(sparse, form)(X)
    getattr(crafted, "col" if form == "coo_array" else "indices")[0] = 10**6
    neighbors = KNeighborsClassifier(algorithm="brute").fit(sparse.csr_array(X), y)
    neighbors._fit_X = crafted
    with pytest.raises(ModelError, match=HARM):
        check_arrays(neighbors)
