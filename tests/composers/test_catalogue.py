"""The catalogue: each composer means one thing everywhere, and what its page says."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from stretto import Client, Pipeline, model, parallel, step
from stretto.errors import InputError, PipelineError, StepError
from stretto.testing.check import check_composer
from stretto_composers import average, fallback, race, switch, vote
from tests.plans import beside, each, gather, within


def half(x: float) -> float:
    return x / 2


def invert(x: float) -> float:
    return 1 / x


async def invert_later(x: float) -> float:
    await asyncio.sleep(0)
    return 1 / x


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def refuse(x: float) -> float:
    if x > 2:
        raise InputError(f"{x} is too much")
    return x


def inverses(column: Any) -> Any:
    return np.array([1 / x for x in column])


BUILDS: dict[str, Any] = {
    "vote": lambda: vote(sign, lambda x: 1, invert_later),
    "vote of members that fail": lambda: vote(invert, invert, sign, invert_later, sign, sign),
    "vote after a fan-out": lambda: parallel(a=sign, b=lambda x: 1, c=invert) >> vote(weights={"a": 2}),
    "average": lambda: average(half, invert, invert_later),
    "average of columns": lambda: average(step(inverses, vectorized=True), half),
    "average after a fan-out": lambda: parallel(a=half, b=invert) >> average(),
    "average of dicts": lambda: average(lambda x: {"a": x, "b": [x, 1.0]}, lambda x: {"a": 1 / x, "b": [x, 3.0]}),
    "switch": lambda: switch(sign, {1: invert, -1: invert_later}),
    "switch with a default": lambda: switch(sign, {1: half}, default=invert),
    "switch by a key that fails": lambda: switch(invert, {1.0: half}, default=half),
    "fallback": lambda: fallback(invert, half),
    "fallback in a fallback": lambda: fallback(fallback(invert, invert_later), lambda x: "none"),
    "fallback of what refuses": lambda: fallback(refuse, half),
    "race": lambda: race(lambda x: 1 / x, invert),
    "race of one that can win": lambda: race(lambda x: 1 / 0, half),
    "each": lambda: (lambda x: [x, x - 1]) >> each(fallback(invert, half)),
    "within": lambda: within(average(invert, half)),
    "beside": lambda: beside(invert) >> half,
    "gather": lambda: gather(invert, half, invert_later, need=2),
}


@pytest.mark.parametrize("name", BUILDS)
async def test_it_means_one_thing_alone_and_in_a_batch(name: str) -> None:
    await check_composer(BUILDS[name], [1, -2, 0, 3.5, 0, 1], ways=["local"])


class TestCheckComposer:
    async def test_it_finds_a_meaning_that_depends_on_the_batch(self) -> None:
        def centered(column: Any) -> Any:
            return np.asarray(column) - np.mean(column)

        with pytest.raises(AssertionError, match=r"local, in a batch: 1 gives -0.5, and by the oracle 0.0"):
            await check_composer(lambda: step(centered, vectorized=True), [1, 2], ways=["local"])

    async def test_it_knows_its_ways(self) -> None:
        with pytest.raises(ValueError, match="way='moon'"):
            await check_composer(lambda: Pipeline(half), [1], ways=["moon"])


class TestVote:
    @pytest.mark.parametrize("weights", [None, [2, 1, 1], [0.2, 0.5, 0.3]])
    async def test_it_is_scikit_learns(self, weights: list[float] | None) -> None:
        x, y = load_iris(return_X_y=True)
        members = [
            ("lr", LogisticRegression(C=0.01)),
            ("nb", GaussianNB()),
            ("tree", DecisionTreeClassifier(max_depth=1)),
        ]
        whole = VotingClassifier(members, voting="hard", weights=weights).fit(x, y)
        models = [model(fitted, name=name) for (name, _), fitted in zip(members, whole.estimators_, strict=True)]
        expected = whole.predict(x).tolist()
        for pipeline in (vote(*models, weights=weights), parallel(*models) >> vote(weights=weights)):
            async with Client(pipeline) as client:
                assert await client.predict_many(x) == expected

    @pytest.mark.parametrize("spelled", [vote, lambda *members: parallel(*members) >> vote()])
    async def test_it_stops_once_the_label_is_certain(self, spelled: Any) -> None:
        calls: list[str] = []

        def says(name: str, label: str) -> Pipeline[Any, Any]:
            return step(lambda x: calls.append(name) or label, name=name)

        async with Client(spelled(says("a", "yes"), says("b", "yes"), says("c", "no"))) as client:
            assert await client.predict(1) == "yes"
            assert calls == ["a", "b"]

    async def test_only_the_rows_that_are_open_go_on(self) -> None:
        seen: list[int] = []
        third = step(lambda x: seen.append(x) or 0, name="third")
        async with Client(vote(lambda x: x % 2, lambda x: 0, third)) as client:
            assert await client.predict_many(range(6)) == [0] * 6
        assert seen == [1, 3, 5]

    async def test_members_that_are_not_needed_are_cancelled(self) -> None:
        cancelled = asyncio.Event()

        async def slow(x: Any) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async def quick(x: Any) -> Any:
            return "yes"

        async with Client(vote(slow, quick, quick)) as client:
            assert await asyncio.wait_for(client.predict(1), 5) == "yes"
            assert cancelled.is_set()

    async def test_a_tie_goes_to_the_label_that_sorts_first(self) -> None:
        async with Client(vote(lambda x: "b", lambda x: "a")) as client:
            assert await client.predict(1) == "a"

    @given(
        st.lists(st.sampled_from(["a", "b", "c", "fails"]), min_size=1, max_size=6),
        st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0]), min_size=6, max_size=6),
        st.randoms(use_true_random=False),
    )
    def test_the_order_of_arrival_decides_nothing(
        self, said: list[str], weights: list[float], r: random.Random
    ) -> None:
        """Whatever comes first, and whoever fails: the row's outcome is the same."""
        if not sum(weights[: len(said)]):
            weights[0] = 1.0

        def member(i: int, label: str, delay: int) -> Pipeline[Any, Any]:
            async def say(x: Any) -> str:
                for _ in range(delay):
                    await asyncio.sleep(0)
                if label == "fails":
                    raise ValueError(i)
                return label

            return step(say, name=f"m{i}")

        async def outcome(delays: list[int]) -> Any:
            members = [member(i, label, delay) for i, (label, delay) in enumerate(zip(said, delays, strict=True))]
            async with Client(vote(*members, weights=weights[: len(said)])) as client:
                (answer,) = await client.predict_many([1], on_error="return")
                return repr(answer)

        async def main() -> set[str]:
            orders = [list(range(len(said))), list(range(len(said)))[::-1], r.sample(range(len(said)), len(said))]
            return {await outcome(delays) for delays in orders}

        assert len(asyncio.run(main())) == 1

    @pytest.mark.parametrize("others", [["no"], [], ["yes", "no", "no"]])
    async def test_a_failure_that_could_have_changed_the_label_fails_the_row(self, others: list[str]) -> None:
        others_say = [step(lambda x, said=said: said, name=f"m{i}") for i, said in enumerate(others)]
        async with Client(vote(lambda x: "yes", invert, *others_say)) as client:
            with pytest.raises(StepError, match="step 'invert' failed: ZeroDivisionError"):
                await client.predict(0)

    async def test_one_that_could_not_does_not(self) -> None:
        async with Client(vote(invert, lambda x: "yes", lambda x: "yes")) as client:
            assert await client.predict(0) == "yes"

    @pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [2, 1, 0]])
    async def test_an_answer_that_is_no_label_counts_for_none(self, order: list[int]) -> None:
        ones = step(lambda column: np.ones(len(column), dtype=int), name="ones", vectorized=True)
        table = step(lambda column: np.ones((len(column), 2), dtype=int), name="table", vectorized=True)
        members = [ones, ones, table]
        async with Client(vote(*[members[i] for i in order])) as client:
            assert await client.predict_many([1, 2]) == [1, 1]
        async with Client(vote(ones, table)) as client:
            with pytest.raises(StepError, match="step 'vote' failed: TypeError: 'table' answers"):
                await client.predict_many([1, 2])

    async def test_a_fan_out_in_a_fan_out_is_no_label(self) -> None:
        async with Client(parallel(a=parallel(x=half, y=half), b=half) >> vote()) as client:
            answers = await client.predict_many([1, 2], on_error="return")
            assert [(each.step, each.kind) for each in answers] == [("vote", "TypeError")] * 2

    async def test_weights_go_by_name_after_a_fan_out(self) -> None:
        fan = parallel(a=lambda x: "yes", b=lambda x: "no", c=lambda x: "no")
        async with Client(fan >> vote(weights={"a": 3})) as client:
            assert await client.predict(1) == "yes"
        with pytest.raises(PipelineError, match=r"no member is named 'z'; they are \['a', 'b', 'c'\]"):
            Client(fan >> vote(weights={"z": 3}))
        async with Client(fan >> (lambda said: said) >> vote(weights={"z": 3})) as client:
            with pytest.raises(StepError, match=r"weights for \['z'\]"):
                await client.predict(1)

    async def test_what_is_no_fan_out_is_told_so(self) -> None:
        async with Client(Pipeline(half) >> vote()) as client:
            with pytest.raises(StepError, match=r"parallel\(a, b\) >> vote\(\)"):
                await client.predict(1)

    @pytest.mark.parametrize("labels", list(itertools.permutations([1, "a", "a"])))
    async def test_labels_are_compared_only_in_a_tie(self, labels: tuple[Any, ...]) -> None:
        async with Client(
            vote(*[step(lambda x, label=label: label, name=f"m{i}") for i, label in enumerate(labels)])
        ) as c:
            assert await c.predict(1) == "a"


