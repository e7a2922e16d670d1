"""How many member calls an early stop saves, by counting them: ``python -m tests.benchmarks.saved`` prints the table.

Nothing is timed, and every model is fitted with a fixed seed: it prints the same everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from stretto import Client, model
from stretto_composers import vote

DATASETS: dict[str, Callable[..., Any]] = {
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
    "digits": load_digits,
}
WEIGHTS: dict[str, list[float] | None] = {"even": None, "2, 1, 1, 1, 1": [2, 1, 1, 1, 1]}


class Counted(ClassifierMixin, BaseEstimator):
    """A fitted classifier that counts the rows it is asked about."""

    def __init__(self, fitted: Any) -> None:
        self.fitted = fitted
        self.classes_ = fitted.classes_
        self.rows = 0

    def fit(self, X: Any, y: Any) -> Counted:
        return self

    def predict(self, X: Any) -> Any:
        self.rows += len(X)
        return self.fitted.predict(X)

    def predict_proba(self, X: Any) -> Any:
        self.rows += len(X)
        return self.fitted.predict_proba(X)


@dataclass(frozen=True)
class Saved:
    """The member calls of a vote over a data set's rows."""

    dataset: str
    voting: str
    weights: str
    rows: int
    asked: int
    all: int
    same: bool

    @property
    def share(self) -> float:
        """The part that was saved."""
        return 1 - self.asked / self.all


def members() -> list[tuple[str, Any]]:
    """Return five classifiers, not yet fitted."""
    return [
        ("logistic", make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))),
        ("bayes", GaussianNB()),
        ("tree", DecisionTreeClassifier(max_depth=4, random_state=0)),
        ("neighbours", KNeighborsClassifier(5)),
        ("forest", RandomForestClassifier(20, random_state=0)),
    ]


async def saved(dataset: str, voting: str, weights: str) -> Saved:
    """Fit five members on every other row, let them vote on the rest, and count."""
    data = DATASETS[dataset]()
    train, test = slice(0, None, 2), slice(1, None, 2)
    whole = VotingClassifier(members(), voting=voting, weights=WEIGHTS[weights])
    whole.fit(data.data[train], data.target[train])
    counted = [Counted(fitted) for fitted in whole.estimators_]
    models = [model(each, name=name) for (name, _), each in zip(members(), counted, strict=True)]
    rows = data.data[test]
    async with Client(vote(*models, voting=voting, weights=WEIGHTS[weights])) as client:
        labels = await client.predict_many(rows)
    same = np.array_equal(labels, whole.predict(rows))
    asked = sum(each.rows for each in counted)
    return Saved(dataset, voting, weights, len(rows), asked, len(rows) * len(models), same)


def table(found: list[Saved]) -> Iterator[str]:
    """Return the lines of a table in Markdown."""
    yield "| data set | rows | voting | weights | calls without early stop | with it | saved |"
    yield "|---|---:|---|---|---:|---:|---:|"
    for each in found:
        yield (
            f"| {each.dataset} | {each.rows} | {each.voting} | {each.weights} | {each.all} | {each.asked} | "
            f"{each.share:.0%} |"
        )


async def main() -> None:
    found = [
        await saved(dataset, voting, weights)
        for dataset in DATASETS
        for voting in ("hard", "soft")
        for weights in WEIGHTS
    ]
    assert all(each.same for each in found), "a label differs from scikit-learn's"
    print("\n".join(table(found)))


if __name__ == "__main__":
    asyncio.run(main())
