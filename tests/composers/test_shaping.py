"""Composers that give a value another shape, look at it, or go over it again."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto import Client, Pipeline, parallel, step
from stretto.errors import DeadlineExceeded, InputError, PipelineError, StepError
from stretto.testing.check import check_composer
from stretto_composers import each, fallback, flatten, loop, rename, select, tap
from tests.cases import SETOSA, add_one, invert, iris_model, refuse_negative


def double(x: float) -> float:
    return 2 * x


def large(x: float) -> bool:
    return x > 8


BUILDS: dict[str, Any] = {
    "select": lambda: parallel(a=invert, b=double, c=abs) >> select("c", "a"),
    "select one": lambda: parallel(a=invert, b=parallel(c=double)) >> select("b") >> select(["c"]),
    "rename": lambda: parallel(a=invert, b=double) >> rename({"a": "b", "b": "a"}),
    "flatten": lambda: parallel(a=parallel(b=invert, c=parallel(d=double)), e=lambda x: {"f": [x]}) >> flatten("/"),
    "tap": lambda: tap(invert) >> double,
    "tap that waits": lambda: tap(add_one) >> invert,
    "each": lambda: (lambda x: [x, x - 1, 3]) >> each(invert),
    "each of each": lambda: (lambda x: [[x], [], [x, x - 1]]) >> each(each(invert)),
    "each of what is no list": lambda: (lambda x: "ab" if x > 0 else x) >> each(double),
    "loop": lambda: loop(double, until=large, limit=4),
    "loop that fails on its way": lambda: loop(lambda x: 1 / (x - 1), until=lambda x: x < 0, limit=3),
    "loop that waits": lambda: loop(add_one, until=large, limit=12),
    "loop with an end": lambda: loop(double, until=large, limit=2, on_limit=invert),
    "loop until something that fails": lambda: loop(double, until=lambda x: 1 / (x - 2), limit=3),
    "loop in a loop": lambda: loop(loop(double, large, 3, on_limit=lambda x: x), until=lambda x: x > 64, limit=3),
}
ROWS = [1, -2, 0, 3.5, 0.5, 1, 13]


@pytest.mark.parametrize("name", BUILDS)
async def test_it_means_one_thing_alone_and_in_a_batch(name: str) -> None:
    await check_composer(BUILDS[name], ROWS, ways=["local"])


@pytest.mark.parametrize(
    ("pipeline", "written"),
    [
        (select("a"), "select('a')"),
        (select(["a", "b"]), "select(['a', 'b'])"),
        (rename(a="b"), "rename(a='b')"),
        (rename({"a b": "c"}), "rename({'a b': 'c'})"),
        (flatten(), "flatten()"),
        (flatten("/"), "flatten('/')"),
        (tap(invert), "tap(invert)"),
        (each(invert), "each(invert)"),
        (loop(double, until=large, limit=3), "loop(double, until=large, limit=3)"),
    ],
)
def test_it_prints_as_written(pipeline: Pipeline[Any, Any], written: str) -> None:
    assert repr(pipeline) == written
    assert repr(pickle.loads(cloudpickle.dumps(pipeline))) == written
    assert str(pipeline.plan()).startswith(written)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: select(), "select() takes the names of members, at least one"),
        (lambda: select("a", 1), "select() takes the names of members, not 1"),
        (lambda: select("a", "a"), "select() is given 'a' more than once"),
        (lambda: (parallel(a=abs, b=abs) >> select("c")).plan(), "given 'c', .* has the branches 'a', 'b'"),
        (lambda: rename(), "at least one"),
        (lambda: rename(["a"]), r"a dict from old names to new ones, not \['a'\]"),
        (lambda: rename(a=1), "takes new names, not 1"),
        (lambda: rename(a="c", b="c"), "two members the name 'c'"),
        (lambda: (parallel(a=abs, b=abs) >> rename(a="b")).plan(), "two members the name 'b'"),
        (lambda: (parallel(a=abs, b=abs) >> rename(c="d")).plan(), "given 'c'"),
        (lambda: flatten(1), "separator"),
        (lambda: tap("log"), "'log' is not a part"),
        *(
            (lambda n=n: loop(abs, abs, limit=n), "a whole number from 1 to 100")
            for n in (0, -1, 101, 2.0, True, None, "3")
        ),
        (lambda: loop(abs, until=abs), "limit"),
    ],
)
def test_what_can_not_be_right_is_refused_when_built(build: Any, says: str) -> None:
    with pytest.raises(PipelineError, match=says.replace("()", r"\(\)")):
        build()


class TestDicts:
    async def test_columns_pass_through_as_they_are(self) -> None:
        """A fan-out's arrays are not taken apart: what stands behind is given the same objects."""
        ones = np.ones(4)
        seen: list[Any] = []
        fan = parallel(a=step(lambda column: ones, vectorized=True, name="ones"), b=parallel(c=double))
        look = step(lambda column: seen.append(column) or column["z"], vectorized=True, name="look")
        async with Client(fan >> flatten() >> rename({"a": "z"}) >> select("z", "b.c") >> look) as client:
            await client.predict_many([1, 2, 3, 4])
        (columns,) = seen
        assert list(columns) == ["z", "b.c"]
        assert columns["z"] is ones

    async def test_a_request_without_the_name_is_refused_as_bad_input(self) -> None:
        """The caller's own row is the caller's mistake, and one that the pipeline made is the pipeline's."""
        async with Client(select("age")) as client:
            with pytest.raises(InputError, match="'age' is missing; there is 'name'") as caught:
                await client.predict({"name": "Ada"})
            assert caught.value.field == "age"
            with pytest.raises(InputError, match="a dict with 'age' is needed here, and this is a list"):
                await client.predict([1])
        async with Client((lambda row: {"name": row}) >> select("age")) as client:
            with pytest.raises(StepError, match="step 'select' failed: InputError"):
                await client.predict(1)

    async def test_a_field_read_beside_a_model_is_no_unknown_feature(self) -> None:
        """The model goes on to refuse every other name."""
        async with Client(parallel(who=select("name"), says=iris_model("svm"))) as client:
            assert await client.predict({**SETOSA, "name": "Ada"}) == {"who": "Ada", "says": "setosa"}
            with pytest.raises(InputError, match="unknown feature 'nmae'"):
                await client.predict({**SETOSA, "nmae": "Ada", "name": "Ada"})
            assert "name" in (await client.metadata()).features

    @given(
        st.recursive(
            st.integers() | st.just({}),
            lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            max_leaves=8,
        ).filter(lambda row: isinstance(row, dict))
    )
    def test_flatten_loses_nothing(self, row: dict[str, Any]) -> None:
        """Every leaf stands under the names that lead to it."""

        async def main() -> Any:
            async with Client(flatten()) as client:
                return await client.predict(row)

        flat = asyncio.run(main())

        def nested(row: dict[str, Any], path: tuple[str, ...] = ()) -> Any:
            for name, value in row.items():
                if isinstance(value, dict) and value:
                    yield from nested(value, (*path, name))
                else:
                    yield ".".join((*path, name)), value

        assert list(flat.items()) == list(nested(row))

    async def test_names_that_fall_together_fail_the_row(self) -> None:
        async with Client(flatten()) as client:
            answers = await client.predict_many([{"a": {"b": 1}, "a.b": 2}, {"a": 1}], on_error="return")
            assert "two members would have the name 'a.b'" in str(answers[0])
            assert answers[1] == {"a": 1}
        async with Client(rename(a="b")) as client:
            answers = await client.predict_many([{"a": 1, "b": 2}, {"a": 1}, {"c": 1}], on_error="return")
            assert isinstance(answers[0], StepError)
            assert answers[1] == {"b": 1}
            assert isinstance(answers[2], InputError)


