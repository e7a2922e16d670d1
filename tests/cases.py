"""The cases every way of running must agree on: a pipeline, rows, and what they show.

The functions stand at module level under a name of their own; replicas get them pickled by value.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pandas import Categorical, DataFrame, date_range
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from stretto import Pipeline, composer, from_sklearn, model, parallel, step
from stretto.errors import BadRows, DeadlineExceeded, InputError
from stretto.nodes import Aside, Node
from stretto_composers import (
    agreement,
    average,
    cache,
    cascade,
    circuit_breaker,
    confidence,
    default,
    each,
    fallback,
    flatten,
    hedge,
    limit,
    loop,
    median,
    quorum,
    race,
    rename,
    retry,
    select,
    shadow,
    split,
    stack,
    switch,
    tap,
    timeout,
    vote,
    weighted,
)

FEATURES = ["sepal length", "sepal width", "petal length", "petal width"]
SETOSA = dict(zip(FEATURES, [5.1, 3.5, 1.4, 0.2], strict=True))
VIRGINICA = dict(zip(FEATURES, [6.3, 3.3, 6.0, 2.5], strict=True))
BAD_ROWS: list[Any] = [
    dict.fromkeys(FEATURES[:3], 1.0),
    {**SETOSA, "colour": 1.0},
    {**SETOSA, "petal width": "wide"},
    {**SETOSA, "petal width": float("nan")},
    {**SETOSA, "petal width": None},
    [5.1, 3.5, 1.4],
    [[5.1, 3.5], [1.4]],
    [5.1, 3.5, 1.4, "0.2"],
    "setosa",
    7,
    None,
    {},
]


@functools.cache
def iris_model(kind: str) -> Pipeline[Any, Any]:
    iris = load_iris()
    labels = list(iris.target_names)
    match kind:
        case "logistic":
            fitted: Any = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
        case "svm":
            fitted = SVC().fit(iris.data, iris.target)
        case "bayes":
            fitted = GaussianNB().fit(iris.data, iris.target)
        case "scaler":
            return model(StandardScaler().fit(iris.data), name="scaler", features=FEATURES)
        case "proba":
            fitted = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
            return model(fitted, name="proba", features=FEATURES, labels=labels, output="label_proba")
        case _:
            fitted = LogisticRegression(C=0.01, max_iter=1000).fit(iris.data, iris.target)
    return model(fitted, name=kind, features=FEATURES, labels=labels)


@functools.cache
def regressors() -> tuple[Pipeline[Any, Any], Pipeline[Any, Any], np.ndarray]:
    data, target = load_diabetes(return_X_y=True)
    ridge, linear = Ridge().fit(data, target), LinearRegression().fit(data, target)
    return model(ridge, name="ridge"), model(linear, name="linear"), data


@functools.cache
def people() -> tuple[Pipeline[Any, Any], list[Any]]:
    """A model of numbers and strings, and rows of which some are bad."""
    rows = [{"age": 30.0 + i, "colour": colour} for i, colour in enumerate(["red", "blue", "red", "green"] * 5)]
    columns = ColumnTransformer([("age", StandardScaler(), ["age"]), ("colour", OneHotEncoder(), ["colour"])])
    fitted = make_pipeline(columns, LogisticRegression())
    fitted.fit(DataFrame(rows), [row["colour"] == "red" for row in rows])
    bad = [{"age": 30.0, "colour": "pink"}, {"age": "old", "colour": "red"}, {"colour": "red"}, [30.0, None], "red"]
    return model(fitted, name="people"), [rows[0], *bad, list(rows[1].values())]


def lengths(table: Any) -> Any:
    return np.array([[len(str(value)) for value in row] for row in np.asarray(table, dtype=object)])


@functools.cache
def days() -> tuple[Pipeline[Any, Any], list[Any]]:
    """A model with a column of any type and one that it drops, and rows of which some are bad."""
    rows = [{"hour": 6.0 * i, "day": day, "note": None} for i, day in enumerate(["mon", "tuesday", "wed", "thursday"])]
    columns = ColumnTransformer(
        [
            ("hour", StandardScaler(), ["hour"]),
            ("day", FunctionTransformer(lengths), ["day"]),
            ("note", "drop", ["note"]),
        ]
    )
    fitted = make_pipeline(columns, LogisticRegression()).fit(DataFrame(rows), [0, 1, 0, 1])
    bad = [{"hour": "late", "day": "mon"}, {"hour": 6.0}, {"hour": 6.0, "day": ["mon"]}]
    return model(fitted, name="days"), [*rows, *bad, {"hour": 6.0, "day": "tuesday"}]


def as_texts(frame: DataFrame) -> DataFrame:
    return frame.astype(str)


@functools.cache
def typed() -> tuple[Pipeline[Any, Any], list[Any]]:
    """A model that knows the types of its columns, and answers otherwise where one of them is lost."""
    rows = DataFrame(
        {
            "zip": [10115, 20095, 80331, 10115],
            "flag": [True, False, False, True],
            "kind": Categorical(["a", "b", "a", "b"]),
            "size": np.array([1, 2, 3, 4], dtype=np.float32),
            "day": date_range("2024-01-01", periods=4),
        }
    )
    encode = make_pipeline(FunctionTransformer(as_texts), OneHotEncoder(handle_unknown="ignore"))
    fitted = make_pipeline(encode, LogisticRegression()).fit(rows, [0, 1, 1, 0])
    good = [dict(zip(rows, row, strict=True)) for row in rows.astype(object).to_numpy().tolist()]
    odd = [{**good[0], **each} for each in ({"zip": 1.5}, {"zip": None}, {"kind": "new"}, {"flag": None})]
    bad = [{**good[0], **each} for each in ({"zip": "10115"}, {"day": "then"}, {"flag": "yes"}, {"kind": [1]})]
    return model(fitted, name="typed", features=rows, output="proba"), [*good, *odd, *bad, list(good[1].values())]


def ensemble() -> Pipeline[Any, Any]:
    data, target = load_iris(return_X_y=True)
    members = [("logistic", LogisticRegression(max_iter=1000)), ("svm", make_pipeline(StandardScaler(), SVC()))]
    return from_sklearn(VotingClassifier(members).fit(data, target), features=FEATURES, labels=["a", "b", "c"])


def longest(said: dict[str, str]) -> str:
    return max(said.values(), key=len)


def as_frame(numbers: Any) -> DataFrame:
    return DataFrame({"one": numbers, "two": np.asarray(numbers) * 2.0})


@functools.cache
def unnamed() -> Pipeline[Any, Any]:
    return model(LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [0, 1, 2]), name="unnamed")


def invert(x: float) -> float:
    return 1 / x


def negative(x: float) -> bool:
    return x < 0


def refuse_negative(x: float) -> float:
    if x < 0:
        raise InputError(f"{x} is negative; give a positive number", "x", "a positive number")
    return x


def roots(column: Any) -> Any:
    values = np.asarray(column, dtype=float)
    bad = np.flatnonzero(values < 0)
    if len(bad):
        raise BadRows({int(i): ValueError(f"{values[i]:g} has no root") for i in bad})
    return np.sqrt(values)


def inverses(column: Any) -> list[float]:
    return [1 / x for x in column]


async def add_one(x: float) -> float:
    await asyncio.sleep(0.001)
    if x == 13:
        raise LookupError("unlucky")
    return x + 1


def slow_double(x: float) -> float:
    time.sleep(0.001)
    return x * 2


def chances(x: float) -> dict[str, float]:
    return {"low": 1 - x, "high": x}


async def later_chances(x: float) -> dict[str, float]:
    await asyncio.sleep(0.001)
    return chances(x)


async def never(x: Any) -> Any:
    await asyncio.sleep(60)


@composer
def beside(x: Node, main: Pipeline, other: Pipeline) -> Node:
    """The main part; the other is started and not waited for."""
    return Aside((main(x), x), body=other.plan())


def kinds(x: Any) -> dict[str, Any]:
    return {
        "none": None,
        "flag": True,
        "whole": 2**53 + 1,
        "number": 0.1,
        "text": "é",
        "list": [1, [2.5, None]],
        "nested": {"a": {"b": [x]}},
    }


TROUBLES = ["refused", "lookup", "nothing"]


async def troubled(x: str) -> str:
    match x:
        case "refused":
            raise InputError("the word 'refused' is refused; give another", "word", "any other word")
        case "slow":
            await asyncio.sleep(30)
            return x
        case _:
            return {"known": x}[x]


def troubles() -> Pipeline[Any, Any]:
    """A pipeline that fails in as many ways as a step can."""
    return fallback(troubled, step(troubled, name="again"))


@dataclass(frozen=True)
class Case:
    """A pipeline, and rows of which some may fail.

    `split` also runs it with a deployment a model. `expect` stands in for the oracle where time decides, since that
    runs one thing after the other.
    """

    name: str
    build: Callable[[], Pipeline[Any, Any]]
    rows: list[Any]
    split: bool = False
    expect: list[Any] | None = None


def _three() -> Pipeline[Any, Any]:
    return parallel(iris_model("logistic"), iris_model("third"), iris_model("bayes"))


def _two() -> Pipeline[Any, Any]:
    return parallel(iris_model("logistic"), iris_model("svm"))


CASES = [
    Case(
        "a model", lambda: iris_model("logistic"), [SETOSA, list(VIRGINICA.values()), *BAD_ROWS, VIRGINICA], split=True
    ),
    Case("arrays", lambda: iris_model("svm"), [np.array([*SETOSA.values()]), np.array([1.0, 2.0]), np.ones((2, 2))]),
    Case("strings and numbers", lambda: people()[0], people()[1], split=True),
    Case("columns of any type", lambda: days()[0], days()[1]),
    Case(
        "a frame before a model without names", lambda: step(as_frame, vectorized=True) >> unnamed(), [1.0, -2.0, 3.0]
    ),
    Case("taken apart", ensemble, [SETOSA, VIRGINICA, *BAD_ROWS], split=True),
    Case("the ensemble", _two, [SETOSA, *BAD_ROWS, VIRGINICA], split=True),
    Case("a function behind it", lambda: Pipeline(_two()) >> longest, [SETOSA, VIRGINICA, {}], split=True),
    Case(
        "a shared scaler",
        lambda: iris_model("scaler") >> parallel(length=len, first=lambda values: float(values[0])),
        [SETOSA, [1, 2, 3, 4], [1, 2]],
    ),
    Case(
        "members vote",
        lambda: vote(iris_model("logistic"), iris_model("svm"), iris_model("third")),
        [SETOSA, VIRGINICA, 3],
    ),
    Case("a fan-out votes", lambda: _two() >> vote(), [SETOSA, VIRGINICA, BAD_ROWS[0]], split=True),
    Case("weighted votes", lambda: vote(abs, float, weights={"abs": 1, "float": 2}), [-1, 1, "x"]),
    Case("votes for what is likeliest", lambda: _three() >> vote(voting="soft"), [SETOSA, VIRGINICA, "x"], split=True),
    Case("votes of a quorum", lambda: _three() >> quorum(2, by=60), [SETOSA, VIRGINICA, 3], split=True),
    Case("a quorum by a time", lambda: quorum(2, never, add_one, by=0.5), [1, 13], expect=[2, DeadlineExceeded("")]),
    Case("a meta-model", lambda: stack(sum, *regressors()[:2], passthrough=True), [*regressors()[2][:3], [1.0]]),
    Case("a median", lambda: median(abs, float, invert), [2, -1, 0, "x"]),
    Case("weighted numbers", lambda: weighted(abs, float, weights={"abs": 3}), [2, -1, "x"]),
    Case(
        "a fan-out that omits", lambda: parallel(invert, add_one, refuse_negative, on_error="omit"), [2, 0, 13, -1, 4]
    ),
    Case("a fan-out with a value", lambda: parallel(abs, invert, on_error=[None]) >> len, [2, 0]),
    Case("a mean of what is left", lambda: parallel(invert, float, on_error="omit") >> average(), [2, 0, "x", 4]),
    Case("probabilities", lambda: average(iris_model("proba"), iris_model("proba")), [SETOSA, VIRGINICA, "x"]),
    Case("regressors", lambda: average(*regressors()[:2]), [*regressors()[2][:3], [1.0]]),
    Case(
        "switch",
        lambda: switch(negative, {True: lambda x: "below", False: invert}),
        [1, -1, 0, 4],
    ),
    Case("switch without a case", lambda: switch(lambda x: x, {1: lambda x: "one"}), [1, 2]),
    Case("fallback", lambda: fallback(invert, lambda x: "none"), [2, 0, 4]),
    Case("fallback fails too", lambda: fallback(invert, lambda x: [][x]), [2, 0]),
    Case("fallback keeps refusals", lambda: fallback(refuse_negative, lambda x: 0), [2, -2]),
    Case("race", lambda: race(invert, lambda x: "spare"), [2, 0]),
    Case("race of waiting members", lambda: race(never, add_one), [1, 2], expect=[2, 3]),
    Case("asynchronous", lambda: Pipeline(add_one) >> invert, [1, -1, 13]),
    Case("blocking", lambda: step(slow_double, blocking=True) >> invert, [1, 0]),
    Case("vectorized, knows its culprits", lambda: step(roots, vectorized=True), [4.0, -1.0, 9.0, -2.0]),
    Case("vectorized, raises", lambda: step(inverses, vectorized=True), [4.0, 0.0, 2.0, 0.0, 1.0]),
    Case("each", lambda: each(invert), [[1, 2], [], [1, 0], 5]),
    Case("each recovers", lambda: each(fallback(invert, lambda x: None)), [[1, 0, 4], "12", {"a": 1}]),
    Case(
        "switch by a field",
        lambda: switch("kind", {"root": lambda row: row["x"] ** 0.5, "inverse": lambda row: 1 / row["x"]}),
        [{"kind": "root", "x": 4}, {"kind": "inverse", "x": 0}, {"x": 4}, {"kind": "square", "x": 1}, [1]],
    ),
    Case(
        "switch by a model",
        lambda: switch(iris_model("logistic"), {"setosa": lambda row: "small"}, default=iris_model("svm")),
        [SETOSA, VIRGINICA, BAD_ROWS[0]],
        split=True,
    ),
    Case(
        "split by a field",
        lambda: split({"old": (lambda row: "old", 0.5), "new": (lambda row: 1 / row["x"], 0.5)}, key="user"),
        [*({"user": user, "x": user % 3} for user in range(12)), {"x": 1}, {"user": None, "x": 1}],
    ),
    Case("split by rows", lambda: split({abs: 1, invert: 2}, salt="b"), [1, 0, -1, 0.5, [1, 2], "x", None]),
    Case(
        "cascade",
        lambda: cascade(iris_model("proba"), iris_model("svm"), until=confidence(0.9)),
        [SETOSA, VIRGINICA, [5.9, 3.0, 4.9, 1.7], *BAD_ROWS[:3]],
        split=True,
    ),
    Case(
        "cascade by agreement",
        lambda: cascade(
            parallel(a=iris_model("logistic"), b=iris_model("third")), iris_model("svm"), until=agreement(1)
        ),
        [SETOSA, VIRGINICA, [5.9, 3.0, 4.9, 1.7], 3],
    ),
    Case(
        "cascade that waits",
        lambda: cascade(chances, later_chances, add_one, until=[confidence(0.9), confidence(0.6)], answer="tier"),
        [0.95, 0.7, 0.5, 13, "x"],
    ),
    Case("loop", lambda: loop(lambda x: x * 2, until=lambda x: x > 8, limit=4), [1, 3, 0, -1, "x", None]),
    Case("loop that waits", lambda: loop(add_one, lambda x: x > 14, 3, on_limit=invert), [11, 12, 13, 20, -3]),
    Case("tap", lambda: tap(invert) >> abs, [2, 0, -1]),
    Case("tap keeps refusals", lambda: tap(refuse_negative) >> iris_model("svm"), [-1, 1]),
    Case("select from a request", lambda: select("a", "b") >> select("b"), [{"b": 1, "a": 2}, {"a": 1}, 7]),
    Case("names", lambda: _two() >> rename(svm="machine") >> select("machine", "logistic"), [SETOSA, {}]),
    Case("flatten", lambda: parallel(x=iris_model("proba"), y=lambda row: {"n": {"a": 1}}) >> flatten(), [SETOSA, 1]),
    Case("within", lambda: timeout(add_one, 30.0), [1, 13]),
    Case("within, late", lambda: timeout(never, 0.05), [1], expect=[DeadlineExceeded("")]),
    Case("retry", lambda: retry(invert, 3, backoff=0.001), [1, 0, 2]),
    Case("retry keeps refusals", lambda: retry(refuse_negative, backoff=0.001) >> add_one, [1, -1, 13]),
    Case("default", lambda: default(timeout(add_one, 30.0), {"none": True}), [1, 13]),
    Case("default, late", lambda: default(timeout(never, 0.05), "late"), [1], expect=["late"]),
    Case("hedge", lambda: hedge(add_one, after=0.0, budget=1.0), [1, 13, 2]),
    Case("hedge of a model", lambda: hedge(iris_model("logistic")), [SETOSA, BAD_ROWS[0], VIRGINICA], split=True),
    Case("shadow", lambda: shadow(invert, add_one), [1, 0, 4]),
    Case("cache", lambda: cache(iris_model("logistic"), ttl=60), [SETOSA, SETOSA, BAD_ROWS[0], VIRGINICA], split=True),
    Case("cache of functions", lambda: cache(add_one, size=1), [1, 13, 1, 2, 1.0]),
    Case("limit", lambda: limit(add_one, 1) >> invert, [1, -1, 13, 2]),
    Case("circuit_breaker", lambda: circuit_breaker(invert, errors=1000), [1, 0, 2]),
    Case("beside", lambda: beside(abs, invert), [1, 0]),
    Case("refuses", lambda: Pipeline(refuse_negative) >> invert, [1, 0, -1]),
    Case("a refusal further in is a failure", lambda: Pipeline(lambda x: -x) >> refuse_negative, [1, -1]),
    Case("kinds of values", lambda: Pipeline(kinds), [1, "a", None]),
    Case("nested failure", lambda: fallback(switch(negative, {False: invert}), vote(invert, invert)), [1, 0, -1]),
    Case("columns of recorded types", lambda: typed()[0], typed()[1], split=True),
    Case("mixed stages", lambda: parallel(add_one, invert, step(slow_double, blocking=True)) >> len, [1, 0, 13]),
]