class TestAverage:
    async def test_it_is_scikit_learns(self) -> None:
        x = np.arange(20.0).reshape(10, 2)
        y = x.sum(axis=1) ** 2
        members = [("ridge", Ridge()), ("linear", LinearRegression())]
        whole = VotingRegressor(members).fit(x, y)
        models = [model(fitted, name=name) for (name, _), fitted in zip(members, whole.estimators_, strict=True)]
        for pipeline in (average(*models), parallel(*models) >> average()):
            async with Client(pipeline) as client:
                assert await client.predict_many(x) == pytest.approx(whole.predict(x).tolist())
                assert await client.predict(x[3]) == pytest.approx(whole.predict(x[3:4])[0])

    async def test_probabilities_by_label_are_averaged_by_label(self) -> None:
        async with Client(average(lambda x: {"a": 0.2, "b": 0.8}, lambda x: {"b": 0.4, "a": 0.6})) as client:
            assert await client.predict(1) == pytest.approx({"a": 0.4, "b": 0.6})

    @pytest.mark.parametrize(
        ("other", "says"),
        [("2", "takes numbers"), ({"a": 1}, ""), (None, "takes numbers"), ([1.0, 2.0], "")],
    )
    async def test_what_has_no_mean_fails_the_row(self, other: Any, says: str) -> None:
        async with Client(average(lambda x: 1.0, lambda x: other)) as client:
            with pytest.raises(StepError, match=f"step 'average' failed.*{says}"):
                await client.predict(1)

    async def test_a_fan_out_that_a_function_has_passed_on_is_one_still(self) -> None:
        async with Client(parallel(a=half, b=invert) >> (lambda said: said) >> average()) as client:
            assert await client.predict(2) == 0.75
            assert await client.predict_many([2, 1]) == [0.75, 0.75]

    async def test_what_is_no_fan_out_is_told_so(self) -> None:
        async with Client(Pipeline(half) >> average()) as client:
            with pytest.raises(StepError, match=r"parallel\(a, b\) >> average\(\)"):
                await client.predict(1)


