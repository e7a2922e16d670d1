"""A fitted ensemble taken apart answers as it does whole: labels bit for bit, numbers to 1e-9."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from stretto import Client, from_sklearn, model, parallel
from stretto.compiler import compile_plan
from stretto.errors import InputError, ModelError
from stretto.plan.nodes import Call
from stretto.plan.steps import Stage
from stretto.testing.http_server import serving
from stretto.testing.oracle import oracle

iris = load_iris()
X, y = iris.data, iris.target
WORDS = np.array(["setosa", "versicolor", "virginica"])[y]
FRAME = pd.DataFrame(X, columns=iris.feature_names)
rng = np.random.default_rng(0)
PEOPLE = pd.DataFrame(
    {
        "age": rng.normal(40, 9, 150),
        "colour": rng.choice(["red", "green", "blue"], 150),
        "size": rng.choice(["s", "m"], 150),
        "note": rng.choice(["a good one", "bad", "so so"], 150),
        "id": np.arange(150),
    }
)
RICH = np.where(PEOPLE["age"] + 10 * (PEOPLE["colour"] == "red") > 42, "yes", "no")

logistic = LogisticRegression(max_iter=1000)
forest = RandomForestClassifier(5, random_state=0)
members = [("logistic", logistic), ("svm", SVC()), ("scaled", make_pipeline(StandardScaler(), GaussianNB()))]
sure = [("logistic", logistic), ("forest", forest), ("scaled", make_pipeline(StandardScaler(), GaussianNB()))]
numbers = [("linear", LinearRegression()), ("ridge", Ridge())]
dense = ColumnTransformer(
    [
        ("number", StandardScaler(), ["age"]),
        (
            "word",
            make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False)),
            ["colour", "size"],
        ),
        ("rest", "drop", ["note"]),
    ],
    remainder="passthrough",
)

CASES: dict[str, tuple[Any, Any, Any]] = {
    "chain": (make_pipeline(StandardScaler(), PCA(2), logistic), X, WORDS),
    "chain of one": (Pipeline([("only", logistic)]), X, y),
    "chain with a gap": (Pipeline([("a", StandardScaler()), ("b", "passthrough"), ("c", logistic)]), X, y),
    "chain that scales": (make_pipeline(StandardScaler(), MinMaxScaler()), X, y),
    "hard vote": (VotingClassifier(members), X, y),
    "hard vote on words": (VotingClassifier(members, weights=[1, 2, 1.5]), X, WORDS),
    "soft vote": (VotingClassifier(sure, voting="soft"), X, WORDS),
    "soft vote, weighted": (VotingClassifier(sure, voting="soft", weights=[0.2, 1, 3]), FRAME, WORDS),
    "dropped member": (
        VotingClassifier([*sure, ("gone", "drop")], voting="soft", weights=[1, 2, 3, 4]),
        X,
        WORDS,
    ),
    "vote in a vote": (VotingClassifier([("inner", VotingClassifier(members)), *sure]), X, WORDS),
    "mean": (VotingRegressor(numbers), X, X[:, 0] * y),
    "mean, weighted": (VotingRegressor(numbers, weights=[1, 3]), X, X[:, 0] * y),
    "stack": (StackingClassifier(members, cv=3), X, WORDS),
    "stack of two classes": (StackingClassifier(sure, cv=3), X, WORDS == "setosa"),
    "stack on itself too": (StackingClassifier(sure, cv=3, passthrough=True), FRAME, WORDS),
    "stack of decisions": (StackingClassifier([*members, ("gone", "drop")], stack_method="predict", cv=3), X, y),
    "stack of fitted": (
        StackingClassifier([("a", SVC().fit(X, y)), ("b", GaussianNB().fit(X, y))], cv="prefit"),
        X,
        y,
    ),
    "stack of numbers": (StackingRegressor(numbers, cv=3, passthrough=True), X, X[:, 0] * y),
    "union": (make_union(StandardScaler(), PCA(2)), X, y),
    "union, weighted": (
        FeatureUnion([("a", StandardScaler()), ("b", PCA(2)), ("c", "drop")], transformer_weights={"a": 10.0}),
        FRAME,
        y,
    ),
    "columns by place": (
        ColumnTransformer(
            [("a", StandardScaler(), [0, 1]), ("b", PCA(1), slice(2, 4))], transformer_weights={"b": 2.0}
        ),
        X,
        y,
    ),
    "columns by mask": (
        make_pipeline(
            ColumnTransformer([("a", MinMaxScaler(), [True, False, False, True])], remainder=PCA(1)), logistic
        ),
        X,
        y,
    ),
    "columns of a frame": (
        make_pipeline(
            ColumnTransformer(
                [("a", StandardScaler(), slice("sepal length (cm)", "petal length (cm)")), ("b", "passthrough", [-1])]
            ),
            VotingClassifier(members),
        ),
        FRAME,
        WORDS,
    ),
    "columns of all kinds": (make_pipeline(dense, VotingClassifier(sure, voting="soft")), PEOPLE, RICH),
    "columns by type": (
        make_pipeline(
            ColumnTransformer(
                [
                    ("a", StandardScaler(), make_column_selector(dtype_include=np.number)),
                    ("b", OneHotEncoder(sparse_output=False), ["colour"]),
                ]
            ),
            logistic,
        ),
        PEOPLE,
        RICH,
    ),
    "sparse": (
        make_pipeline(
            ColumnTransformer([("a", TfidfVectorizer(), "note"), ("b", OneHotEncoder(), ["size"])]), logistic
        ),
        PEOPLE,
        RICH,
    ),
    "text": (make_pipeline(TfidfVectorizer(), VotingClassifier([("a", logistic), ("b", SVC())])), PEOPLE["note"], RICH),
    "search": (
        GridSearchCV(make_pipeline(StandardScaler(), logistic), {"logisticregression__C": [0.1, 1]}, cv=2),
        X,
        y,
    ),
    "frames between steps": (
        make_pipeline(StandardScaler(), logistic).set_output(transform="pandas"),
        FRAME,
        y,
    ),
    "a function": (make_pipeline(FunctionTransformer(np.log1p), FunctionTransformer(), logistic), X, y),
    "a vote of encoders": (
        VotingClassifier([("a", make_pipeline(dense, logistic)), ("b", make_pipeline(dense, GaussianNB()))]),
        PEOPLE,
        RICH,
    ),
    "whole": (DecisionTreeClassifier(), X, y),
}
METHODS = {"predict": "predict", "proba": "predict_proba", "decision": "decision_function", "transform": "transform"}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    estimator, rows, target = CASES[request.param]
    return estimator.fit(rows, target), rows


def agree(ours: list[Any], theirs: Any) -> None:
    theirs = theirs.toarray() if hasattr(theirs, "toarray") else np.asarray(theirs)
    assert np.asarray(ours).shape == theirs.shape
    if theirs.dtype.kind == "f":
        np.testing.assert_allclose(np.asarray(ours, dtype=float), theirs, rtol=1e-9, atol=1e-12)
    else:
        assert (np.asarray(ours) == theirs).all()


async def test_the_parts_answer_as_the_whole(case: tuple[Any, Any]) -> None:
    estimator, rows = case
    outputs = [output for output, method in METHODS.items() if hasattr(estimator, method)]
    for output in outputs:
        async with Client(from_sklearn(estimator, output=output)) as client:
            theirs = getattr(estimator, METHODS[output])(rows)
            agree(await client.predict_many(rows), theirs)
            one = next(iter(rows)) if not isinstance(rows, pd.DataFrame) else rows.iloc[0]
            agree([await client.predict(one)], theirs[:1])


def test_members_stand_side_by_side_and_rows_are_read_once() -> None:
    voting = VotingClassifier(members).fit(X, y)
    plan = from_sklearn(voting).plan()
    names = [step.name for step in plan.steps()]
    assert names.count("rows") == 1
    assert {"logistic", "svm", "standardscaler", "gaussiannb"} <= set(names)
    readers = [node for node in plan.order if isinstance(node, Call) and node.step.name in ("logistic", "svm")]
    assert len({node.inputs for node in readers}) == 1


def test_what_two_members_share_is_done_once() -> None:
    scaler = StandardScaler().fit(X)
    shared = [
        (kind, Pipeline([("scale", scaler), ("ask", member.fit(X, y))]))
        for kind, member in (("a", SVC()), ("b", GaussianNB()))
    ]
    stack = StackingClassifier(shared, cv="prefit").fit(X, y)
    stages = [node.step for node in compile_plan(from_sklearn(stack).plan()).order if isinstance(node, Call)]
    inner = [step.name for stage in stages if isinstance(stage, Stage) for step in stage.plan.steps()]
    assert [name for name in inner if name.startswith("scale")] == ["scale"]


def test_each_member_gets_a_deployment_when_split() -> None:
    plan = compile_plan(from_sklearn(VotingClassifier(sure).fit(X, y)).plan(), "split")
    hosts = {node.step.deployment for node in plan.walk() if isinstance(node, Call) and isinstance(node.step, Stage)}
    assert {"logistic", "forest", "standardscaler", "gaussiannb"} <= hosts


async def test_labels_name_the_answers() -> None:
    voting = VotingClassifier(sure, voting="soft").fit(X, y)
    async with Client(from_sklearn(voting, labels=iris.target_names)) as client:
        assert await client.predict_many(X) == iris.target_names[voting.predict(X)].tolist()
    async with Client(from_sklearn(voting, labels=iris.target_names, output="label_proba")) as client:
        said = await client.predict(X[0])
        assert list(said) == list(iris.target_names)
        agree(list(said.values()), voting.predict_proba(X[:1])[0])


async def test_a_bad_row_is_refused_as_the_whole_model_would() -> None:
    estimator = CASES["columns of all kinds"][0].fit(PEOPLE, RICH)
    good = PEOPLE.iloc[0].to_dict()
    async with Client(from_sklearn(estimator, name="people")) as client:
        rows = [good, {**good, "colour": "pink"}, {**good, "age": "old"}, {"age": 3}]
        answers = await client.predict_many(rows, on_error="return")
        assert answers[0] == estimator.predict(PEOPLE[:1])[0]
        assert [(type(each), each.field) for each in answers[1:]] == [
            (InputError, "colour"),
            (InputError, "age"),
            (InputError, "colour"),
        ]


async def test_the_parts_mean_the_same_by_the_oracle_and_over_http() -> None:
    pipeline = from_sklearn(CASES["soft vote"][0].fit(X, WORDS))
    expected = [await oracle(pipeline, row) for row in X[::30].tolist()]
    async with serving(pipeline) as url, Client(url) as client:
        assert await client.predict_many(X[::30]) == expected


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match="not fitted"):
        from_sklearn(VotingClassifier([("a", SVC())]))
    with pytest.raises(ModelError, match="supports 'predict'"):
        from_sklearn(VotingClassifier(members).fit(X, y), output="proba")


@pytest.mark.parametrize(
    "parts", [[("a", "drop", [0])], [("a", StandardScaler(), [])], [("a", "drop", [0]), ("b", StandardScaler(), [])]]
)
async def test_a_transformer_of_no_columns_answers_with_none(parts: Any) -> None:
    for estimator in (ColumnTransformer(parts), FeatureUnion([("only", ColumnTransformer(parts))])):
        estimator.fit(X)
        async with Client(from_sklearn(estimator)) as client:
            assert np.shape(await client.predict_many(X[:3])) == estimator.transform(X[:3]).shape == (3, 0)
            assert np.shape(await client.predict(X[0])) == (0,)


@pytest.mark.parametrize("take", [model, from_sklearn])
async def test_columns_of_a_frame_that_scikit_learn_leaves_alone_are_left_alone(take: Any) -> None:
    some = ColumnTransformer([("a", StandardScaler(), ["age"]), ("b", "drop", ["size"])], remainder="passthrough")
    some.fit(PEOPLE[["age", "size", "id"]])
    chain = make_pipeline(some, logistic).fit(PEOPLE[["age", "size", "id"]], RICH)
    both = VotingClassifier([("one", chain), ("two", chain)]).fit(PEOPLE[["age", "size", "id"]], RICH)
    wide = PEOPLE.assign(more=1.0)
    async with Client(take(some)) as client:
        agree(await client.predict_many(wide), some.transform(wide))
    for estimator in (chain, both):
        async with Client(take(estimator)) as client:
            agree(await client.predict_many(wide), estimator.predict(wide))


@pytest.mark.parametrize("take", [model, from_sklearn])
async def test_a_name_beyond_the_features_is_refused_or_ignored_as_the_user_says(take: Any) -> None:
    scaler = StandardScaler().fit(PEOPLE[["age"]])
    for estimator in (scaler, ColumnTransformer([("a", StandardScaler(), ["age"])]).fit(PEOPLE[["age"]])):
        async with Client(take(estimator)) as client:
            with pytest.raises(InputError, match="unknown feature 'aeg'"):
                await client.predict({"age": 3.0, "aeg": 3.0})
        async with Client(take(estimator, extra="ignore")) as client:
            agree([await client.predict({"age": 3.0, "aeg": 3.0})], [await client.predict({"age": 3.0})])
            with pytest.raises(InputError, match="lacks 'age'"):
                await client.predict({"aeg": 3.0})
            agree(await client.predict_many(PEOPLE), await client.predict_many(PEOPLE[["age"]]))
    async with Client(take(scaler)) as client:
        with pytest.raises(InputError, match="unknown feature"):
            await client.predict_many(PEOPLE)
    with pytest.raises(ModelError, match="extra='allow': it is 'forbid', or 'ignore'"):
        take(scaler, extra="allow")


async def test_names_are_ignored_beside_other_models_and_over_http() -> None:
    """Of parts that read one request, each is asked for what it takes; the one that ignores others goes on doing so."""
    age = model(StandardScaler().fit(PEOPLE[["age"]]), name="age", extra="ignore")
    number = model(StandardScaler().fit(PEOPLE[["id"]]), name="id", extra="ignore")
    row = PEOPLE.iloc[0].to_dict()
    async with serving(parallel(age, number)) as url, Client(url) as client, Client(parallel(age, number)) as local:
        assert repr(await client.predict(row)) == repr(await local.predict(row))


def test_members_along_the_first_axis_are_no_rows() -> None:
    voting = VotingClassifier(sure, voting="soft", flatten_transform=False).fit(X, y)
    with pytest.raises(ModelError, match="flatten_transform=True"):
        from_sklearn(voting, output="transform")
