"""Cascades, and the thresholds that calibration finds for them."""

from __future__ import annotations

import asyncio
import itertools
import pickle
from collections import Counter
from typing import Any

import cloudpickle
import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from stretto import Client, Pipeline, model, parallel, step
from stretto.errors import InputError, PipelineError, StepError
from stretto.testing.check import check_composer
from stretto_composers import agreement, average, calibrate, cascade, confidence, fallback
from stretto_composers._cascades.thresholds import Asked, curve_of, measured
from tests.cases import FEATURES, SETOSA, add_one, chances, invert, iris_model, later_chances


def thirds(x: float) -> dict[str, str]:
    """What three members say: all agree on the whole numbers, two on halves, none on others."""
    whole = x == int(x)
    return {"a": "x", "b": "x" if whole or 2 * x == int(2 * x) else "y", "c": "x" if whole else "z"}


def array_of(x: float) -> Any:
    return np.array([1 - x, x])


BUILDS: dict[str, Any] = {
    "confidence": lambda: cascade(chances, invert, until=confidence(0.9)),
    "confidence of tiers that wait": lambda: cascade(later_chances, add_one, until=confidence(0.9)),
    "confidence of arrays": lambda: cascade(array_of, chances, until=confidence(0.9)),
    "three tiers": lambda: cascade(chances, thirds, invert, until=[confidence(0.9), agreement(1)]),
    "the tiers' own answers": lambda: cascade(chances, array_of, invert, until=confidence(0.9), answer="tier"),
    "agreement": lambda: cascade(thirds, chances, until=agreement(0.6)),
    "agreement of a fan-out": lambda: cascade(parallel(a=invert, b=abs, c=float), thirds, until=agreement(0.6)),
    "a cascade in a cascade": lambda: cascade(
        chances, cascade(later_chances, invert, until=confidence(0.6), answer="tier"), until=confidence(0.9)
    ),
    "a tier that recovers": lambda: cascade(fallback(chances, lambda x: {"none": 0.0}), invert, until=confidence(0.9)),
}


@pytest.mark.parametrize("name", BUILDS)
async def test_it_means_one_thing_alone_and_in_a_batch(name: str) -> None:
    await check_composer(BUILDS[name], [0.05, 0.95, 0, 1, 0.5, 0.75, 13, "x", None, 0.3], ways=["local"])


@pytest.mark.parametrize(
    ("pipeline", "written"),
    [
        (cascade(chances, invert, until=confidence(0.9)), "cascade(chances, invert, until=confidence(0.9))"),
        (
            cascade(chances, thirds, invert, until=[confidence(0.9), agreement(1)], answer="tier"),
            "cascade(chances, thirds, invert, until=[confidence(0.9), agreement(1.0)], answer='tier')",
        ),
    ],
)
def test_it_prints_as_written(pipeline: Pipeline[Any, Any], written: str) -> None:
    assert repr(pipeline) == written
    assert repr(pickle.loads(cloudpickle.dumps(pipeline))) == written
    assert str(pipeline.plan()).startswith(written)


@pytest.mark.parametrize("least", [-0.1, 1.1, "0.9", None, float("nan"), float("inf"), True])
@pytest.mark.parametrize("test", [confidence, agreement])
def test_a_threshold_is_from_0_to_1(test: Any, least: Any) -> None:
    with pytest.raises(PipelineError, match=r"\(least\)=.*: it takes a fraction, from 0 to 1"):
        test(least)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: cascade(chances, until=confidence(0.9)), "at least two tiers, got 1"),
        (lambda: cascade(chances, abs, until=0.9), r"until=0.9\): give confidence\(0.9\) or agreement\(0.8\)"),
        (lambda: cascade(chances, abs, until=[]), "2 tiers and 0 tests"),
        (lambda: cascade(chances, abs, until=[confidence(0.9)] * 2), "2 tiers and 2 tests"),
        (lambda: cascade(chances, abs, until=confidence(0.9), answer="both"), "it is 'label' or 'tier'"),
        (lambda: cascade(chances, abs), "until"),
        (
            lambda: cascade(iris_model("svm"), abs, until=confidence(0.9)),
            r"tier 1, 'svm', answers no probabilities, which confidence\(0.9\) needs: write model\(..., output=",
        ),
        (
            lambda: cascade(chances, model(Ridge().fit(*load_diabetes(return_X_y=True))), abs, until=confidence(0.9)),
            "tier 2, 'ridge', answers numbers.*a regressor has none",
        ),
        (
            lambda: cascade(parallel(iris_model("svm"), iris_model("third")), abs, until=confidence(0.9)),
            r"is a fan-out of labels, .* use agreement\(\)",
        ),
        (
            lambda: cascade(iris_model("proba"), abs, until=agreement(0.9)),
            r"is one model, and agreement\(0.9\) needs the labels of several",
        ),
    ],
)
def test_what_can_not_be_right_is_refused_when_built(build: Any, says: str) -> None:
    with pytest.raises(PipelineError, match=says):
        build()


