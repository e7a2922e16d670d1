"""The request that every program answers, and the two fitted models it answers from."""

from __future__ import annotations

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

FEATURES = ["sepal length", "sepal width", "petal length", "petal width"]
LABELS = ["setosa", "versicolor", "virginica"]
ROW = {"sepal length": 1.2, "sepal width": 1.0, "petal length": 1.1, "petal width": 0.9}


def fit():
    """Return the two models, fitted on all of iris."""
    data, target = load_iris(return_X_y=True)
    return LogisticRegression(max_iter=1000).fit(data, target), SVC().fit(data, target)


def answer(a, b):
    """Return the ensemble's answer from what each model predicts for one row."""
    return {"logistic": LABELS[a[0]], "svm": LABELS[b[0]]}