class TestSwitch:
    async def test_the_other_cases_never_start(self) -> None:
        begun: list[tuple[str, int]] = []
        cases = {key: step(lambda x, key=key: begun.append((key, x)), name=key) for key in ("even", "odd")}
        async with Client(switch(lambda x: "odd" if x % 2 else "even", cases)) as client:
            await client.predict_many([1, 2, 3])
        assert sorted(begun) == [("even", 2), ("odd", 1), ("odd", 3)]

    async def test_rows_part_and_come_together_in_order(self) -> None:
        sizes: list[int] = []

        def counted(column: Any) -> Any:
            sizes.append(len(column))
            return [x * 10 for x in column]

        async with Client(switch(lambda x: x % 3, {0: step(counted, vectorized=True)}, default=lambda x: x)) as client:
            assert await client.predict_many(range(6)) == [0, 1, 2, 30, 4, 5]
        assert sizes == [2]

    @pytest.mark.parametrize("key", [7, None, [1], {"a": 1}, np.zeros(2)])
    async def test_a_key_without_a_case_fails_the_row_and_says_the_cases(self, key: Any) -> None:
        async with Client(switch(lambda x: key, {1: half, "b": half})) as client:
            with pytest.raises(StepError, match=r"step 'switch' failed: KeyError: no case for the key .*1, 'b'"):
                await client.predict(1)
        async with Client(switch(lambda x: key, {1: half}, default=lambda x: "default")) as client:
            assert await client.predict(1) == "default"

    async def test_the_case_gets_the_value_not_the_key(self) -> None:
        async with Client(switch(lambda row: row["kind"], {"a": lambda row: row["x"]})) as client:
            assert await client.predict({"kind": "a", "x": 5}) == 5


