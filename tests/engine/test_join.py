"""Members of a join: side by side or in turn, within so many seconds, decided together or row by row."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from stretto import Client, Pipeline, composer, step
from stretto.errors import DeadlineExceeded, StepError, StrettoError
from stretto.nodes import UNDECIDED, Join, Node, Pack
from stretto.testing.clock import virtual_clock
from stretto.testing.oracle import oracle_outcome, same


def first(arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
    """Decide for the first value to arrive, or for the number of errors."""
    values = [each for each in arrived.values() if not isinstance(each, StrettoError)]
    return values[0] if values else UNDECIDED if waiting else len(arrived) or "none"


def above(least: float) -> Any:
    def decide(arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
        last = list(arrived.values())[-1]
        return last if not waiting or last > least else UNDECIDED

    return decide


def built(*parts: Any, **settings: Any) -> Pipeline[Any, Any]:
    @composer
    def join(x: Node) -> Node:
        plans = tuple(Pipeline(part).plan() for part in parts)
        return Join((x,), members=plans, names=tuple(f"m{i}" for i in range(len(plans))), **settings)

    return join()


def sleeps(seconds: float, answer: Any = None) -> Any:
    async def sleeping(x: Any) -> Any:
        await asyncio.sleep(seconds)
        return x if answer is None else answer

    return sleeping


def answers(pipeline: Any, rows: list[Any], **options: Any) -> tuple[list[Any], float]:
    """Return the outcomes of the rows, and the virtual seconds it took."""

    async def main() -> tuple[list[Any], float]:
        async with Client(pipeline) as client:
            start = asyncio.get_running_loop().time()
            outcomes = await client.predict_many(rows, on_error="return", **options)
            return outcomes, asyncio.get_running_loop().time() - start

    with virtual_clock() as clock:
        return clock.run(main())


class TestInTurn:
    def test_a_member_is_asked_about_the_rows_that_those_before_it_left_open(self) -> None:
        seen: dict[str, list[Any]] = {"a": [], "b": [], "c": []}

        def member(name: str, factor: int, *, waits: bool) -> Any:
            async def later(x: int) -> int:
                seen[name].append(x)
                await asyncio.sleep(1)
                return x * factor

            def now(x: int) -> int:
                seen[name].append(x)
                return x * factor

            return later if waits else now

        for waits in (False, True):
            for each in seen.values():
                each.clear()
            parts = [member(name, factor, waits=waits) for name, factor in zip("abc", (1, 10, 100), strict=True)]
            outcomes, took = answers(built(*parts, until=above(20), in_turn=True), [1, 3, 30])
            assert outcomes == [100, 30, 30]
            assert seen == {"a": [1, 3, 30], "b": [1, 3], "c": [1]}
            assert took == pytest.approx(3.0 if waits else 0.0)

    def test_side_by_side_members_are_all_asked_at_once(self) -> None:
        outcomes, took = answers(built(sleeps(3, 1), sleeps(2, 2), until=first), [0])
        assert (outcomes, took) == ([2], pytest.approx(2))
        outcomes, took = answers(built(sleeps(3, 1), sleeps(2, 2), until=first, in_turn=True), [0])
        assert (outcomes, took) == ([1], pytest.approx(3))


class TestSeconds:
    @pytest.mark.parametrize("in_turn", [False, True])
    def test_what_has_not_arrived_is_cancelled_and_the_rest_decides(self, in_turn: bool) -> None:
        def count(arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
            return UNDECIDED if waiting else dict(arrived)

        pipeline = built(sleeps(1, "a"), sleeps(60, "b"), until=count, seconds=5, in_turn=in_turn)
        assert answers(pipeline, [0, 1]) == ([{"m0": "a"}] * 2, pytest.approx(5))

    def test_nothing_has_arrived(self) -> None:
        assert answers(built(sleeps(60), until=first, seconds=2), [0]) == (["none"], pytest.approx(2))

    def test_a_row_that_is_undecided_then_is_late(self) -> None:
        never = built(sleeps(1), sleeps(60), sleeps(60), until=lambda arrived, waiting: UNDECIDED, seconds=2)
        (outcome,), took = answers(never, [0])
        assert isinstance(outcome, DeadlineExceeded)
        assert "deadline exceeded in 'join', without m1, m2 (2 s)" in str(outcome)
        assert took == pytest.approx(2)

    def test_all_in_time_and_undecided_is_a_failure(self) -> None:
        never = built(sleeps(1), sleeps(1), until=lambda arrived, waiting: UNDECIDED, seconds=2)
        (outcome,), took = answers(never, [0])
        assert (type(outcome), outcome.kind, took) == (StepError, "Undecided", pytest.approx(1))

    def test_the_requests_own_deadline_comes_first(self) -> None:
        for seconds in (1, 2, 3):
            (outcome,), took = answers(built(sleeps(60), until=first, seconds=seconds), [0], timeout=2)
            assert took == pytest.approx(min(seconds, 2))
            assert outcome == "none" if seconds == 1 else isinstance(outcome, DeadlineExceeded)

    def test_members_that_do_not_wait_answer_all_the_same(self) -> None:
        assert answers(built(abs, str, until=first, seconds=1), [-1, -2]) == ([1, 2], pytest.approx(0))

    def test_the_oracle_gives_each_member_the_seconds_by_itself_and_in_turn_all_together(self) -> None:
        def count(arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
            return UNDECIDED if waiting else list(arrived)

        parts = [sleeps(2), sleeps(60), sleeps(2), sleeps(2)]
        for in_turn, expected in ((False, ["m0", "m2", "m3"]), (True, ["m0"])):
            pipeline = built(*parts, until=count, seconds=5, in_turn=in_turn)
            with virtual_clock() as clock:
                assert clock.run(oracle_outcome(pipeline, 0)) == expected
            assert answers(pipeline, [0])[0] == [expected]


class Counted:
    """Adds up what has arrived, and remembers how it was asked."""

    def __init__(self) -> None:
        self.alone: list[Any] = []
        self.together: list[tuple[dict[str, Any], tuple[str, ...]]] = []

    def one(self, arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
        self.alone.append(dict(arrived))
        errors = [each for each in arrived.values() if isinstance(each, StrettoError)]
        if len(errors) == 2:
            raise errors[0]
        return UNDECIDED if waiting else float(sum(each for each in arrived.values() if each not in errors))

    def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
        self.together.append((dict(columns), waiting))
        size = len(next(iter(columns.values())))
        if waiting:
            return np.zeros(size), np.zeros(size, dtype=bool)
        return sum(map(np.asarray, columns.values())), np.ones(size, dtype=bool)


def halves(column: Any) -> np.ndarray:
    array = np.asarray(column, dtype=float)
    if (array == 3).any():
        raise ValueError("three")
    return array / 2


class TestMany:
    vector = step(halves, name="halves", vectorized=True)

    def test_rows_are_grouped_by_the_members_that_have_failed(self) -> None:
        until = Counted()
        pipeline = built(
            self.vector, step(lambda x: 1 / x, name="inverse") >> step(np.asarray, vectorized=True), until=until
        )
        outcomes, _ = answers(pipeline, [1, 3, 0, 2, 4])
        assert outcomes == [1.5, 1 / 3, 0.0, 1.5, 2.25]
        finals = [
            {name: len(each) for name, each in columns.items()} for columns, waiting in until.together if not waiting
        ]
        assert finals == [{"m0": 3, "m1": 3}, {"m1": 1}, {"m0": 1}]
        assert until.alone == [{"m0": until.alone[0]["m0"]}]  # the row that has nothing but a failure, with one out

    def test_where_it_can_not_tell_each_row_is_asked(self) -> None:
        class Shy(Counted):
            def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
                super().many(columns, waiting)
                return None

        for until in (Shy(), Counted()):
            assert answers(built(self.vector, self.vector, until=until), [1, 2, 4])[0] == [1.0, 2.0, 4.0]
            assert bool(until.alone) == isinstance(until, Shy)

    def test_answers_may_be_columns_of_any_form(self) -> None:
        class Form:
            def __init__(self, make: Any) -> None:
                self.make = make

            def one(self, arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
                raise AssertionError("all rows are decided together")

            def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
                return self.make(columns["m0"]), np.array([True, True])

        makes = [list, lambda c: np.stack([c, c], axis=1), lambda c: {"a": c, "b": list(c)}, lambda c: c.astype(str)]
        expected = [[0.5, 1.0], [[0.5, 0.5], [1, 1]], [{"a": 0.5, "b": 0.5}, {"a": 1, "b": 1}], ["0.5", "1.0"]]
        for make, answer in zip(makes, expected, strict=True):
            got, _ = answers(built(self.vector, until=Form(make)), [1, 2])
            assert same([np.asarray(each).tolist() if isinstance(each, np.ndarray) else each for each in got], answer)


async def test_a_fan_out_of_one_branch_is_a_fan_out() -> None:
    """Its branch may fail, and errors keep their paths."""

    @composer
    def over(x: Node, part: Pipeline) -> Node:
        return Join.over(Pack((part(x),), names=("only",)), first)

    async with Client(over(lambda x: 1 / x)) as client:
        assert await client.predict_many([2, 0]) == [0.5, 1]
