"""Trees as ONNX in double precision, with the arithmetic of scikit-learn.

skl2onnx adds leaves in float32: forests of pure leaves then break their many ties in another way than scikit-learn
(measured: 7 of 21,114 rows at thresholds). These converters compare like scikit-learn, a number rounded to float32 with
a threshold in double, and add in double, tree after tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from stretto.onnx.graph_builder import DOMAIN, Writer

Converter: TypeAlias = Callable[[Any, Any, Any], None]

NEWER: Final = 5
"""The version of ai.onnx.ml with trees that give doubles, and one weight a leaf. Those of version 3 have a weight for
each class, and give the class by doubles; a graph has trees of one kind alone."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree by node: the child for numbers not above the threshold, the child for others, and the values of leaves."""

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    leaf: np.ndarray
    value: np.ndarray

    @classmethod
    def of_sklearn(cls, tree: Any) -> Tree:
        """Return scikit-learn's own tree."""
        left = tree.children_left
        return cls(left, tree.children_right, tree.feature, tree.threshold, left < 0, tree.value[:, 0, :])

    @classmethod
    def of_histogram(cls, nodes: np.ndarray) -> Tree:
        """Return a tree of histogram gradient boosting."""
        if nodes["is_categorical"].any():
            raise NotImplementedError("its trees split categories")
        leaf = nodes["is_leaf"].astype(bool)
        threshold, value = nodes["num_threshold"], nodes["value"][:, None]
        return cls(nodes["left"].astype(int), nodes["right"].astype(int), nodes["feature_idx"], threshold, leaf, value)


def converters() -> dict[type, Converter]:
    """Return the converters of scikit-learn's tree models by class, in the form that skl2onnx takes."""
    from sklearn import ensemble, tree

    classifiers = (
        tree.DecisionTreeClassifier,
        tree.ExtraTreeClassifier,
        ensemble.RandomForestClassifier,
        ensemble.ExtraTreesClassifier,
    )
    regressors = (
        tree.DecisionTreeRegressor,
        tree.ExtraTreeRegressor,
        ensemble.RandomForestRegressor,
        ensemble.ExtraTreesRegressor,
    )
    return {
        **dict.fromkeys(classifiers, _classifier),
        **dict.fromkeys(regressors, _regressor),
        ensemble.GradientBoostingClassifier: _boosting,
        ensemble.GradientBoostingRegressor: _boosting,
        ensemble.HistGradientBoostingClassifier: _histogram,
        ensemble.HistGradientBoostingRegressor: _histogram,
    }


def _members(model: Any) -> list[Any]:
    if getattr(model, "n_outputs_", 1) != 1:
        raise NotImplementedError("it has several outputs")
    return [each.tree_ for each in getattr(model, "estimators_", [model])]


def _classifier(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, container)
    trees = [Tree.of_sklearn(each) for each in _members(model)]
    attributes = _classes(model, trees)
    label, scores = write.nodes("TreeEnsembleClassifier", [_rounded(write, operator)], 2, DOMAIN, **attributes)
    write.output(label, operator.outputs[0])
    scores = write.node("Gather", scores, write.constant(np.arange(len(model.classes_))), axis=1)
    write.output(write.node("Div", write.double(scores), write.constant(float(len(trees)))), operator.outputs[1])


def _classes(model: Any, trees: Sequence[Tree]) -> dict[str, Any]:
    """Return the attributes of TreeEnsembleClassifier, whose leaves hold the probability of each class."""
    classes = len(model.classes_)
    sizes = [len(tree.left) for tree in trees]
    leaf = np.concatenate([tree.leaf for tree in trees])
    at = np.concatenate([np.arange(size) for size in sizes])
    home = np.repeat(np.arange(len(trees)), sizes)
    value = np.concatenate([tree.value for tree in trees])[leaf]
    return {
        "nodes_treeids": home.tolist(),
        "nodes_nodeids": at.tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_featureids": _inner(leaf, [tree.feature for tree in trees]).tolist(),
        "nodes_values_as_tensor": _tensor(_inner(leaf, [tree.threshold for tree in trees])),
        "nodes_truenodeids": _inner(leaf, [tree.left for tree in trees]).tolist(),
        "nodes_falsenodeids": _inner(leaf, [tree.right for tree in trees]).tolist(),
        "class_treeids": np.repeat(home[leaf], classes).tolist(),
        "class_nodeids": np.repeat(at[leaf], classes).tolist(),
        "class_ids": np.tile(np.arange(classes), int(leaf.sum())).tolist(),
        "class_weights_as_tensor": _tensor((value / value.sum(axis=1, keepdims=True)).ravel()),
        # With two classes ONNX Runtime reads the weights of one only: a third class without weights prevents that.
        "classlabels_int64s": [*_whole(model.classes_), -1],
        "post_transform": "NONE",
    }