class TestFallback:
    async def test_only_the_rows_that_failed_go_to_the_spare_part(self) -> None:
        spared: list[float] = []
        async with Client(fallback(invert, lambda x: spared.append(x) or "spare")) as client:
            assert await client.predict_many([1, 0, 2, 0]) == [1, "spare", 0.5, "spare"]
        assert spared == [0, 0]

    async def test_a_request_that_is_refused_stays_refused(self) -> None:
        spared: list[float] = []
        async with Client(fallback(refuse, spared.append)) as client:
            answers = await client.predict_many([1, 3], on_error="return")
        assert [type(each) for each in answers] == [int, InputError]
        assert spared == []

    async def test_where_both_fail_the_error_is_the_spare_parts(self) -> None:
        async with Client(fallback(invert, lambda x: {}["gone"])) as client:
            with pytest.raises(StepError, match="step 'fallback/lambda' failed: KeyError: 'gone'"):
                await client.predict(0)


class TestRace:
    async def test_the_first_to_succeed_wins_and_the_others_are_cancelled(self) -> None:
        cancelled = asyncio.Event()

        async def slow(x: Any) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async def quick(x: Any) -> Any:
            return "quick"

        async with Client(race(slow, quick)) as client:
            assert await asyncio.wait_for(client.predict(1), 5) == "quick"
            assert cancelled.is_set()

    async def test_a_member_that_fails_is_out_of_the_race(self) -> None:
        failed = asyncio.Event()

        async def fails(x: Any) -> Any:
            failed.set()
            raise ValueError

        async def waits(x: Any) -> Any:
            await failed.wait()
            return "there"

        async with Client(race(fails, waits)) as client:
            assert await client.predict(1, timeout=5) == "there"

    async def test_where_all_fail_the_error_is_of_the_first_one_written(self) -> None:
        failed = asyncio.Event()

        async def first(x: Any) -> Any:
            await failed.wait()
            raise ValueError("first")

        async def second(x: Any) -> Any:
            failed.set()
            raise KeyError("second")

        async with Client(race(first, second)) as client:
            with pytest.raises(StepError, match="step 'race/first' failed: ValueError: first"):
                await client.predict(1, timeout=5)

    async def test_synchronous_members_run_in_the_order_written_and_only_as_needed(self) -> None:
        begun: list[float] = []
        async with Client(race(invert, lambda x: begun.append(x) or "spare")) as client:
            assert await client.predict_many([1, 0, 2]) == [1, "spare", 0.5]
        assert begun == [0]
