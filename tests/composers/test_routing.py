"""Composers that send a row one way or another: switch and split."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import Counter
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from stretto import Client, Pipeline, model, parallel, step
from stretto.errors import InputError, PipelineError, StepError
from stretto.testing.check import check_composer
from stretto_composers import select, split, switch
from tests.cases import SETOSA, VIRGINICA, add_one, invert, iris_model


def same(x: Any) -> Any:
    return x


def user_of(row: Any) -> Any:
    return row["user"]


def two(weight: float = 0.5, **options: Any) -> Pipeline[Any, Any]:
    """A split whose parts say their names."""
    return split({"a": (lambda row: "a", 1 - weight), "b": (lambda row: "b", weight)}, **options)


async def said(pipeline: Pipeline[Any, Any], rows: Any) -> list[Any]:
    async with Client(pipeline) as client:
        return await client.predict_many(rows)


BUILDS: dict[str, Any] = {
    "split": lambda: split({same: 2, invert: 1}),
    "split by a key that fails": lambda: split({same: 1, add_one: 1}, key=invert),
    "split by a fan-out": lambda: parallel(a=invert, b=same) >> split({len: 1, select("a"): 1}, key="b"),
    "split in a split": lambda: split({split({same: 1, invert: 1}, salt="inner"): 1, add_one: 1}),
    "switch by a field": lambda: (lambda x: {"x": x} if x else {}) >> switch("x", {1: len}, default=len),
    "switch by a pipeline": lambda: switch(Pipeline(add_one) >> invert, {0.5: same, -1.0: invert}),
}


@pytest.mark.parametrize("name", BUILDS)
async def test_it_means_one_thing_alone_and_in_a_batch(name: str) -> None:
    await check_composer(BUILDS[name], [1, -2, 0, 3.5, None, 1, 13, "x", [1, 2]], ways=["local"])


@pytest.mark.parametrize(
    ("pipeline", "written"),
    [
        (split({same: 0.9, invert: 0.1}), "split({same: 0.9, invert: 0.1})"),
        (split({float: 1}, key="user", salt="s"), "split({float: 1}, key='user', salt='s')"),
        (split({"a": (same, 1), "b": (same, 2)}, user_of), "split({'a': (same, 1), 'b': (same, 2)}, user_of)"),
        (switch("kind", {1: same}, default=invert), "switch('kind', {1: same}, default=invert)"),
    ],
)
def test_it_prints_as_written(pipeline: Pipeline[Any, Any], written: str) -> None:
    assert repr(pipeline) == written
    assert repr(pickle.loads(cloudpickle.dumps(pipeline))) == written
    assert str(pipeline.plan()).startswith(written)


class TestSwitch:
    async def test_a_field_is_a_key_and_a_row_without_it_is_bad_input(self) -> None:
        async with Client(switch("kind", {"a": lambda row: row["x"]})) as client:
            assert await client.predict({"kind": "a", "x": 5}) == 5
            with pytest.raises(InputError, match="'kind' is missing; there is 'x'") as caught:
                await client.predict({"x": 5})
            assert caught.value.field == "kind"
            with pytest.raises(StepError, match=r"step 'switch' failed: KeyError: no case for the key 'b'.*cases: 'a'"):
                await client.predict({"kind": "b", "x": 5})

    @pytest.mark.parametrize(
        ("build", "says"),
        [
            (lambda: switch(same, {}), "at least one case"),
            (lambda: switch(same, [same]), "a dict from each key to its part"),
            (lambda: switch(7, {1: same}), "7 can't stand in a pipeline"),
            (lambda: switch(same, {1: 7}), "7 can't stand in a pipeline"),
            (lambda: switch(same, {float("nan"): same}), "a case for nan, which equals no key"),
            (
                lambda: switch(iris_model("svm"), {"setsoa": same}, default=same),
                "'setsoa', which the model never answers; it answers 'setosa', 'versicolor', 'virginica'",
            ),
            (
                lambda: switch(iris_model("svm"), {"setosa": same, "virginica": same}),
                "no case for 'versicolor', and no default; the model answers",
            ),
        ],
    )
    def test_what_can_not_be_right_is_refused_when_built(self, build: Any, says: str) -> None:
        with pytest.raises(PipelineError, match=says):
            build()

    def test_a_model_whose_answers_are_not_its_labels_is_left_alone(self) -> None:
        iris = load_iris()
        fitted = GaussianNB().fit(iris.data, iris.target)
        switch(model(fitted, output="proba"), {"x": same})
        switch(model(fitted), {0: same, 1: same, 2: same})
        switch(Pipeline(model(fitted)) >> str, {"0": same})

    async def test_the_case_a_row_took_is_in_its_trace(self) -> None:
        async with Client(switch(same, {1: abs}, default=float)) as client:
            for row, name in [(1, "switch/1"), (2, "switch/default")]:
                spans = (await client.trace(row)).spans
                assert [span.name for span in spans if span.kind == "case"] == [name]


# What keys go to, written down: a change here moves users of a running experiment from one part to the other.
ARMS = {
    "a": ["user-2", 2.5, -1e300, "é", ""],
    "b": [0, 1, 2, "user-1", b"user-1", [5.1, 3.5, 1.4, 0.2], {"a": 1, "b": [True, None]}, 10**30, float("nan")],
}


class TestSplit:
    @pytest.mark.parametrize("weights", [(0.9, 0.1), (1, 1), (5, 3), (0.99, 0.01)])
    @pytest.mark.parametrize("kind", ["whole", "text", "row"])
    async def test_each_part_gets_its_share_of_the_keys(self, weights: tuple[float, float], kind: str) -> None:
        """Of 20,000 keys within five standard deviations."""
        keys: Any = range(20_000)
        match kind:
            case "text":
                keys = [f"user-{i}" for i in keys]
            case "row":
                keys = np.random.default_rng(0).normal(size=(20_000, 3))
        parts = {"a": (lambda row: "a", weights[0]), "b": (lambda row: "b", weights[1])}
        share = weights[1] / sum(weights)
        found = (await said(split(parts), keys)).count("b")
        assert abs(found - 20_000 * share) < 5 * (20_000 * share * (1 - share)) ** 0.5

    async def test_a_key_goes_where_it_always_went(self) -> None:
        pipeline = split({"current": (lambda row: "a", 1), "candidate": (lambda row: "b", 1)})
        for arm, keys in ARMS.items():
            assert await said(pipeline, keys) == [arm] * len(keys)

    @pytest.mark.parametrize("seed", ["0", "1", "1234"])
    def test_it_goes_there_in_every_process(self, seed: str) -> None:
        """Whatever Python's own hashing does."""
        script = (
            "import asyncio; from stretto import Client; from stretto_composers import split\n"
            "parts = {'current': (lambda row: 'a', 1), 'candidate': (lambda row: 'b', 1)}\n"
            f"rows = {ARMS['a'] + ARMS['b'][:-1]!r}\n"
            "async def main():\n"
            "    async with Client(split(parts)) as client: print(''.join(await client.predict_many(rows)))\n"
            "asyncio.run(main())"
        )
        env = {**os.environ, "PYTHONHASHSEED": seed}
        found = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
        assert found.stdout.strip() == "a" * len(ARMS["a"]) + "b" * (len(ARMS["b"]) - 1), found.stderr

    @pytest.mark.parametrize(
        "equal",
        [
            [1, 1.0, np.int64(1), np.float32(1), True, np.array(1)],
            [[1, 2.5], (1.0, 2.5), np.array([1, 2.5]), np.array([1, 2.5], dtype=np.float32), [np.float64(1), 2.5]],
            [{"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}],
            [0.0, -0.0, 0],
            ["x", np.str_("x")],
        ],
    )
    async def test_equal_keys_go_one_way(self, equal: list[Any]) -> None:
        """Told by forty splits of different salts, since two ways are soon the same by chance."""
        for salt in map(str, range(40)):
            assert len({repr(each) for each in await said(two(salt=salt), equal)}) == 1

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
        st.recursive(st.integers() | st.text(), st.lists),
    )
    def test_keys_that_differ_are_spelled_otherwise(self, one: Any, other: Any) -> None:
        from stretto_composers._policies.keys import canonical

        assert (canonical(one) == canonical(other)) == (one == other)
        assert canonical([one, other]) != canonical([[one], other])

    async def test_more_weight_moves_keys_to_that_part_alone(self) -> None:
        """A canary that grows keeps its users, and users of the others stay with theirs."""
        parts = [(name, lambda row, name=name: name) for name in "abc"]

        async def arms(*weights: float) -> list[str]:
            named = {name: (part, weight) for (name, part), weight in zip(parts, weights, strict=True)}
            return await said(split(named), range(3000))

        before, after = await arms(5, 3, 2), await arms(5, 6, 2)
        moved = Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)
        assert set(moved) == {("a", "b"), ("c", "b")}
        assert await arms(50, 30, 20) == before
        assert "b" not in await arms(1, 0, 1)

    async def test_splits_are_independent_of_each_other(self) -> None:
        """One with another salt or other names, on the same keys, halves each half."""
        keys = range(4000)
        first = await said(two(), keys)
        for other in (two(salt="x"), split({"c": (lambda row: "a", 1), "d": (lambda row: "b", 1)})):
            together = Counter(zip(first, await said(other, keys), strict=True))
            assert all(abs(count - 1000) < 150 for count in together.values())

    async def test_it_sticks_to_the_key_whatever_else_the_row_says(self) -> None:
        rows = [{"user": user, "n": n} for user in range(20) for n in range(5)]
        for key in ("user", user_of, select("user")):
            answers = await said(two(key=key), rows)
            assert all(len(set(answers[i : i + 5])) == 1 for i in range(0, 100, 5))
            assert len(set(answers)) == 2

    async def test_a_row_without_a_key_fails(self) -> None:
        async with Client(two(key="user")) as client:
            with pytest.raises(InputError, match="'user' is missing"):
                await client.predict({})
            with pytest.raises(StepError, match="step 'split' failed: TypeError: the key is None"):
                await client.predict({"user": None})
        async with Client(two()) as client:
            with pytest.raises(StepError, match=r"not of a set"):
                await client.predict({1, 2})

    async def test_models_go_on_to_refuse_unknown_features(self) -> None:
        """The split reads the row as a whole, or one field: no other name becomes known by it."""
        models = {iris_model("svm"): 1, iris_model("logistic"): 1}
        async with Client(split(models)) as client:
            assert await client.predict(SETOSA) == "setosa"
            with pytest.raises(InputError, match="unknown feature 'colour'"):
                await client.predict({**SETOSA, "colour": 1.0})
        async with Client(split(models, key="user")) as client:
            assert await client.predict({**VIRGINICA, "user": "u"}) == "virginica"
            with pytest.raises(InputError, match="unknown feature 'colour'"):
                await client.predict({**SETOSA, "colour": 1.0, "user": "u"})

    async def test_the_arm_a_row_took_is_in_its_trace(self) -> None:
        async with Client(two()) as client:
            for row in range(8):
                trace = await client.trace(row)
                assert [span.name for span in trace.spans if span.kind == "case"] == [f"split/{trace.answer}"]

    async def test_the_other_parts_never_start(self) -> None:
        begun: list[tuple[str, int]] = []
        parts = {name: (step(lambda x, name=name: begun.append((name, x)) or name), 1) for name in "ab"}
        answers = await said(split(parts), range(50))
        assert sorted(begun) == sorted(zip(answers, range(50), strict=True))

    @pytest.mark.parametrize(
        ("build", "says"),
        [
            (lambda: split({}), "at least one part"),
            (lambda: split([same]), "a dict from each part to its weight"),
            (lambda: split({same: -1, abs: 2}), "gives 'same' the weight -1: a weight is a number, zero or more"),
            (lambda: split({same: 0, abs: 0.0}), "only weights of zero"),
            *(
                (lambda w=w: split({same: w, abs: 1}), "the weight .*: a weight is a number")
                for w in ("1", None, float("nan"), float("inf"), True, [1], 1j, 10**400)
            ),
            (lambda: split({"a": same}), r"for a named part give both, \{'a': \(part, weight\)\}"),
            (lambda: split({"a": (7, 1)}), "7 can't stand in a pipeline"),
            (lambda: split({7: 1}), "7 can't stand in a pipeline"),
            (lambda: split({same: 1, "same": (abs, 1)}), "two parts named 'same'"),
            (lambda: split({same: 1}, key=3), "3 can't stand in a pipeline"),
        ],
    )
    def test_what_can_not_be_right_is_refused_when_built(self, build: Any, says: str) -> None:
        with pytest.raises(PipelineError, match=says):
            build()

    async def test_estimators_and_models_are_parts(self) -> None:
        iris = load_iris()
        fitted = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
        pipeline = split({fitted: 1, model(fitted, name="named", labels=iris.target_names): 1})
        assert set(map(type, await said(pipeline, iris.data))) == {int, str}
        assert "'named': named" in str(pipeline.plan())