class TestCascade:
    async def test_only_rows_that_are_not_sure_go_on(self) -> None:
        """Counted: each tier sees in one go the rows that the tiers before it were not sure of."""
        seen: dict[str, list[list[float]]] = {"second": [], "third": []}

        def tier(name: str, fn: Any) -> Pipeline[Any, Any]:
            def column(rows: Any) -> Any:
                seen[name].append(list(rows))
                return [fn(row) for row in rows]

            return step(column, vectorized=True, name=name)

        pipeline = cascade(
            chances, tier("second", chances), tier("third", lambda x: "third"), until=[confidence(0.9), confidence(0.7)]
        )
        async with Client(pipeline) as client:
            answers = await client.predict_many([0.05, 0.5, 0.95, 0.75, 0.4, 0.1])
        assert answers == ["low", "third", "high", "high", "third", "low"]
        assert seen == {"second": [[0.5, 0.75, 0.4]], "third": [[0.5, 0.4]]}

    async def test_it_answers_labels_or_what_the_tier_said(self) -> None:
        async with Client(cascade(chances, array_of, invert, until=confidence(0.9), answer="tier")) as client:
            sure, unsure = await client.predict_many([1, 0.5])
            assert sure == {"low": 0, "high": 1}
            assert unsure == 2
        iris = load_iris()
        quick, slow = (
            GaussianNB().fit(iris.data, iris.target + 5),
            DecisionTreeClassifier().fit(iris.data, iris.target + 5),
        )
        for output, last in itertools.product(["proba", "label_proba"], ["predict", "proba", "label_proba"]):
            tiers = model(quick, output=output), model(slow, output=last)
            async with Client(cascade(*tiers, until=confidence(0.999))) as client:
                assert set(await client.predict_many(iris.data)) == {5, 6, 7}, (
                    "the classes' own labels, not their names"
                )

    async def test_the_answer_is_that_of_the_first_tier_that_is_sure(self) -> None:
        iris = load_iris()
        logistic = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
        tree = DecisionTreeClassifier(max_depth=2).fit(iris.data, iris.target)
        async with Client(cascade(model(logistic, output="proba"), model(tree), until=confidence(0.8))) as client:
            sure = logistic.predict_proba(iris.data).max(axis=1) >= 0.8
            expected = np.where(sure, logistic.predict(iris.data), tree.predict(iris.data))
            assert await client.predict_many(iris.data) == expected.tolist()

    @pytest.mark.parametrize(
        ("tier", "test"),
        [
            (lambda x: "setosa", confidence(0.5)),
            (lambda x: 0.9, confidence(0.5)),
            (lambda x: {"a": "b"}, confidence(0.5)),
            (lambda x: {}, confidence(0.5)),
            (lambda x: {"a": 3.2, "b": -1.0}, confidence(0.5)),
            (lambda x: [float("nan"), 1.0], confidence(0.5)),
            (step(lambda rows: np.full(len(rows), 0.9), vectorized=True), confidence(0.5)),
            (parallel(a=lambda x: "x", b=lambda x: "y"), confidence(0.5)),
            (lambda x: "setosa", agreement(0.5)),
            (lambda x: {"a": 0.9, "b": 0.1}, agreement(0.5)),
            (parallel(a=lambda x: [x], b=lambda x: 1), agreement(0.5)),
            (lambda x: {}, agreement(0.5)),
        ],
    )
    async def test_a_tier_that_answers_something_else_fails_its_rows(self, tier: Any, test: Any) -> None:
        async with Client(cascade(tier, lambda x: 0, until=test)) as client:
            for answer in await client.predict_many([1, 2], on_error="return"):
                assert isinstance(answer, StepError)
                assert answer.step == "cascade"
                assert answer.detail.startswith(f"{repr(test).partition('(')[0]}() takes")

    async def test_a_tier_that_fails_fails_its_rows_and_asks_nobody_else(self) -> None:
        asked: list[float] = []
        async with Client(cascade(lambda x: {"a": 1 / x}, asked.append, until=confidence(0.9))) as client:
            answers = await client.predict_many([1, 0], on_error="return")
        assert answers[0] == "a"
        assert (answers[1].step, answers[1].kind) == ("cascade/lambda", "ZeroDivisionError")
        assert asked == []

    async def test_what_is_refused_stays_bad_input_in_every_tier(self) -> None:
        """Tiers may read other features, and those of all are known."""
        iris = load_iris()
        few = LogisticRegression().fit(iris.data[:, 2:], iris.target)
        quick = model(few, name="quick", features=FEATURES[2:], output="label_proba")
        async with Client(cascade(quick, iris_model("svm"), until=confidence(1))) as client:
            assert await client.predict(SETOSA) == "setosa"
            with pytest.raises(InputError, match="model 'svm': the row lacks 'sepal length'"):
                await client.predict({name: SETOSA[name] for name in FEATURES[1:]})
            with pytest.raises(InputError, match="model 'quick': unknown feature 'colour'"):
                await client.predict({**SETOSA, "colour": 1})

    async def test_the_trace_tells_how_far_a_row_went(self) -> None:
        async with Client(cascade(chances, chances, invert, until=[confidence(0.9), confidence(0.7)])) as client:
            for row, tiers in [(0.95, "chances"), (0.8, "chances chances"), (0.5, "chances chances invert")]:
                spans = (await client.trace(row)).spans
                assert [span.name for span in spans if span.kind == "step"] == tiers.split()

    def test_handle_calls_are_counted(self) -> None:
        """The first tier always, the others where it is not sure."""
        explained = cascade(iris_model("proba"), iris_model("svm"), until=confidence(0.9)).plan().explain("split")
        assert explained.calls == (1, 2)

    @given(
        st.lists(st.tuples(*[st.sampled_from("xyz")] * 5), min_size=1, max_size=8),
        st.sampled_from([0.2, 0.4, 0.6, 0.8, 1.0]),
    )
    def test_agreement_is_the_share_of_the_commonest_label(self, rows: list[tuple[str, ...]], least: float) -> None:
        fan = parallel(**{f"m{i}": lambda row, i=i: row[i] for i in range(5)})

        async def main() -> Any:
            async with Client(cascade(fan, lambda row: "last", until=agreement(least))) as client:
                return await client.predict_many(rows)

        for row, answer in zip(rows, asyncio.run(main()), strict=True):
            label, count = min(Counter(row).items(), key=lambda each: (-each[1], each[0]))
            assert answer == (label if count / 5 >= least else "last")

    async def test_averaged_probabilities_are_probabilities(self) -> None:
        async with Client(cascade(average(chances, chances), abs, until=confidence(0.9))) as client:
            assert await client.predict_many([0.95, 0.5]) == ["high", 0.5]


