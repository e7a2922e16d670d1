"""Aggregating composers: what each says, what it refuses to be built of, and that it means one thing everywhere."""

from __future__ import annotations

import asyncio
import math
import warnings
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from stretto import Client, Pipeline, model, parallel, step
from stretto.errors import DeadlineExceeded, InputError, PipelineError, StepError
from stretto.testing import virtual_clock
from stretto.testing.check import check_composer
from stretto_composers import average, fallback, median, quorum, stack, vote, weighted


def half(x: float) -> float:
    return x / 2


def invert(x: float) -> float:
    return 1 / x


async def invert_later(x: float) -> float:
    await asyncio.sleep(0)
    return 1 / x


def sign(x: float) -> str:
    return "low" if 1 / x < 1 else "high"


def low(x: float) -> str:
    return "low"


async def high(x: float) -> str:
    await asyncio.sleep(0)
    return "high"


async def never(x: Any) -> Any:
    await asyncio.sleep(60)


def chances(x: float) -> dict[str, float]:
    return {"low": 1 / (1 + abs(x)), "high": 1 - 1 / (1 + abs(x))}


def other_chances(x: float) -> dict[str, float]:
    return {"high": 1 / (2 * x), "low": 1 - 1 / (2 * x)}


def odds(column: Any) -> Any:
    share = np.clip(np.asarray(column, dtype=float), 0, 1)
    return {"low": share, "high": 1 - share}


def pair(x: float) -> list[float]:
    return [x, 1 / x]


@cache
def iris_models(*kinds: str, **options: Any) -> tuple[Pipeline[Any, Any], ...]:
    x, y = load_iris(return_X_y=True)
    fitted: dict[str, Any] = {
        "logistic": LogisticRegression(max_iter=1000).fit(x, y),
        "bayes": GaussianNB().fit(x, y),
        "stump": DecisionTreeClassifier(max_depth=1).fit(x, y),
        "svm": LinearSVC().fit(x, y),
        "ridge": Ridge().fit(x, y),
        "two": GaussianNB().fit(x[:100], y[:100]),
    }
    return tuple(model(fitted[kind], name=kind, **options) for kind in kinds)


NUMBERS = [1, -2, 0, 3.5, 0, 1]
BUILDS: dict[str, Any] = {
    "soft vote": lambda: vote(chances, other_chances, step(odds, vectorized=True), voting="soft"),
    "soft vote of columns": lambda: vote(
        step(odds, vectorized=True), step(odds, name="more", vectorized=True), voting="soft"
    ),
    "soft vote after a function": lambda: (
        parallel(chances, other_chances) >> dict >> vote(voting="soft", weights=[1, 3])
    ),
    "weighted soft vote": lambda: vote(chances, other_chances, voting="soft", weights=[0.1, 0.7], tie=["high", "low"]),
    "vote, all asked": lambda: vote(sign, low, high, early_stop=False),
    "vote by a member": lambda: vote(sign, low, high, low, weights=[0, 1, 1, 0], tie="high"),
    "vote by a function": lambda: vote(low, high, sign, weights=[1, 1, 0], tie=max),
    "weighted": lambda: weighted(half, invert, invert_later, weights=[0.5, 1, 2]),
    "weighted by name": lambda: parallel(half, invert) >> weighted(weights={"half": 0.1}),
    "median": lambda: median(half, invert, invert_later, abs),
    "median of dicts": lambda: median(chances, other_chances),
    "median of lists": lambda: median(pair, lambda x: [1.0, 2.0], lambda x: [x, x]),
    "stack": lambda: stack(total, half, pair, chances, invert_later),
    "stack with the rows": lambda: (lambda x: [x, x]) >> stack(total, sum, len, passthrough=True),
    "quorum": lambda: quorum(2, sign, low, high),
    "quorum of all": lambda: quorum(3, sign, low, high),
    "quorum by weights": lambda: quorum(0.6, sign, low, high, weights=[0.2, 0.5, 0.3]),
    "quorum by a time": lambda: quorum(2, sign, low, high, by=30),
    "quorum reports": lambda: quorum(4, sign, low, high, low, by=30, answer="report"),
    "quorum after a function": lambda: parallel(sign, low, high) >> dict >> quorum(2),
    "aggregators in each other": lambda: vote(quorum(1, low), vote(sign, low, high), low),
}