class TestTap:
    async def test_the_value_goes_on_whatever_the_part_answers(self) -> None:
        seen: list[Any] = []
        async with Client(tap(seen.append) >> double) as client:
            assert await client.predict_many([1, 2]) == [2, 4]
        assert seen == [1, 2]

    async def test_a_part_that_fails_fails_its_row_alone(self) -> None:
        async with Client(tap(invert)) as client:
            answers = await client.predict_many([1, 0], on_error="return")
            assert answers[0] == 1
            assert str(answers[1]).startswith("row 1: step 'tap/invert' failed: ZeroDivisionError")
        async with Client(tap(fallback(invert, lambda x: None))) as client:
            assert await client.predict_many([1, 0]) == [1, 0]

    async def test_it_can_refuse_and_does_not_take_the_blame(self) -> None:
        """A check's refusal is bad input; and so is that of a model behind, which is given the caller's own row."""
        async with Client(tap(refuse_negative)) as client:
            with pytest.raises(InputError, match="-1 is negative"):
                await client.predict(-1)
        async with Client(tap(repr) >> iris_model("svm")) as client:
            with pytest.raises(InputError, match="the row has 1 value, it takes 4"):
                await client.predict([1.0])

    async def test_it_is_waited_for(self) -> None:
        order: list[str] = []

        async def slow(x: Any) -> None:
            await asyncio.sleep(0.01)
            order.append("tap")

        async with Client(tap(slow) >> (lambda x: order.append("next"))) as client:
            await client.predict(1)
        assert order == ["tap", "next"]