def _inner(leaf: np.ndarray, parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.where(leaf, 0, np.concatenate(list(parts)))


def _whole(classes: np.ndarray) -> list[int]:
    if classes.dtype.kind not in "iu":
        raise NotImplementedError("its classes are not whole numbers")
    return classes.tolist()


def _regressor(scope: Any, operator: Any, container: Any) -> None:
    write = Writer(scope, container)
    trees = [Tree.of_sklearn(each) for each in _members(operator.raw_operator)]
    total = write.node("TreeEnsemble", _rounded(write, operator), domain=DOMAIN, **_sum([trees]))
    write.output(write.node("Div", total, write.constant(float(len(trees)))), operator.outputs[0])


def _boosting(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, container)
    if model.init is not None and not isinstance(model.init, str):
        raise NotImplementedError("its init is a model")
    begin = model._raw_predict_init(np.zeros((1, model.n_features_in_)))
    stages = [[Tree.of_sklearn(each.tree_) for each in column] for column in model.estimators_.T]
    total = write.node("TreeEnsemble", _rounded(write, operator), domain=DOMAIN, **_sum(stages))
    total = write.node("Mul", total, write.constant(float(model.learning_rate)))
    _finish(write, operator, write.node("Add", total, write.constant(begin)))


def _histogram(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, container)
    if not hasattr(model, "classes_") and type(model._loss.link).__name__ != "IdentityLink":
        raise NotImplementedError(f"loss={model.loss!r}")
    if getattr(model, "_preprocessor", None) is not None:
        raise NotImplementedError("it has categorical features")
    stages = [[Tree.of_histogram(each.nodes) for each in column] for column in zip(*model._predictors, strict=True)]
    total = write.node("TreeEnsemble", operator.inputs[0].full_name, domain=DOMAIN, **_sum(stages))
    begin = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(1, -1)
    _finish(write, operator, write.node("Add", total, write.constant(begin)))


def _finish(write: Writer, operator: Any, raw: str) -> None:
    """Write the outputs: numbers of a regressor; label and probabilities, by logistic or softmax, of a classifier."""
    model = operator.raw_operator
    if not hasattr(model, "classes_"):
        write.output(raw, operator.outputs[0])
        return
    if getattr(model, "loss", "log_loss") != "log_loss":
        raise NotImplementedError(f"loss={model.loss!r}")
    if len(model.classes_) == 2:
        proba = write.node("Sigmoid", raw)
        proba = write.node("Concat", write.node("Sub", write.constant(1.0), proba), proba, axis=1)
        # At a raw value of 0 scikit-learn's label is the second class; argmax of the probabilities would be the first.
        place = write.node("Cast", write.node("GreaterOrEqual", raw, write.constant(0.0)), to=write.int64)
        place = write.node("Reshape", place, write.constant(np.array([-1])))
    else:
        proba = write.node("Softmax", raw, axis=1)
        place = write.node("ArgMax", raw, axis=1, keepdims=0)
    write.label(place, operator)
    write.output(proba, operator.outputs[1])


def _rounded(write: Writer, operator: Any) -> str:
    return write.double(write.node("Cast", operator.inputs[0].full_name, to=write.float))


def _sum(columns: Sequence[Sequence[Tree]]) -> dict[str, Any]:
    """Return the attributes of a TreeEnsemble that adds trees of one number a leaf; a column of trees is an output."""
    trees = [(target, tree) for target, column in enumerate(columns) for tree in column]
    parts = [_placed(tree) for _, tree in trees]
    nodes = np.cumsum([0, *(len(part["feature"]) for part in parts)])
    leaves = np.cumsum([0, *(len(part["weight"]) for part in parts)])

    def child(side: str) -> list[int]:
        starts = zip(parts, nodes, leaves, strict=False)
        return np.concatenate(
            [part[side] + np.where(part[f"{side} leaf"], leaf, node) for part, node, leaf in starts]
        ).tolist()

    def whole(key: str) -> np.ndarray:
        return np.concatenate([part[key] for part in parts])

    return {
        "n_targets": len(columns),
        "aggregate_function": 1,
        "post_transform": 0,
        "tree_roots": nodes[:-1].tolist(),
        "nodes_featureids": whole("feature").tolist(),
        "nodes_splits": _tensor(whole("threshold")),
        "nodes_modes": _tensor(np.zeros(nodes[-1], dtype=np.uint8)),
        "nodes_truenodeids": child("left"),
        "nodes_trueleafs": whole("left leaf").astype(int).tolist(),
        "nodes_falsenodeids": child("right"),
        "nodes_falseleafs": whole("right leaf").astype(int).tolist(),
        "leaf_targetids": np.repeat([target for target, _ in trees], np.diff(leaves)).tolist(),
        "leaf_weights": _tensor(whole("weight")),
    }


def _placed(tree: Tree) -> dict[str, np.ndarray]:
    """Return a tree's inner nodes and leaves, counted separately; a tree of one leaf gets a node above it."""
    inner, leaf = np.flatnonzero(~tree.leaf), np.flatnonzero(tree.leaf)
    place = np.empty(len(tree.leaf), dtype=np.int64)
    place[inner], place[leaf] = np.arange(len(inner)), np.arange(len(leaf))
    if not len(inner):
        both = {"left": np.zeros(1, int), "right": np.zeros(1, int), "left leaf": np.ones(1), "right leaf": np.ones(1)}
        return {**both, "feature": np.zeros(1, int), "threshold": np.zeros(1), "weight": tree.value[leaf, 0]}
    return {
        "feature": tree.feature[inner],
        "threshold": tree.threshold[inner],
        "left": place[tree.left[inner]],
        "left leaf": tree.leaf[tree.left[inner]],
        "right": place[tree.right[inner]],
        "right leaf": tree.leaf[tree.right[inner]],
        "weight": tree.value[leaf, 0],
    }


def _tensor(values: np.ndarray) -> Any:
    from onnx import numpy_helper

    values = values if values.dtype == np.uint8 else np.asarray(values, dtype=np.float64)
    return numpy_helper.from_array(values)