def total(column: Any) -> float:
    return float(np.sum(column))


@pytest.mark.parametrize("name", BUILDS)
async def test_it_means_one_thing_alone_and_in_a_batch(name: str) -> None:
    await check_composer(BUILDS[name], NUMBERS, ways=["local"])


@pytest.mark.parametrize("name", BUILDS)
def test_it_prints_as_written(name: str) -> None:
    text = repr(BUILDS[name]())
    assert text.startswith(("vote(", "weighted(", "median(", "stack(", "quorum(", "parallel(", "lambda"))


def test_options_are_in_what_it_prints() -> None:
    built = vote(low, high, weights={"low": 2}, tie=["high", "low"], voting="soft", early_stop=False)
    assert repr(built) == "vote(low, high, weights={'low': 2}, tie=['high', 'low'], voting='soft', early_stop=False)"
    assert repr(quorum(2, low, high, by=0.5)) == "quorum(2, low, high, by=0.5)"
    assert repr(parallel(half, invert) >> stack(total)) == "parallel(half, invert) >> stack(total)"


class TestTie:
    async def told(self, tie: Any, labels: str, **options: Any) -> Any:
        members = [step(lambda x, label=label: label, name=f"m{i}") for i, label in enumerate(labels)]
        async with Client(vote(*members, tie=tie, **options)) as client:
            return await client.predict(1)

    async def test_the_first_in_order(self) -> None:
        assert await self.told("first", "ba") == "a"

    async def test_the_first_of_a_list(self) -> None:
        assert await self.told(["c", "b"], "abc") == "c"
        assert await self.told(["z"], "cab") == "a"

    async def test_the_one_a_member_gave(self) -> None:
        assert await self.told("m1", "abab") == "b"
        assert await self.told("m4", "ababc") == "a", "what it gave is not among them"

    async def test_what_a_function_gives(self) -> None:
        asked: list[tuple[str, ...]] = []
        assert await self.told(lambda tied: asked.append(tied) or tied[-1], "caab" + "c") == "c"
        assert asked == [("a", "c")]

    async def test_a_function_that_gives_something_else_fails_the_row(self) -> None:
        with pytest.raises(StepError, match=r"tie= chose 'z' of \('a', 'b'\)"):
            await self.told(lambda tied: "z", "ab")

    @pytest.mark.parametrize("tie", ["first", "stump", ["versicolor", "setosa", "virginica"], min])
    @pytest.mark.parametrize("early_stop", [True, False])
    async def test_it_holds_in_a_batch_as_for_a_row(self, tie: Any, early_stop: bool) -> None:
        x, _ = load_iris(return_X_y=True)
        models = iris_models("stump", "bayes", labels=("setosa", "versicolor", "virginica"))
        async with Client(vote(*models, tie=tie, early_stop=early_stop)) as client:
            together = await client.predict_many(x)
            assert [await client.predict(row) for row in x[::5]] == together[::5]

    async def test_a_tie_that_is_settled_needs_no_more_members(self) -> None:
        """Of two classes one has a vote, and no other can do more than tie: where it wins ties it has won."""
        asked: list[int] = []
        x, y = load_breast_cancer(return_X_y=True)

        class Watched(GaussianNB):
            def predict(self, X: Any) -> Any:
                asked.append(len(X))
                return super().predict(X)

        first = DecisionTreeClassifier(max_depth=1).fit(x, y)
        pipeline = vote(model(first, name="first"), model(Watched().fit(x, y), name="second"))
        async with Client(pipeline) as client:
            await client.predict_many(x)
        assert sum(asked) == (first.predict(x) == 1).sum()

    @pytest.mark.parametrize(
        ("tie", "says"),
        [
            ("nobody", "no member is named 'nobody'"),
            (7, "'first', a member's name, a list of labels in order, or a function"),
            (["a", "a"], "each label once"),
            ([["a"]], "each label once"),
            (high, "an 'async def' function"),
            (Pipeline(low), "not by a part"),
        ],
    )
    def test_what_settles_nothing_is_refused(self, tie: Any, says: str) -> None:
        with pytest.raises(PipelineError, match=says):
            vote(low, high, tie=tie)

    def test_a_label_that_no_model_has_is_refused(self) -> None:
        with pytest.raises(PipelineError, match=r"no member says 'rose'; they say \['a', 'b', 'c'\]"):
            vote(*iris_models("bayes", "stump", labels=("a", "b", "c")), tie=["rose"])