class TestEach:
    async def test_all_elements_of_a_batch_go_together(self) -> None:
        sizes: list[int] = []

        def counted(column: Any) -> Any:
            sizes.append(len(column))
            return list(column)

        async with Client(each(step(counted, vectorized=True))) as client:
            assert await client.predict_many([[1, 2], [], [3]]) == [[1, 2], [], [3]]
        assert sizes == [3]

    async def test_the_error_says_which_element_failed(self) -> None:
        async with Client(each(each(invert))) as client:
            with pytest.raises(StepError) as caught:
                await client.predict([[1], [2, 0, 0]])
            assert caught.value.step == "each/1/each/1/invert"

    @pytest.mark.parametrize("row", ["abc", b"abc", {"a": 1}, 5, None])
    async def test_what_is_no_list_fails_the_row(self, row: Any) -> None:
        async with Client(each(lambda x: x)) as client:
            with pytest.raises(
                StepError, match=f"step 'each' failed: TypeError: needs a list, got {type(row).__name__}"
            ):
                await client.predict(row)


class TestLoop:
    @given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 6))
    def test_it_is_a_loop(self, rows: list[int], limit: int) -> None:
        """It gives what a plain loop gives, and calls the body as often, row by row."""
        calls: dict[int, int] = {}

        def grow(x: tuple[int, int]) -> tuple[int, int]:
            calls[x[0]] = calls.get(x[0], 0) + 1
            return (x[0], x[1] * 2)

        def plain(x: int) -> tuple[int, bool]:
            for turn in range(1, limit + 1):
                x *= 2
                if x > 30:
                    return turn, True
            return limit, False

        async def main() -> list[Any]:
            pipeline = loop(grow, until=lambda x: x[1] > 30, limit=limit)
            async with Client(pipeline) as client:
                return await client.predict_many(list(enumerate(rows)), on_error="return")

        answers = asyncio.run(main())
        for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            turns, finished = plain(row)
            assert calls[i] == turns
            assert answer == (i, row * 2**turns) if finished else answer.kind == "LimitReached"

    async def test_the_limit_is_an_error_that_names_it_or_goes_to_a_part(self) -> None:
        async with Client(loop(double, until=large, limit=2)) as client:
            with pytest.raises(
                StepError, match=r"'loop/limit' failed: LimitReached: not finished after 2 turns, .* is 4;"
            ):
                await client.predict(1)
        async with Client(loop(double, until=large, limit=2, on_limit=lambda last: -last)) as client:
            assert await client.predict_many([1, 3]) == [-4, 12]

    async def test_it_runs_at_least_once(self) -> None:
        async with Client(loop(double, until=large, limit=1)) as client:
            assert await client.predict(100) == 200

    async def test_a_request_that_the_body_refuses_is_bad_input(self) -> None:
        async with Client(loop(refuse_negative, until=bool, limit=3)) as client:
            with pytest.raises(InputError):
                await client.predict(-1)

    async def test_a_deadline_ends_it_between_turns(self) -> None:
        turns: list[int] = []

        async def turn(x: int) -> int:
            turns.append(x)
            await asyncio.sleep(0.05)
            return x + 1

        async with Client(loop(turn, until=lambda x: False, limit=100)) as client:
            with pytest.raises(DeadlineExceeded):
                await client.predict(0, timeout=0.2)
        assert 1 <= len(turns) < 100

    async def test_cancelling_ends_it(self) -> None:
        begun = asyncio.Event()
        turns: list[int] = []

        async def turn(x: int) -> int:
            turns.append(x)
            begun.set()
            await asyncio.sleep(0.01)
            return x + 1

        async with Client(loop(turn, until=lambda x: False, limit=100)) as client:
            later = client.submit(0)
            await begun.wait()
            later.cancel()
            with pytest.raises(asyncio.CancelledError):
                await later
            seen = len(turns)
            await asyncio.sleep(0.05)
            assert len(turns) == seen

    def test_a_plan_of_many_turns_prints_them_once(self) -> None:
        for body in (double, add_one):
            printed = str(loop(body, until=large, limit=100).plan())
            assert "99 times" in printed
            assert printed.count("'again': ") == 2
