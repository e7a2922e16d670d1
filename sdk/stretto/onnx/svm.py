"""Support vector machines and linear classifiers as ONNX in double precision.

ONNX Runtime's own operator works in float32, whose rounding can change a class. These converters are a few products of
matrices, which also take a quarter of its time for many rows.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from stretto.onnx.graph_builder import Writer


def converters() -> dict[type, Any]:
    """Return the converters of these models by class, in the form that skl2onnx takes."""
    from sklearn import linear_model, svm

    linear = dict.fromkeys((svm.LinearSVC, linear_model.RidgeClassifier, linear_model.RidgeClassifierCV), _linear)
    return {svm.SVC: _classifier, svm.NuSVC: _classifier, svm.SVR: _regressor, svm.NuSVR: _regressor, **linear}


def _classifier(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, container)
    if model.break_ties or getattr(model, "probability", False) is True:
        raise NotImplementedError("probability=True or break_ties=True")
    decision = _decision(write, operator, _weights(model), model._intercept_)
    # Each pair of classes has a vote; of classes with equal votes libsvm takes the first.
    pairs = list(combinations(range(len(model.classes_)), 2))
    won = np.zeros((len(pairs), len(model.classes_)))
    for at, (first, second) in enumerate(pairs):
        won[at, first], won[at, second] = 1.0, -1.0
    second = -np.minimum(won, 0.0).sum(axis=0, keepdims=True)
    first = write.double(write.node("Greater", decision, write.constant(0.0)))
    votes = write.node("Add", write.node("MatMul", first, write.constant(won)), write.constant(second))
    place = write.node("ArgMax", votes, axis=1, keepdims=0)
    write.label(place, operator)
    write.output(decision, operator.outputs[1])


def _linear(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, container)
    weights, intercept = np.atleast_2d(model.coef_), np.reshape(model.intercept_, (1, -1))
    products = write.node("MatMul", operator.inputs[0].full_name, write.constant(weights.T))
    decision = write.node("Add", products, write.constant(intercept + np.zeros((1, len(weights)))))
    if len(weights) == 1:
        decision = write.node("Pad", decision, write.constant(np.array([0, 1, 0, 0])))
    write.label(write.node("ArgMax", decision, axis=1, keepdims=0), operator)
    write.output(decision, operator.outputs[1])


def _regressor(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    write = Writer(scope, container)
    write.output(_decision(write, operator, _dense(model.dual_coef_).T, model.intercept_), operator.outputs[0])


def _weights(model: Any) -> np.ndarray:
    """Return the weight of each support vector in the decision between each two classes."""
    dual = _dense(model._dual_coef_)
    home = np.repeat(np.arange(len(model.classes_)), model.n_support_)
    columns: list[np.ndarray] = []
    for first, second in combinations(range(len(model.classes_)), 2):
        columns.append(np.where(home == first, dual[second - 1], np.where(home == second, dual[first], 0.0)))
    return np.stack(columns, axis=1)


def _dense(matrix: Any) -> np.ndarray:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


def _decision(write: Writer, operator: Any, weights: np.ndarray, intercept: Any) -> str:
    model, inputs = operator.raw_operator, operator.inputs[0].full_name
    vectors = _dense(model.support_vectors_)
    products = write.node("MatMul", inputs, write.constant(vectors.T))
    kernel = _kernel(write, model, inputs, products, vectors)
    return write.node(
        "Add", write.node("MatMul", kernel, write.constant(weights)), write.constant(np.reshape(intercept, (1, -1)))
    )


def _kernel(write: Writer, model: Any, inputs: str, products: str, vectors: np.ndarray) -> str:
    gamma = write.constant(float(model._gamma))
    match model.kernel:
        case "linear":
            return products
        case "rbf":
            own = write.node("ReduceSumSquare", inputs, write.constant(np.array([1])), keepdims=1)
            lengths = write.node("Add", own, write.constant((vectors**2).sum(axis=1)[None]))
            apart = write.node("Sub", lengths, write.node("Mul", products, write.constant(2.0)))
            return write.node("Exp", write.node("Neg", write.node("Mul", apart, gamma)))
        case "poly" | "sigmoid" as kind:
            inner = write.node("Add", write.node("Mul", products, gamma), write.constant(float(model.coef0)))
            if kind == "sigmoid":
                return write.node("Tanh", inner)
            return write.node("Pow", inner, write.constant(float(model.degree)))
        case other:
            raise NotImplementedError(f"kernel={other!r}")