class TestEarlyStop:
    @given(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
        st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0, 2.0]), min_size=6, max_size=6),
        st.sampled_from(["first", ["b", "a"], "m0", max]),
    )
    def test_it_changes_no_label(self, said: list[str], weights: list[float], tie: Any) -> None:
        """Of labels, with any weights and any rule for ties."""
        if not sum(weights[: len(said)]):
            weights[0] = 1.0
        members = [step(lambda x, label=label: label, name=f"m{i}") for i, label in enumerate(said)]
        assert len(set(_both(members, weights=weights[: len(said)], tie=tie))) == 1

    @given(
        st.lists(st.tuples(*[st.integers(0, 10)] * 3).filter(any), min_size=1, max_size=5),
        st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0]), min_size=5, max_size=5),
        st.booleans(),
    )
    def test_it_changes_no_label_of_probabilities(
        self, parts: list[tuple[int, ...]], weights: list[float], narrow: bool
    ) -> None:
        """Of probabilities, ties and single precision included."""
        if not sum(weights[: len(parts)]):
            weights[0] = 1.0
        kind = np.float32 if narrow else np.float64

        def member(i: int, shares: tuple[int, ...]) -> Pipeline[Any, Any]:
            own = {label: kind(share / sum(shares)) for label, share in zip("abc", shares, strict=True)}
            return step(
                lambda column: {label: np.full(len(column), share) for label, share in own.items()},
                name=f"m{i}",
                vectorized=True,
            )

        members = [member(i, shares) for i, shares in enumerate(parts)]
        assert len(set(_both(members, weights=weights[: len(parts)], voting="soft"))) == 1

    async def test_soft_members_that_can_not_change_it_are_not_asked(self) -> None:
        calls: list[str] = []

        def sure(name: str, share: float) -> Pipeline[Any, Any]:
            return step(lambda x: calls.append(name) or {"a": share, "b": 1 - share}, name=name)

        members = (sure("one", 0.9), sure("two", 0.8), sure("three", 0.0))
        async with Client(vote(*members, voting="soft")) as client:
            assert await client.predict(1) == "a"
            assert calls == ["one", "two"]
        async with Client(vote(*members, voting="soft", early_stop=False)) as client:
            await client.predict(1)
            assert calls[2:] == ["one", "two", "three"]

    async def test_or_are_cancelled(self) -> None:
        async def sure(x: Any) -> dict[str, float]:
            return {"a": 1.0, "b": 0.0}

        async with Client(vote(never, sure, step(sure, name="too"), voting="soft")) as client:
            assert await asyncio.wait_for(client.predict(1), 5) == "a"


