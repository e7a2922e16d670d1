"""What can't give a right answer is refused as the pipeline is compiled, by name, before any row is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stretto import Client, Pipeline, composer, model, parallel
from stretto.errors import ModelError, PipelineError
from stretto.nodes import Answers, Call, Input, Node, Pack, answers_of
from stretto_composers import agreement, average, cascade, confidence, fallback, quorum, timeout, vote

X, y = load_iris(return_X_y=True)
WORDS = np.array(["setosa", "versicolor", "virginica"])
logistic = LogisticRegression(max_iter=1000).fit(X, y)
words = LogisticRegression(max_iter=1000).fit(X, WORDS[y])
backwards = LogisticRegression(max_iter=1000).fit(X, -y)
two = LogisticRegression().fit(X, y > 0)
meta = LogisticRegression().fit(np.column_stack([y, y]), y)
linear = LinearRegression().fit(X, X[:, 0])


def named(estimator: Any, name: str, **options: Any) -> Pipeline[Any, Any]:
    return model(estimator, name=name, **options)


SEVERAL = {
    "multi-output": MultiOutputClassifier(LogisticRegression()),
    "chain": ClassifierChain(LogisticRegression()),
    "forest": RandomForestClassifier(2),
    "one a label": OneVsRestClassifier(LogisticRegression()),
    "neural network": MLPClassifier((2,), max_iter=1, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), RidgeClassifier()),
}
"""Classifiers of several targets, each in a way of its own."""

BUILDS: dict[str, Any] = {
    "vote": lambda a, b: vote(a, b),
    "vote after a fan-out": lambda a, b: parallel(a, b) >> vote(),
    "soft vote": lambda a, b: vote(a, b, voting="soft"),
    "quorum": lambda a, b: quorum(1, a, b),
    "confidence": lambda a, b: cascade(a, b, until=confidence(0.9)),
    "agreement": lambda a, b: cascade(parallel(b, a), b, until=agreement(0.9)),
}

WRONG: dict[str, tuple[Any, str]] = {
    "a model after fewer features": (
        lambda: named(PCA(2).fit(X), "pca") >> named(logistic, "ask"),
        "model 'ask' was fitted on 4 features, and model 'pca' before it gives 2",
    ),
    "a model after probabilities": (
        lambda: named(logistic, "first", output="proba") >> named(logistic, "second"),
        "fitted on 4 features, and model 'first' before it gives 3",
    ),
    "a model after one value": (
        lambda: named(logistic, "first") >> named(logistic, "second"),
        "model 'first' before it gives one value a row: should they be side by side, in parallel",
    ),
    "a model after probabilities by other names": (
        lambda: named(words, "first", output="label_proba") >> named(meta, "second", features=["setosa", "rose"]),
        "takes 'setosa', 'rose', and model 'first' gives 'setosa', 'versicolor', 'virginica': 'rose' is not in both",
    ),
    "a model without names after a fan-out": (
        lambda: parallel(a=logistic, b=logistic) >> named(meta, "meta"),
        "was fitted without names, and the fan-out before it gives 'a', 'b' by name",
    ),
    "a model of other names after a fan-out": (
        lambda: parallel(a=logistic, b=logistic) >> named(meta, "meta", features=["a", "c"]),
        "model 'meta' takes 'a', 'c', and the fan-out before it gives 'a', 'b': 'c' is not in both",
    ),
    "a model of texts after a fan-out": (
        lambda: parallel(a=logistic, b=logistic) >> named(CountVectorizer().fit(["a bb"]), "words"),
        "model 'words' takes single values",
    ),
    "a vote of strangers": (
        lambda: vote(named(logistic, "numbers"), named(words, "words")),
        r"vote\(\): 'numbers' tells \[0, 1, 2\] apart and 'words' \['setosa'",
    ),
    "a vote of one that knows fewer": (
        lambda: vote(named(logistic, "a"), named(two, "b"), named(logistic, "c")),
        r"'a' tells \[0, 1, 2\] apart and 'b' \[False, True\]: fit them on the same classes",
    ),
    "a vote of strangers after a fan-out": (
        lambda: parallel(named(logistic, "numbers"), named(words, "words")) >> vote(),
        "name these alike",
    ),
    "a vote of probabilities": (
        lambda: vote(named(logistic, "a"), named(logistic, "b", output="proba")),
        r"'b' answers with output='proba', .*: leave output= out, or write .*voting='soft'",
    ),
    "a mean of labels": (
        lambda: average(named(words, "a"), named(words, "b")),
        r"average\(\) takes numbers, and 'a' answers with labels: .*output='label_proba'",
    ),
    "a mean of classes in another order": (
        lambda: average(named(logistic, "a", output="proba"), named(logistic, "b", output="proba", labels=[2, 1, 0])),
        "'a' and 'b' have the same classes in another order: give both output='label_proba'",
    ),
    "a mean of other classes": (
        lambda: (
            parallel(a=named(logistic, "a", output="label_proba"), b=named(two, "b", output="label_proba")) >> average()
        ),
        r"'a' tells \[0, 1, 2\] apart and 'b' \[False, True\]",
    ),
    "a mean of kinds": (
        lambda: average(named(logistic, "a", output="proba"), named(logistic, "b", output="label_proba")),
        "'a' answers with output='proba' and 'b' with 'label_proba'",
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_what_does_not_fit_is_refused_before_anything_runs(name: str) -> None:
    build, says = WRONG[name]
    with pytest.raises(PipelineError, match=says):
        Client(build())


RIGHT: dict[str, Any] = {
    "a scaler": lambda: named(StandardScaler().fit(X), "scale") >> named(logistic, "ask"),
    "a meta model": lambda: parallel(a=logistic, b=logistic) >> named(meta, "meta", features=["b", "a"]),
    "a vote of some labels": lambda: vote(
        named(logistic, "a"), named(LogisticRegression().fit(X[:100], y[:100]), "b") >> int, named(logistic, "c")
    ),
    "a vote with a function": lambda: vote(named(words, "a"), lambda row: "rose"),
    "a mean by label": lambda: average(
        named(logistic, "a", output="label_proba"),
        named(backwards, "b", output="label_proba", labels=[2, 1, 0]),
    ),
    "a mean of numbers": lambda: average(named(linear, "a"), named(linear, "b")),
}


@pytest.mark.parametrize("name", list(RIGHT))
async def test_what_fits_answers(name: str) -> None:
    async with Client(RIGHT[name]()) as client:
        assert len(await client.predict_many(X[:3])) == 3


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("name", list(SEVERAL))
async def test_a_classifier_of_several_targets_is_refused_where_labels_are_single(name: str) -> None:
    several = SEVERAL[name].fit(X, np.column_stack([y > 0, y > 1]).astype(int))
    with pytest.raises(ModelError, match="output='label_proba'"):
        model(several, output="label_proba")
    for build in BUILDS.values():
        with pytest.raises(PipelineError, match="is a classifier of several targets"):
            Pipeline(build(named(several, "a"), named(two, "b"))).plan()
    async with Client(model(several)) as client:
        assert np.array_equal(await client.predict_many(X[:3]), several.predict(X[:3]))


def test_a_composer_of_ones_own_may_check_its_members() -> None:
    """What is known of a node is known as the pipeline is built; of a function, nothing."""
    asked: list[Answers] = []

    @composer
    def strict(x: Node) -> Node:
        """Refuses every fan-out."""
        if isinstance(x, Pack):
            asked.extend(map(answers_of, x.inputs))
            raise PipelineError("not these")
        return x

    with pytest.raises(PipelineError, match="not these"):
        Client(parallel(a=words, b=len) >> strict())
    kinds = ("predict", "proba", "label_proba", "decision")
    assert asked == [Answers("predict", kinds, "classifier", tuple(WORDS.tolist()), 4), Answers()]


def test_what_passes_answers_on_is_seen_through() -> None:
    """Where all that can answer agree; else nothing is known."""

    def known(part: Pipeline[Any, Any]) -> Answers:
        return answers_of(part.plan().output)

    one, other = named(words, "one"), named(LogisticRegression(C=0.1).fit(X, WORDS[y]), "other")
    assert known(fallback(one, other)) == known(one)
    assert known(timeout(one, 1.0)) == known(one)
    assert known(fallback(one, named(logistic, "numbers"))) == Answers()
    assert known(fallback(one, len)) == Answers()
    assert known(named(linear, "linear")) == Answers("predict", ("predict",), "regressor", None, 4)
    assert answers_of(Call((Input(),), step=next(Pipeline(len).plan().steps()))) == Answers()