def cancer() -> Any:
    """Two tiers fitted on one half of the data, and the other half."""
    data, target = load_breast_cancer(return_X_y=True)
    quick = LogisticRegression(max_iter=10_000).fit(data[::2, :2], target[::2])
    forest = RandomForestClassifier(30, random_state=0).fit(data[::2], target[::2])
    first = step(quick_columns, vectorized=True, name="first")
    return (
        first >> model(quick, name="quick", output="label_proba"),
        model(forest, name="forest"),
        data[1::2],
        target[1::2],
    )


def quick_columns(rows: Any) -> Any:
    return np.asarray(rows)[:, :2]


class TestCalibrate:
    async def test_the_pipeline_gives_what_the_point_says(self) -> None:
        """Run on the same rows: its accuracy, and the share of rows that reach the second tier."""
        quick, forest, rows, labels = cancer()
        asked: list[int] = []
        watched = step(lambda column: asked.append(len(column)) or column, vectorized=True, name="watch") >> forest
        found = await calibrate(cascade(quick, watched, until=confidence(0.5)), rows, labels, target=0.93)
        assert asked == [len(rows)], "each tier is asked about every row once"
        async with Client(found.pipeline) as client:
            answers = await client.predict_many(rows)
        assert np.mean(np.array(answers) == labels) == pytest.approx(found.accuracy)
        assert found.accuracy >= 0.93
        assert asked[1:] == [round(found.point.reached[1] * len(rows))]
        assert found.cost == pytest.approx(1 + found.point.reached[1])
        assert 0 < found.point.reached[1] < 1, "some rows stay, others go on"

    @given(
        st.lists(
            st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.9, 1.0]), st.booleans(), st.booleans()), min_size=1, max_size=12
        )
    )
    def test_of_two_tiers_no_threshold_is_better(self, rows: list[tuple[float, bool, bool]]) -> None:
        """Against trying all: nothing is as cheap and more accurate than the curve."""
        sure, first, last = (np.array(each) for each in zip(*rows, strict=True))
        asked = [Asked("first", sure, first, 0.0), Asked("last", None, last, 0.0)]
        curve = curve_of(asked, [1.0, 5.0])
        assert [each.cost for each in curve] == sorted({each.cost for each in curve})
        assert [each.accuracy for each in curve] == sorted({each.accuracy for each in curve})
        for least in [0.0, 0.55, 0.65, 0.8, 0.95, 1.0]:
            point = measured(asked, [1.0, 5.0], [least])
            assert any(each.accuracy >= point.accuracy and each.cost <= point.cost + 1e-9 for each in curve)

    @given(st.integers(0, 10_000))
    def test_of_three_tiers_the_curve_is_what_its_thresholds_give(self, seed: int) -> None:
        """On few rows every pair of thresholds is tried."""
        draw = np.random.default_rng(seed)
        asked = [
            *(Asked(name, draw.integers(0, 5, 12) / 5, draw.random(12) < 0.7, 0.0) for name in "ab"),
            Asked("c", None, draw.random(12) < 0.9, 0.0),
        ]
        costs = [1.0, 2.0, 4.0]
        curve = curve_of(asked, costs)
        for both in itertools.product([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0], repeat=2):
            point = measured(asked, costs, both)
            assert any(each.accuracy >= point.accuracy and each.cost <= point.cost + 1e-9 for each in curve)

    async def test_three_tiers_and_agreement(self) -> None:
        quick, forest, rows, labels = cancer()
        data, target = load_breast_cancer(return_X_y=True)
        trio = parallel(
            *(
                model(DecisionTreeClassifier(max_depth=d).fit(data[::2], target[::2]), name=f"tree{d}")
                for d in (1, 2, 3)
            )
        )
        start = cascade(quick, trio, forest, until=[confidence(0.5), agreement(0.5)])
        found = await calibrate(start, rows, labels, target=0.9, cost=[1, 3, 30])
        assert repr(found.pipeline).count("confidence") == 1
        assert repr(found.pipeline).count("agreement") == 1
        async with Client(found.pipeline) as client:
            assert np.mean(np.array(await client.predict_many(rows)) == labels) == pytest.approx(found.accuracy)
        assert found.cost < 1 + 3 + 30

    async def test_it_can_be_calibrated_again_and_keeps_what_it_answers(self) -> None:
        quick, forest, rows, labels = cancer()
        made = cascade(quick, forest, until=confidence(0.5), answer="tier")
        once = await calibrate(pickle.loads(cloudpickle.dumps(made)), rows, labels, target=0.93)
        again = await calibrate(once.pipeline, rows, labels, target=0.93)
        assert repr(again.pipeline) == repr(once.pipeline)
        assert repr(once.pipeline).startswith("cascade(first >> quick, forest, until=confidence(")
        assert repr(once.pipeline).endswith("answer='tier')")

    async def test_without_a_target_it_is_as_accurate_as_the_last_tier(self) -> None:
        quick, forest, rows, labels = cancer()
        found = await calibrate(cascade(quick, forest, until=confidence(0.5)), rows, labels)
        async with Client(forest) as client:
            alone = np.mean(np.array(await client.predict_many(rows)) == labels)
        assert found.target == pytest.approx(alone)
        assert found.accuracy >= alone
        assert found.cost < 2

    async def test_seconds_are_measured(self) -> None:
        quick, forest, rows, labels = cancer()
        found = await calibrate(cascade(quick, forest, until=confidence(0.5)), rows, labels, target=0.9, cost="seconds")
        assert all(point.cost > 0 for point in found.curve)
        assert "µs" in repr(found)

    async def test_it_prints_and_plots(self) -> None:
        mpl.use("Agg")
        quick, forest, rows, labels = cancer()
        found = await calibrate(cascade(quick, forest, until=confidence(0.5)), rows, labels, target=0.93)
        lines = repr(found).splitlines()
        assert lines[0] == repr(found.pipeline)
        assert "(target 0.93)" in lines[1]
        assert [line.split()[0] for line in lines[4:]].count("*") == 1
        assert found._repr_html_().count("<tr>") == len(lines) - 3
        axes = found.plot()
        assert axes.get_ylabel() == "accuracy"
        assert found.plot(axes) is axes
        mpl.pyplot.close(axes.figure)

    async def test_a_row_that_fails_is_raised_with_its_position(self) -> None:
        with pytest.raises(StepError, match="row 1: step 'lambda' failed: ZeroDivisionError"):
            await calibrate(cascade(lambda x: {"a": 1 / x}, abs, until=confidence(0.5)), [1, 0], ["a", "a"], target=1)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"y": ["low"]}, "3 rows in X and 1 labels in y"),
            ({"X": [], "y": []}, "0 rows in X"),
            ({"y": [0, 1, 2]}, "y and tier 'chances' have no label in common: y has 0, the tier says 'low'"),
            ({"target": 0}, r"calibrate\(target\)=0: it takes a fraction, above 0 and up to 1"),
            ({"target": 1.5}, "it takes a fraction, above 0 and up to 1"),
            ({"target": "0.9"}, "it takes a fraction, above 0 and up to 1"),
            ({"target": 1.0}, "no thresholds reach an accuracy of 1 on these 3 rows; the most is 0.6667"),
            ({"cost": "money"}, "it is 'rows', 'seconds', or a list of 2 numbers"),
            ({"cost": [1]}, "a list of 2 numbers"),
            ({"cost": [1, -1]}, "a list of 2 numbers"),
            ({"pipeline": Pipeline(chances)}, "calibrate.. takes a cascade, and got Pipeline.chances."),
            ({"pipeline": cascade(chances, chances, until=confidence(0.9)) >> str}, "before it becomes part of more"),
            ({"pipeline": Pipeline(abs) >> cascade(chances, chances, until=confidence(0.9))}, "takes a cascade"),
        ],
    )
    async def test_what_can_not_be_right_is_refused(self, change: dict[str, Any], says: str) -> None:
        given: dict[str, Any] = {
            "pipeline": cascade(chances, chances, until=confidence(0.9)),
            "X": [0.1, 0.9, 0.8],
            "y": ["low", "high", "low"],
            "target": 0.5,
        } | change
        pipeline = given.pop("pipeline")
        with pytest.raises(PipelineError, match=says):
            await calibrate(pipeline, given.pop("X"), given.pop("y"), **given)