def _both(members: list[Pipeline[Any, Any]], **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        answers: list[Any] = []
        for early_stop in (True, False):
            async with Client(vote(*members, early_stop=early_stop, **options)) as client:
                answers += [await client.predict(1), *await client.predict_many([1, 2])]
        return answers

    return asyncio.run(main())


class TestSoftVote:
    async def test_models_are_asked_for_probabilities(self) -> None:
        """Whatever their output is, the label is one of the classes as the model names them."""
        x, _ = load_iris(return_X_y=True)
        expected = None
        for output in ("predict", "proba", "label_proba"):
            models = iris_models("logistic", "bayes", output=output)
            async with Client(parallel(*models) >> vote(voting="soft")) as client:
                answers = await client.predict_many(x[::9])
            assert set(map(type, answers)) == {int}
            assert answers == (expected or answers)
            expected = answers

    async def test_also_inside_of_what_passes_answers_on(self) -> None:
        x, _ = load_iris(return_X_y=True)
        logistic, bayes, stump = iris_models("logistic", "bayes", "stump", labels=("a", "b", "c"))
        async with Client(vote(fallback(logistic, stump), bayes, voting="soft")) as client:
            wrapped = await client.predict_many(x[::9])
        async with Client(vote(logistic, bayes, voting="soft")) as client:
            assert await client.predict_many(x[::9]) == wrapped

    async def test_a_compiled_model_stays_one(self) -> None:
        """Its probabilities are computed where its labels were."""
        x, y = load_iris(return_X_y=True)
        fitted = LogisticRegression(max_iter=1000).fit(x, y)
        compiled = vote(model(fitted, name="one", engine="onnx"), *iris_models("bayes"), voting="soft")
        assert "ONNX Runtime" in repr(compiled.plan())
        async with Client(compiled) as client:
            answers = await client.predict_many(x)
        async with Client(vote(*iris_models("logistic", "bayes"), voting="soft")) as client:
            assert await client.predict_many(x) == answers

    async def test_a_function_may_vote_beside_models(self) -> None:
        """It answers by the labels, or by their text as models do."""
        x, _ = load_iris(return_X_y=True)
        for keys in ((0, 1, 2), ("0", "1", "2")):
            sure = step(lambda row, keys=keys: dict(zip(keys, (0.0, 0.0, 1.0), strict=True)), name="sure")
            async with Client(vote(*iris_models("bayes"), sure, voting="soft", weights=[1, 5])) as client:
                assert await client.predict_many(x[:2]) == [2, 2]

    async def test_classes_in_another_order_are_aligned(self) -> None:
        x, y = load_iris(return_X_y=True)
        names = np.array(["setosa", "versicolor", "virginica"])
        other = GaussianNB().fit(x, 2 - y)
        one = model(GaussianNB().fit(x, y), name="one", labels=names)
        two = model(other, name="two", labels=names[::-1])
        async with Client(vote(one, two, voting="soft")) as client:
            assert await client.predict_many(x) == names[one_says(x, y)].tolist()

    @pytest.mark.parametrize(
        ("answer", "says"),
        [
            ("label", "a model gives it with output='label_proba'"),
            ({"low": 2.0, "high": 0.0}, "numbers from 0 to 1"),
            ({"low": math.nan, "high": 0.0}, "numbers from 0 to 1"),
            ({"low": "1", "high": "0"}, "probabilities are numbers"),
            ({"low": 1.0}, r"'odd' gives probabilities of \['low'\]"),
        ],
    )
    async def test_what_is_no_probability_fails_the_row(self, answer: Any, says: str) -> None:
        async with Client(vote(chances, step(lambda x: answer, name="odd"), voting="soft")) as client:
            with pytest.raises(StepError, match=f"step 'vote' failed: .*{says}"):
                await client.predict(1)

    @pytest.mark.parametrize(
        ("members", "says"),
        [
            (lambda: iris_models("bayes", "svm"), "'svm' has no predict_proba: .*CalibratedClassifierCV"),
            (lambda: iris_models("bayes", "ridge"), "'ridge' is a regressor, which has no probabilities"),
            (
                lambda: (*iris_models("bayes"), *iris_models("svm", output="decision")),
                "'svm' has no predict_proba",
            ),
            (
                lambda: (*iris_models("bayes"), *iris_models("logistic", output="decision")),
                "'logistic' answers with output='decision'",
            ),
            (lambda: iris_models("bayes", "two"), r"'bayes' tells \[0, 1, 2\] apart and 'two' \[0, 1\]"),
        ],
    )
    def test_models_without_the_same_probabilities_are_refused(self, members: Any, says: str) -> None:
        for build in (lambda: vote(*members(), voting="soft"), (parallel(*members()) >> vote(voting="soft")).plan):
            with pytest.raises(PipelineError, match=says):
                build()


def one_says(x: Any, y: Any) -> Any:
    return GaussianNB().fit(x, y).predict(x)


class TestHardVote:
    @pytest.mark.parametrize(
        ("members", "says"),
        [
            (lambda: iris_models("bayes", "ridge"), r"'ridge' is a regressor, .* use average\(\) or median\(\)"),
            (
                lambda: iris_models("bayes", "stump", output="proba"),
                "'bayes' answers with output='proba'.*voting='soft'",
            ),
            (
                lambda: (*iris_models("bayes"), *iris_models("stump", labels=("a", "b", "c"))),
                r"'bayes' tells \[0, 1, 2\] apart and 'stump' \['a', 'b', 'c'\]: .*labels=",
            ),
        ],
    )
    def test_models_without_the_same_labels_are_refused(self, members: Any, says: str) -> None:
        for build in (lambda: vote(*members()), (parallel(*members()) >> vote()).plan):
            with pytest.raises(PipelineError, match=says):
                build()

    def test_its_kind_is_one_of_two(self) -> None:
        with pytest.raises(PipelineError, match=r"vote\(voting='loud'\): it is 'hard' or 'soft'"):
            vote(low, voting="loud")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([1, -1], "weight 2 is -1; give a finite number, zero or more"),
        ([1, math.nan], "weight 2 is nan"),
        ([math.inf, 1], "weight 1 is inf"),
        ([True, 1], "weight 1 is True"),
        (["1", 1], "weight 1 is '1'"),
        ([0, 0.0], "all weights are zero"),
        ([1], r"1 weights for 2 members, \['low', 'high'\]"),
        ([1, 2, 3], "3 weights for 2 members"),
        ({"low": 0, "high": 0}, "all weights are zero"),
        ({"low": -2}, "the weight of 'low' is -2"),
        ({"lwo": 2}, r"no member is named 'lwo'; they are \['low', 'high'\]"),
        (2, "a dict of branch name to weight, or a list"),
        ({1, 2}, "a dict of branch name to weight, or a list"),
        ("12", "a dict of branch name to weight, or a list"),
    ],
)
@pytest.mark.parametrize("compose", [vote, weighted, lambda *args, **named: quorum(1, *args, **named)])
def test_weights_that_weigh_nothing_are_refused(compose: Any, weights: Any, says: str) -> None:
    """In both spellings, and by the composer's name."""
    for build in (
        lambda: compose(low, high, weights=weights),
        lambda: (parallel(low, high) >> compose(weights=weights)).plan(),
    ):
        with pytest.raises(PipelineError, match=r"(vote|weighted|quorum)\(weights=.*" + says):
            build()


