"""Arrays by which compiled code finds its way, checked before they are used.

scikit-learn's trees, support vector machines and neighbours are compiled code that does not check its indices: one
that points outside its array reads foreign memory, or ends the process. Whoever fits a model gets good ones, and a file
may hold any. What is checked here can't crash; that its answers are right is another matter (see `probes`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, TypeAlias, cast

import numpy as np

from stretto.errors import ModelError
from stretto.models.files.contents import visit

Check: TypeAlias = Callable[[Any], None]

_NEIGHBORS: Final = "sklearn.neighbors._"
_METRICS: Final = ("EuclideanDistance", "ManhattanDistance", "ChebyshevDistance")
_KERNELS: Final = (
    "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern PairwiseKernel Product RBF "
    "RationalQuadratic Sum WhiteKernel"
)

CHECKED: Final[Mapping[str, str]] = {
    "sklearn.tree._tree.Tree": "TreeNode",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": "ObjectNode",
    **{f"{_NEIGHBORS}{module}.{kind}{bits}": "ObjectNode"
       for module, kind in (("kd_tree", "KDTree"), ("ball_tree", "BallTree")) for bits in ("", "32", "64")},
    **{f"sklearn.metrics._dist_metrics.{name}{bits}": "ObjectNode" for name in _METRICS for bits in ("32", "64")},
    **{f"scipy.sparse._{form}.{form}_{kind}": "SparseMatrixNode"
       for form in ("csr", "csc", "coo") for kind in ("matrix", "array")},
}  # fmt: skip
"""Types that a ``.skops`` file may hold without being named, since `check_arrays` looks at what is in them; and how
skops writes each. In another way, a file could have them called with arguments of its own."""

KNOWN: Final[Mapping[str, str]] = {
    "numpy.dtype": "DTypeNode",
    "numpy.mean": "FunctionNode",
    "sklearn._loss.loss.HalfTweedieLossIdentity": "ObjectNode",
    "sklearn.calibration._CalibratedClassifier": "ObjectNode",
    "sklearn.calibration._SigmoidCalibration": "ObjectNode",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace": "ObjectNode",
    "sklearn.multiclass._ConstantPredictor": "ObjectNode",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer": "ObjectNode",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer": "ObjectNode",
    **{f"sklearn.gaussian_process.kernels.{name}": "ObjectNode" for name in _KERNELS.split()},
    **{f"sklearn.feature_selection._univariate_selection.{name}": "FunctionNode"
       for name in ("chi2", "f_classif", "f_regression")},
    **{f"sklearn.feature_selection._mutual_info.mutual_info_{name}": "FunctionNode"
       for name in ("classif", "regression")},
}  # fmt: skip
"""Types and functions of numpy and scikit-learn that only compute, in Python, and that skops does not list."""

MOST_THREADS: Final = 4096
DEEPEST_BITSET: Final = 8


def check_arrays(estimator: Any) -> None:
    """Check the arrays in everything that an estimator holds.

    Raises:
        ModelError: one would lead compiled code outside its arrays, or what it holds can't be looked at.
    """
    found: dict[tuple[int, Check], Any] = {}
    known: dict[type, list[Check]] = {}

    def look(obj: Any) -> None:
        kind: type = type(obj)
        if kind not in known:
            known[kind] = [check for name, check in _CHECKS.items() if issubclass(kind, _loaded(name) or ())]
        for check in known[kind]:
            found[id(obj), check] = obj
        _threads(obj)

    # First what is walked into, then what its holders expect of it.
    try:
        visit(estimator, look)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"what it holds can't be checked ({type(error).__name__}: {error})") from error
    for (_, check), obj in found.items():
        try:
            check(obj)
        except ModelError:
            raise
        except Exception as error:
            _refuse(obj, f"is not as scikit-learn makes it ({type(error).__name__}: {error})", error)


def _loaded(name: str) -> type | None:
    # Where a module is not imported, nothing is of its types.
    module, _, kind = name.rpartition(".")
    return getattr(sys.modules.get(module), kind, None)


def _refuse(obj: Any, why: str, error: Exception | None = None) -> NoReturn:
    raise ModelError(f"it is damaged, or was made to do harm: a {type(obj).__name__} in it {why}") from error


def _expect(holds: bool | np.bool, obj: Any, why: str) -> None:
    if not holds:
        _refuse(obj, why)


def _inside(values: Any, low: int, high: int) -> bool:
    """Return whether all values are in [low, high)."""
    values = np.asarray(values)
    return not values.size or bool(values.min() >= low and values.max() < high)


def _threads(obj: Any) -> None:
    attributes: Mapping[str, Any] = getattr(obj, "__dict__", {})
    for name in ("n_jobs", "_n_threads"):
        count = attributes.get(name)
        if isinstance(count, int) and not -MOST_THREADS <= count <= MOST_THREADS:
            _refuse(obj, f"asks for {name}={count}")


def _tree(tree: Any) -> None:
    count = int(tree.node_count)
    _expect(count > 0, tree, "has no nodes")
    _expect(tree.n_outputs > 0 and tree.max_n_classes > 0, tree, "has no values")
    left, right = tree.children_left, tree.children_right
    inner = np.flatnonzero(left != -1)
    _expect(_inside(tree.feature[inner], 0, tree.n_features), tree, f"splits a feature beyond its {tree.n_features}")
    depth = _depth(tree, inner, left[inner], right[inner], count)
    _expect(depth <= tree.max_depth, tree, f"says that it has a depth of {tree.max_depth}, and has {depth}")


def _depth(tree: Any, inner: np.ndarray, left: np.ndarray, right: np.ndarray, count: int) -> int:
    """Return the depth of a tree of nodes, each of which has one parent, with a lower index.

    A node that is its own ancestor, or has two parents, is no tree, and going down it need not end.
    """
    inner = inner.astype(np.int64)
    children = np.concatenate([left, right]).astype(np.int64)
    _expect(_inside(children, 1, count), tree, f"has a child beyond its {count} nodes")
    parents = np.concatenate([inner, inner])
    _expect(bool((children > parents).all()), tree, "has a node that is below itself")
    _expect(len(children) == count - 1 and bool((np.bincount(children) <= 1).all()), tree, "has nodes of two parents")
    parent = np.zeros(count, dtype=np.int64)
    parent[children] = parents
    depth = (np.arange(count) > 0).astype(np.int64)
    while parent.any():  # twice as far up each time
        depth += depth[parent]
        parent = parent[parent]
    return int(depth.max())


def _owner_of_tree(estimator: Any) -> None:
    tree_type = cast("type", _loaded("sklearn.tree._tree.Tree"))
    tree = vars(estimator).get("tree_")
    if tree is None:
        return
    _expect(isinstance(tree, tree_type), estimator, "has something else in place of its tree")
    count = vars(estimator).get("n_features_in_")
    _expect(count == tree.n_features, estimator, f"takes {count} features, and its tree {tree.n_features}")


def _gradient_boosting(estimator: Any) -> None:
    stages = vars(estimator).get("estimators_")
    if stages is None:
        return
    tree_type = cast("type", _loaded("sklearn.tree._tree.Tree"))
    count = vars(estimator).get("n_features_in_")
    _expect(isinstance(stages, np.ndarray) and stages.ndim == 2 and stages.size > 0, estimator, "has no trees")
    for each in stages.ravel().tolist():
        tree = vars(each).get("tree_")
        _expect(isinstance(tree, tree_type), estimator, "has something else in place of a tree")
        _expect(tree.n_features == count, estimator, f"takes {count} features, and a tree of it {tree.n_features}")
    start = estimator._raw_predict_init(np.zeros((1, int(cast("int", count))), dtype=np.float32))
    _expect(start.shape == (1, stages.shape[1]), estimator, "has other than a tree a class")


def _histogram_predictor(predictor: Any) -> None:
    nodes = predictor.nodes
    _expect(isinstance(nodes, np.ndarray) and nodes.ndim == 1 and len(nodes) > 0, predictor, "has no nodes")
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    _depth(predictor, inner, nodes["left"][inner], nodes["right"][inner], len(nodes))
    bitsets = np.asarray(predictor.raw_left_cat_bitsets)
    _expect(
        bitsets.ndim == 2 and bitsets.shape[1] == DEEPEST_BITSET, predictor, "has other sets than of 256 categories"
    )
    chosen = nodes[inner][nodes["is_categorical"][inner] != 0]
    _expect(_inside(chosen["bitset_idx"], 0, len(bitsets)), predictor, "names a set of categories that it lacks")


def _histogram_boosting(estimator: Any) -> None:
    stages = vars(estimator).get("_predictors")
    if stages is None:
        return
    kind = cast("type", _loaded("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"))
    predictors: list[Any] = [each for stage in stages for each in stage]
    _expect(all(type(each) is kind for each in predictors), estimator, "has something else in place of a tree")
    bins = estimator._bin_mapper
    categorical = np.asarray(bins.is_categorical_)
    count = int(estimator.n_features_in_)
    _expect(categorical.shape == (count,), estimator, f"takes {count} features, and its bins {categorical.shape}")
    for at in np.flatnonzero(categorical).tolist():
        values = np.asarray(bins.bin_thresholds_[at])
        _expect(bool(np.isfinite(values).all()) and _inside(values, 0, 256), estimator, "has a category beyond 255")
    for each in predictors:
        nodes = each.nodes[each.nodes["is_leaf"] == 0]
        features = nodes["feature_idx"]
        _expect(_inside(features, 0, count), estimator, f"splits a feature beyond its {count}")
        chosen = features[nodes["is_categorical"] != 0]
        _expect(bool((categorical[chosen] != 0).all()), estimator, "takes a number for a category")
    _preprocessor(estimator, vars(estimator).get("_preprocessor"), count)


def _preprocessor(estimator: Any, columns: Any, count: int) -> None:
    if columns is None:
        return
    _expect(type(columns).__name__ == "ColumnTransformer", estimator, "prepares its rows anew")
    made = 0
    transformers: list[tuple[str, Any, Any]] = columns.transformers_
    for _, part, chosen in transformers:
        mask = np.asarray(chosen)
        if not mask.any() and isinstance(part, str):
            continue
        _expect(mask.dtype == bool and mask.shape == (count,), estimator, "prepares other columns than its own")
        kind, width = type(part).__name__, int(mask.sum())
        good = kind == "FunctionTransformer" or (kind == "OrdinalEncoder" and len(part.categories_) == width)
        _expect(good, estimator, "prepares its rows anew")
        made += width
    _expect(made == count, estimator, "prepares other columns than its own")


def _neighbor_tree(tree: Any) -> None:
    state = tree.__getstate__()
    data, order, nodes, bounds = (np.asarray(each) for each in state[:4])
    levels, count, metric, weights = state[5], state[6], state[11], state[12]
    name = type(metric).__name__
    _expect(name.rstrip("3264") in _METRICS or _named_by_user(metric), tree, f"measures by {name}")
    rows = len(data)
    _expect(data.ndim == 2 and rows > 0 and 0 < levels < 64 and count == 2**levels - 1, tree, "has no data")
    _expect(nodes.shape == (count,) and bounds.shape[1:] == (count, data.shape[1]), tree, "has nodes without bounds")
    _expect(len(bounds) == (2 if "KD" in type(tree).__name__ else 1), tree, "has nodes without bounds")
    _expect(order.shape == (rows,) and np.array_equal(np.sort(order), np.arange(rows)), tree, "mixes up its rows")
    start, end, leaf = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"]
    _expect(bool(start[0] == 0 and end[0] == rows), tree, "does not hold all of its rows")
    _expect(
        bool((start <= end).all()) and _inside(start, 0, rows + 1) and _inside(end, 0, rows + 1), tree, "is no tree"
    )
    inner = np.flatnonzero(leaf == 0)
    left, right = 2 * inner + 1, 2 * inner + 2
    _expect(_inside(right, 0, count), tree, f"has a child beyond its {count} nodes")
    parts = np.array_equal(start[left], start[inner]) and np.array_equal(end[left], start[right])
    _expect(parts and np.array_equal(end[right], end[inner]), tree, "has nodes that overlap")
    _expect(weights is None or np.shape(weights) == (rows,), tree, "has other than a weight a row")


def _named_by_user(metric: Any) -> bool:
    # A type that is not in CHECKED was named in trusted=[...]: it is what its user says.
    return f"{type(metric).__module__}.{type(metric).__name__}" not in CHECKED


def _neighbors(estimator: Any) -> None:
    fitted = vars(estimator)
    rows, count = fitted.get("_fit_X"), fitted.get("n_features_in_")
    if rows is None:
        return
    _expect(len(rows.shape) == 2 and rows.shape[1] == count, estimator, f"takes {count} features, and has others")
    classes, targets = fitted.get("classes_"), fitted.get("_y")
    if classes is None or targets is None:
        return
    targets = np.asarray(targets)
    _expect(targets.shape[:1] == (rows.shape[0],), estimator, "has other than a target a row")
    several = isinstance(classes, list | tuple)
    per_output = cast("list[Any]", list(cast("Iterable[Any]", classes)) if several else [classes])
    columns = targets.reshape(len(targets), -1).T
    good = len(columns) == len(per_output) and targets.dtype.kind in "iu"
    _expect(
        good and all(_inside(own, 0, len(names)) for own, names in zip(columns, per_output, strict=True)),
        estimator,
        "has a class that it does not know",
    )


def _centers(estimator: Any) -> None:
    centers = vars(estimator).get("cluster_centers_")
    if centers is not None:
        count = vars(estimator).get("n_features_in_")
        _expect(np.ndim(centers) == 2 and centers.shape[1] == count, estimator, f"takes {count} features, not its own")
        _expect(vars(estimator).get("_n_threads", 1) > 0, estimator, "has no thread")


def _libsvm(estimator: Any) -> None:
    fitted = vars(estimator)
    vectors = fitted.get("support_vectors_")
    if vectors is None:
        return
    coefficients, intercept = fitted["_dual_coef_"], np.asarray(fitted["_intercept_"])
    counts, support = np.asarray(fitted["_n_support"]), np.asarray(fitted["support_"])
    classifier = fitted.get("classes_") is not None
    total = vectors.shape[0] if vectors.size or fitted["_sparse"] else len(support)
    classes = len(counts) if classifier else 2
    pairs = classes * (classes - 1) // 2
    _expect(counts.ndim == 1 and _inside(counts, 0, total + 1), estimator, "counts its support vectors wrongly")
    known = len(fitted["classes_"]) if classifier else 2  # of a regressor, libsvm counts twice
    _expect(len(counts) == known, estimator, "counts the vectors of other classes")
    _expect(int(counts[: classes if classifier else 1].sum()) == total == len(support), estimator, "lacks vectors")
    _expect(coefficients.shape == (classes - 1, total), estimator, "has other than a coefficient a vector")
    _expect(intercept.shape == (pairs,), estimator, "has other than an intercept a pair of classes")
    kernel = fitted.get("kernel")
    if vectors.size and kernel != "precomputed" and not callable(kernel):
        count = fitted.get("n_features_in_")
        _expect(vectors.ndim == 2 and vectors.shape[1] == count, estimator, f"takes {count} features, not its own")
    if kernel == "precomputed" or callable(kernel):
        _expect(_inside(support, 0, int(fitted["shape_fit_"][0])), estimator, "names a row that it was not fitted on")
    for name in ("_probA", "_probB"):
        _expect(len(fitted[name]) in (0, pairs), estimator, "has other than a probability a pair of classes")
    _expect(len(fitted["_probA"]) == len(fitted["_probB"]), estimator, "has half of its probabilities")
    _expect(bool(fitted["_sparse"]) == (type(vectors) is not np.ndarray), estimator, "is sparse and is not")


def _one_hot(encoder: Any) -> None:
    counts = vars(encoder).get("_n_features_outs")
    if counts is not None:
        _expect(counts == encoder._compute_n_features_outs(), encoder, "makes other than a column a category")


def _vocabulary(vectorizer: Any) -> None:
    words = vars(vectorizer).get("vocabulary_")
    if words is None:
        return
    places = list(cast("Mapping[Any, Any]", words).values())
    good = all(isinstance(each, int | np.integer) for each in places) and _inside(places, 0, len(places))
    _expect(good, vectorizer, "puts a word outside its vocabulary")


def _sparse(matrix: Any) -> None:
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)
    elif hasattr(matrix, "row"):
        rows, columns = matrix.shape
        _expect(len(matrix.row) == len(matrix.col) == len(matrix.data), matrix, "has other than a place a value")
        _expect(_inside(matrix.row, 0, rows) and _inside(matrix.col, 0, columns), matrix, "has a value outside itself")


_CHECKS: Final[Mapping[str, Check]] = {
    "sklearn.tree._tree.Tree": _tree,
    "sklearn.tree._classes.BaseDecisionTree": _owner_of_tree,
    "sklearn.ensemble._gb.BaseGradientBoosting": _gradient_boosting,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": _histogram_predictor,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.BaseHistGradientBoosting": _histogram_boosting,
    "sklearn.neighbors._kd_tree.BinaryTree64": _neighbor_tree,
    "sklearn.neighbors._kd_tree.BinaryTree32": _neighbor_tree,
    "sklearn.neighbors._ball_tree.BinaryTree64": _neighbor_tree,
    "sklearn.neighbors._ball_tree.BinaryTree32": _neighbor_tree,
    "sklearn.neighbors._base.NeighborsBase": _neighbors,
    "sklearn.cluster._kmeans._BaseKMeans": _centers,
    "sklearn.svm._base.BaseLibSVM": _libsvm,
    "sklearn.preprocessing._encoders.OneHotEncoder": _one_hot,
    "sklearn.feature_extraction.text.CountVectorizer": _vocabulary,
    "sklearn.feature_extraction._dict_vectorizer.DictVectorizer": _vocabulary,
    "scipy.sparse._base._spbase": _sparse,
}
"""What is checked of the objects of a class, and of those derived from it."""