class TestMeans:
    def test_weighted_needs_weights(self) -> None:
        with pytest.raises(PipelineError, match=r"weighted\(\): missing a required .*'weights'"):
            weighted(half, invert)  # type: ignore[call-arg]
        with pytest.raises(PipelineError, match=r"or use average\(\)"):
            weighted(half, invert, weights=None)  # type: ignore[arg-type]

    async def test_one_far_off_moves_a_median_no_further(self) -> None:
        async with Client(median(lambda x: 1.0, lambda x: 2.0, lambda x: 1e9)) as client:
            assert await client.predict(0) == 2.0

    async def test_nan_stays_nan(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            async with Client(median(lambda x: 1.0, lambda x: math.nan)) as client:
                assert math.isnan(await client.predict(0))

    @pytest.mark.parametrize("compose", [average, median, lambda *args: weighted(*args, weights=[1, 2])])
    @pytest.mark.parametrize(
        ("members", "says"),
        [
            (
                lambda: iris_models("bayes", "stump", labels=("a", "b", "c")),
                r"'bayes' answers with labels: .*'label_proba'.*vote\(\)",
            ),
            (
                lambda: (*iris_models("bayes", output="proba"), *iris_models("stump", output="label_proba")),
                "'bayes' answers with output='proba' and 'stump' with 'label_proba'",
            ),
            (
                lambda: iris_models("bayes", "two", output="proba"),
                r"'bayes' tells \[0, 1, 2\] apart and 'two' \[0, 1\]",
            ),
            (
                lambda: (
                    *iris_models("bayes", output="proba", labels=("a", "b", "c")),
                    *iris_models("stump", output="proba", labels=("c", "b", "a")),
                ),
                "the same classes in another order: give both output='label_proba'",
            ),
        ],
    )
    def test_what_has_no_mean_is_refused(self, compose: Any, members: Any, says: str) -> None:
        for build in (lambda: compose(*members()), lambda: (parallel(*members()) >> _behind(compose)).plan()):
            with pytest.raises(PipelineError, match=r"(average|median|weighted)\(\)?:? ?.*" + says):
                build()


def _behind(compose: Any) -> Any:
    return weighted(weights=[1, 2]) if compose not in (average, median) else compose()


class TestStack:
    async def test_the_answers_are_its_features_in_order(self) -> None:
        seen: list[Any] = []
        meta = step(lambda row: seen.append(row.tolist()), name="meta")
        async with Client(stack(meta, half, pair, chances)) as client:
            await client.predict(2)
        assert seen == [pytest.approx([1, 2, 0.5, 1 / 3, 2 / 3])]

    async def test_of_two_probabilities_it_gets_the_second(self) -> None:
        x, y = load_breast_cancer(return_X_y=True)
        fitted = GaussianNB().fit(x, y)
        for output in ("predict", "proba", "label_proba"):
            member = model(fitted, name="bayes", labels=("a", "b"), output=output)
            async with Client(stack(lambda row: row.tolist(), member)) as client:
                assert await client.predict(x[0]) == [pytest.approx(fitted.predict_proba(x[:1])[0, 1])]

    async def test_rows_come_in_the_order_of_the_model(self) -> None:
        """Named features too, and after a step that both spellings have in front of the fan-out."""
        x, y = load_iris(return_X_y=True)
        names = ["a", "b", "c", "d"]
        member = model(LinearRegression().fit(x, y), name="linear", features=names)
        row = dict(zip(reversed(names), [4.0, 3.0, 2.0, 1.0], strict=True))
        last = lambda table: table[1:].tolist()  # noqa: E731
        for pipeline in (
            stack(last, member, passthrough=True),
            parallel(member, other=lambda row: 0.0) >> stack(lambda table: table[2:].tolist(), passthrough=True),
        ):
            async with Client(pipeline) as client:
                assert await client.predict(row) == [1.0, 2.0, 3.0, 4.0]
                with pytest.raises(InputError):
                    await client.predict({**row, "a": "many"})

    async def test_it_is_the_fan_outs_value_that_passes(self) -> None:
        def negate(row: list[float]) -> list[float]:
            return [-each for each in row]

        async with Client(
            Pipeline(negate) >> parallel(sum, len) >> stack(lambda table: table.tolist(), passthrough=True)
        ) as client:
            assert await client.predict([1, 2]) == [-3, 2, -1, -2]

    async def test_what_is_no_number_fails_the_row(self) -> None:
        async with Client(stack(total, half, step(lambda x: "much" if x else 1, name="odd"))) as client:
            answers = await client.predict_many([0, 1], on_error="return")
        assert answers[0] == 1.0
        assert (answers[1].step, answers[1].kind) == ("stack", "TypeError")
        assert "'odd' answers 'much'" in answers[1].detail

    @pytest.mark.parametrize(
        ("build", "says"),
        [
            (lambda: stack(total, *iris_models("ridge"), method="predict_proba"), "'ridge' has no predict_proba"),
            (lambda: stack(total, half, method="proba"), "it is 'auto', 'predict_proba'"),  # type: ignore[arg-type]
            (
                lambda: stack(*iris_models("stump", "bayes", "logistic")),
                "'stump' was fitted on 4 features, and the members give 6: 'bayes' 3, 'logistic' 3",
            ),
            (
                lambda: (parallel(half) >> dict >> stack(total, passthrough=True)).plan(),
                "needs its members",
            ),
            (
                lambda: (parallel(Pipeline(half) >> half) >> stack(total, passthrough=True)).plan(),
                "can't tell what its one member was given",
            ),
            (lambda: stack(LinearRegression(), half), "not fitted"),
        ],
    )
    def test_what_can_not_work_is_refused(self, build: Any, says: str) -> None:
        with pytest.raises(PipelineError, match=says):
            build()


def now() -> float:
    return asyncio.get_running_loop().time()


def jumping(pipeline: Pipeline[Any, Any], work: Callable[[Client[Any, Any]], Awaitable[Any]]) -> Any:
    """Return what comes of work with a client of the pipeline, on a clock that jumps to the next timer."""

    async def main() -> Any:
        async with Client(pipeline) as client:
            return await work(client)

    with virtual_clock() as clock:
        return clock.run(main())


class TestQuorum:
    async def test_the_others_are_cancelled_once_enough_agree(self) -> None:
        cancelled = asyncio.Event()

        async def slow(x: Any) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        for by in (None, 50):
            async with Client(quorum(2, slow, low, high, step(low, name="more"), by=by)) as client:
                assert await client.predict(1, timeout=5) == "low"
                assert cancelled.is_set()
                cancelled.clear()

    async def test_a_row_without_one_fails_and_says_who_said_what(self) -> None:
        async with Client(quorum(2, low, high, invert)) as client:
            with pytest.raises(StepError, match="NoQuorum: it takes 2 that agree; low said 'low', high said 'high'"):
                await client.predict(1)
            with pytest.raises(StepError, match="invert failed: step 'invert' failed: ZeroDivisionError"):
                await client.predict(0)

    def test_by_a_time_it_is_the_best_of_what_has_arrived(self) -> None:
        async def main(client: Client[Any, Any]) -> Any:
            return await client.predict(1), await client.predict_many([1, 2]), now()

        members = (never, low, high, step(low, name="more"))
        expected = {
            "answer": "low",
            "share": pytest.approx(2 / 3),
            "agree": ["low", "more"],
            "differ": ["high"],
            "failed": [],
            "missing": ["never"],
        }
        told = jumping(quorum(3, *members, by=0.5, answer="report"), main)
        assert told == (expected, [expected, expected], 1.0), "at the time, once for all rows of a batch"

    def test_where_nobody_has_answered_by_then_it_is_late(self) -> None:
        async def main(client: Client[Any, Any]) -> float:
            with pytest.raises(DeadlineExceeded, match="deadline exceeded in quorum, without an answer of never, too"):
                await client.predict(1)
            return now()

        assert jumping(quorum(1, never, step(never, name="too"), by=20), main) == 20

    def test_it_does_not_wait_for_a_time_once_all_are_in(self) -> None:
        """The timer is cancelled with the request, and leaves no task."""

        async def main(client: Client[Any, Any]) -> Any:
            said = await client.predict(0), await client.predict_many([0, 0])
            return *said, now(), len(asyncio.all_tasks())

        assert jumping(quorum(2, low, high, invert, by=3600), main) == ("high", ["high", "high"], 0, 1)

    def test_its_time_starts_with_the_members(self) -> None:
        """What stands in front of the fan-out takes none of it, in either spelling."""

        async def front(x: Any) -> Any:
            await asyncio.sleep(100)
            return x

        async def main(client: Client[Any, Any]) -> Any:
            return await client.predict(1), now()

        members = (low, never, step(never, name="too"))
        for rest in (quorum(2, *members, by=3), parallel(*members) >> quorum(2, by=3)):
            assert jumping(Pipeline(front) >> rest, main) == ("low", 103)

    def test_the_callers_own_deadline_holds(self) -> None:
        async def main(client: Client[Any, Any]) -> float:
            with pytest.raises(DeadlineExceeded):
                await client.predict(1, timeout=2)
            return now()

        assert jumping(quorum(2, low, never, by=3600), main) == 2

    async def test_a_refused_request_stays_refused(self) -> None:
        def refuse(x: Any) -> Any:
            raise InputError("no")

        for by in (None, 30):
            async with Client(quorum(2, refuse, low, high, by=by)) as client:
                if by is None:
                    with pytest.raises(InputError):
                        await client.predict(1)
                else:
                    assert await client.predict(1) == "high", "by a time it is the best there is"

    async def test_a_timer_reads_no_feature(self) -> None:
        """A model beside it goes on refusing features that it does not know."""
        x, y = load_iris(return_X_y=True)
        member = model(GaussianNB().fit(x, y), name="bayes", features=["a", "b", "c", "d"])
        async with Client(quorum(1, member, by=30)) as client:
            with pytest.raises(InputError, match="e"):
                await client.predict({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 1.0})

    @pytest.mark.parametrize(
        ("build", "says"),
        [
            (lambda: quorum(3, low, high), r"there are 2 members, \['low', 'high'\], so it could never be reached"),
            (lambda: (parallel(low, high) >> quorum(3)).plan(), "there are 2 members"),
            (lambda: quorum(0, low), "a whole number from 1 on"),
            (lambda: quorum(-1), "a whole number from 1 on"),
            (lambda: quorum(1.5, low, high), "a whole number from 1 on"),
            (lambda: quorum(True, low), "a whole number from 1 on"),
            (lambda: quorum(low, high), r"members go behind it, as in quorum\(2, a, b, c\)"),  # type: ignore[arg-type]
            (lambda: quorum(4, low, high, weights=[1, 2]), "there are 3 votes"),
            (lambda: quorum(1, low, by=0), "it takes seconds, more than 0"),
            (lambda: quorum(1, low, by=math.inf), "it takes seconds, more than 0"),
            (lambda: quorum(1, low, answer="all"), "'label' or 'report'"),  # type: ignore[arg-type]
            (lambda: quorum(1, *iris_models("ridge")), "'ridge' is a regressor"),
            (lambda: (parallel(low) >> dict >> quorum(1, by=1)).plan(), "needs its members"),
        ],
    )
    def test_what_could_never_be_is_refused(self, build: Any, says: str) -> None:
        with pytest.raises(PipelineError, match=says):
            build()
