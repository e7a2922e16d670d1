"""Each pass gives a plan that means the same and is legal; and does what it is for."""

from __future__ import annotations

import asyncio
import gc
import pickle
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given

from stretto import Client, Pipeline, composer, parallel, step
from stretto.compiler import check, compile_plan, defer, fuse, optimize, place, share
from stretto.errors import PipelineError
from stretto.nodes import Call, Input, Join, Node, Pack, Plan, Step
from stretto.plan.steps import Stage
from stretto.testing.oracle import oracle_outcome, same
from stretto_composers import fallback, switch, vote
from tests.plans import VectorArray, assert_legal, gathered, known_as_model, pipelines, rows

PASSES: dict[str, Callable[[Plan], Plan]] = {
    "check": check,
    "share": share,
    "defer": defer,
    "share, defer": lambda plan: defer(share(plan)),
    "place fused": lambda plan: place(plan, "fused"),
    "place split": lambda plan: place(plan, "split"),
    "fuse": fuse,
    "optimize": lambda plan: optimize(plan, None),
    "all": compile_plan,
    "optimize, all": lambda plan: compile_plan(optimize(check(plan), None)),
    "all, split": lambda plan: compile_plan(plan, "split"),
}


@pytest.mark.parametrize("name", PASSES)
@given(pipelines(), rows())
def test_a_pass_keeps_meaning_and_gives_a_legal_plan(name: str, pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    made = PASSES[name](pipeline.plan())
    assert_legal(made)

    async def main() -> None:
        for row in some:
            got, expected = await oracle_outcome(made, row), await oracle_outcome(pipeline, row)
            assert same(got, expected), f"{row}: {got}, and before {expected}"

    gathered(main)


@given(pipelines())
def test_compiling_twice_gives_the_same_text(pipeline: Pipeline[Any, Any]) -> None:
    """Nothing in a pass depends on where objects lie in memory, or on the order of a set."""
    copy: Pipeline[Any, Any] = pickle.loads(pickle.dumps(pipeline))
    assert repr(compile_plan(copy.plan())) == repr(compile_plan(pipeline.plan()))


def one(x: Any) -> Any:
    return x


def two(x: Any) -> Any:
    return x


def three(x: Any) -> Any:
    return x


async def later(x: Any) -> Any:
    await asyncio.sleep(0)
    return x


def calls(plan: Plan) -> list[str]:
    return [node.label() for node in plan.order if isinstance(node, Call)]


def stages(plan: Plan) -> list[list[str]]:
    found = [node.step for node in plan.walk() if isinstance(node, Call) and isinstance(node.step, Stage)]
    return sorted(sorted(each.name for each in stage.plan.steps()) for stage in found)


class TestCheck:
    def test_two_different_steps_of_one_name_are_refused(self) -> None:
        with pytest.raises(PipelineError, match=r"two steps are named 'scale'.*name="):
            check((step(one, name="scale") >> step(two, name="scale")).plan())

    def test_one_step_in_two_places_is_fine(self) -> None:
        scale = step(one, name="scale")
        check((scale >> scale).plan())
        check(fallback(scale, scale).plan())

    def test_equal_pure_steps_are_one(self) -> None:
        check((step(one, name="scale", pure=True) >> step(one, name="scale", pure=True)).plan())

    def test_functions_without_a_name_of_their_own_may_share_one(self) -> None:
        check((Pipeline(lambda x: x) >> (lambda x: x)).plan())

    def test_a_name_is_taken_inside_a_sub_plan_too(self) -> None:
        with pytest.raises(PipelineError, match="'scale'"):
            check((step(one, name="scale") >> fallback(two, step(two, name="scale"))).plan())

    def test_composers_nested_past_pythons_stack_are_refused(self) -> None:
        nested = Pipeline(one)
        for _ in range(150):
            nested = fallback(nested, one)
        with pytest.raises(PipelineError, match="nested more than 100 deep"):
            Client(nested)


class TestDefer:
    def members(self, plan: Plan) -> list[list[str]]:
        (join,) = (node for node in plan.walk() if isinstance(node, Join))
        return [[step.name for step in member.steps()] for member in join.members]

    def test_work_of_one_member_is_its_own(self) -> None:
        made = defer((parallel(a=Pipeline(one) >> two, b=later, c=one) >> vote()).plan())
        assert self.members(made) == [["one", "two"], ["later"], ["one"]]
        assert calls(made) == []

    def test_both_spellings_are_one_plan(self) -> None:
        assert compile_plan(vote(one, two).plan()).text == compile_plan((parallel(one, two) >> vote()).plan()).text

    def test_what_members_share_is_done_once_in_any_case(self) -> None:
        scale = step(one, name="scale", pure=True)
        made = defer(share((parallel(a=scale >> two, b=scale >> later) >> vote()).plan()))
        assert calls(made) == ["scale"]
        assert self.members(made) == [["two"], ["later"]]

    def test_what_the_answer_needs_too_is_done_once_in_any_case(self) -> None:
        @composer
        def both(x: Node, fan: Pipeline) -> Node:
            said = fan(x)
            return Pack((said, vote()(said)), names=("said", "label"))

        made = defer(both(parallel(a=one, b=two)).plan())
        assert calls(made) == ["one", "two"]
        assert self.members(made) == [[], []]

    def test_it_reaches_into_members_of_members(self) -> None:
        made = defer((parallel(x=parallel(a=one, b=two) >> vote(), c=later) >> vote()).plan())
        assert calls(made) == []
        assert made.order[-1].plans[0].order[-1].label() == "a, b"

    def test_it_stays_shallow(self) -> None:
        nested = Pipeline(one)
        for _ in range(150):
            nested = vote(nested, two, three)
        pickle.loads(pickle.dumps(compile_plan(nested.plan())))


class TestShare:
    def test_a_pure_step_on_one_input_is_called_once(self) -> None:
        scale = step(one, name="scale", pure=True)
        assert calls(share(parallel(a=scale >> two, b=scale >> later).plan())) == ["scale", "two", "later"]

    def test_equal_steps_made_apart_are_shared(self) -> None:
        plan = parallel(a=step(one, pure=True) >> two, b=step(one, pure=True) >> later).plan()
        assert calls(share(plan)) == ["one", "two", "later"]

    def test_sharing_goes_along_a_chain(self) -> None:
        scale, shift = step(one, name="scale", pure=True), step(two, name="shift", pure=True)
        plan = parallel(a=scale >> shift >> one, b=scale >> shift >> two).plan()
        assert calls(share(plan)) == ["scale", "shift", "one", "two"]

    def test_shared_fan_outs_are_shared(self) -> None:
        scale = step(one, name="scale", pure=True)
        fan = parallel(p=scale, q=one)
        assert Counter(calls(share(parallel(a=fan, b=fan).plan()))) == {"scale": 1, "one": 2}

    @pytest.mark.parametrize(
        "other",
        [
            step(one, name="other", pure=True),
            step(two, name="scale", pure=True),
            step(one, name="scale", pure=True, vectorized=True),
            step(one, name="scale"),
        ],
    )
    def test_what_differs_in_anything_is_not_shared(self, other: Pipeline[Any, Any]) -> None:
        plan = parallel(a=step(one, name="scale", pure=True), b=other).plan()
        assert len(calls(share(plan))) == 2

    def test_equal_work_under_two_names_is_done_under_each(self) -> None:
        """An error says the name that was written there."""
        start = Input()
        nodes = [Call((start,), step=Step(fn=one, name=name, pure=True, key="one")) for name in ("a", "b")]
        plan = Plan((start,), Pack(tuple(nodes), names=("a", "b")))
        assert calls(share(plan)) == ["a", "b"]

    def test_a_step_that_is_not_pure_is_called_as_often_as_written(self) -> None:
        draw = step(one, name="draw")
        assert calls(share(parallel(a=draw, b=draw).plan())) == ["draw", "draw"]

    def test_nothing_is_taken_out_of_a_sub_plan(self) -> None:
        """What it holds may not be wanted."""
        scale = step(one, name="scale", pure=True)
        plan = share(parallel(a=scale, b=fallback(two, scale)).plan())
        assert [node.label() for node in plan.walk() if isinstance(node, Call)].count("scale") == 2

    def test_steps_of_functions_that_cannot_be_compared_are_not_shared(self) -> None:
        class Unhashable:
            __hash__ = None  # type: ignore[assignment]

            def __call__(self, x: Any) -> Any:
                return x

        plan = parallel(a=step(Unhashable(), pure=True), b=step(Unhashable(), pure=True)).plan()
        assert len(calls(share(plan))) == 2

    async def test_shared_work_runs_once(self) -> None:
        seen: list[Any] = []
        scale = step(lambda x: seen.append(x) or x * 10, name="scale", pure=True)
        async with Client(parallel(a=scale >> (lambda x: x + 1), b=scale >> (lambda x: x + 2))) as client:
            assert await client.predict(1) == {"a": 11, "b": 12}
            assert seen == [1]
            assert await client.predict_many([2, 3]) == [{"a": 21, "b": 22}, {"a": 31, "b": 32}]
            assert seen == [1, 2, 3]


class TestPlace:
    def test_an_unknown_placement_is_refused(self) -> None:
        with pytest.raises(PipelineError, match="'auto', 'fused' or 'split'"):
            place(Pipeline(one).plan(), "spread")  # type: ignore[arg-type]

    def test_split_gives_a_deployment_to_every_model_and_to_nothing_else(self) -> None:
        a, b = (known_as_model(step(fn, name=name)) for fn, name in ((one, "a"), (two, "b")))
        plan = place((parallel(a=a, b=b) >> step(one, pure=True)).plan(), "split")
        hosts = [node.step.deployment for node in plan.order if isinstance(node, Call) and isinstance(node.step, Stage)]
        assert hosts == ["a", "b"]

    @pytest.mark.parametrize("placement", ["auto", "fused", "split"])
    def test_what_asks_for_resources_gets_them_wherever_the_rest_is(self, placement: Any) -> None:
        plan = place((Pipeline(one) >> step(two, num_replicas=3)).plan(), placement)
        (stage,) = [node.step for node in plan.order if isinstance(node, Call) and isinstance(node.step, Stage)]
        assert (stage.deployment, stage.options) == ("two", {"num_replicas": 3})
        assert not stage.plan.waits

    def test_a_step_in_two_places_has_one_deployment(self) -> None:
        placed = step(one, name="placed", num_replicas=2)
        plan = place(parallel(a=placed, b=Pipeline(two) >> placed).plan(), "fused")
        found = {node.step for node in plan.order if isinstance(node, Call) and isinstance(node.step, Stage)}
        assert len(found) == 1


class TestFuse:
    def test_a_plan_without_anything_that_waits_is_one_stage(self) -> None:
        pure = parallel(one, two) >> fallback(one, two) >> switch(one, {1: two}) >> step(VectorArray(), vectorized=True)
        plan = compile_plan(pure.plan())
        (node,) = plan.order
        assert isinstance(node, Call)
        assert isinstance(node.step, Stage)
        assert not node.step.plan.waits

    def test_what_waits_ends_a_stage(self) -> None:
        plan = fuse((Pipeline(one) >> two >> later >> one >> two).plan())
        assert stages(plan) == [["one", "two"], ["one", "two"]]
        assert calls(plan) == ["one+two", "later", "one+two"]

    @pytest.mark.parametrize("waiting", [step(later), step(one, blocking=True), step(one, num_replicas=2)])
    def test_each_way_of_waiting_does(self, waiting: Pipeline[Any, Any]) -> None:
        plan = compile_plan((Pipeline(two) >> waiting >> two).plan())
        assert stages(plan).count(["two"]) == 2

    def test_what_can_run_beside_something_slow_does_not_wait_for_it(self) -> None:
        """Fused into what comes after the fan-out, `one` would stand in line behind `later`."""
        plan = fuse((parallel(a=one, b=later) >> two).plan())
        assert stages(plan) == [["one"], ["two"]]

    def test_branches_beside_each_other_are_one_stage(self) -> None:
        plan = fuse((parallel(a=one, b=two) >> one >> later).plan())
        assert stages(plan) == [["one", "one", "two"]]

    def test_a_fan_out_alone_is_no_stage(self) -> None:
        plan = fuse(parallel(a=later, b=later).plan())
        assert stages(plan) == []

    def test_sub_plans_that_wait_are_fused_inside(self) -> None:
        plan = fuse(fallback(Pipeline(one) >> later >> two, Pipeline(two) >> one).plan())
        assert stages(plan) == [["one"], ["one", "two"], ["two"]]

    def test_a_sub_plan_used_twice_is_one_stage(self) -> None:
        body = Pipeline(one) >> two
        plan = fuse((switch(one, {0: body, 1: later}) >> fallback(body, later)).plan())
        assert_legal(plan)


class TestScale:
    """A chain five thousand steps deep, with no step of it recursive."""

    async def test_a_deep_chain_builds_compiles_runs_and_pickles(self) -> None:
        pipeline = Pipeline(one)
        for _ in range(2_500):
            pipeline = pipeline >> one >> two
        assert len(repr(pipeline)) > 5_000
        plan = compile_plan(pipeline.plan())
        assert len(list(plan.steps())) == 5_001
        assert pickle.loads(pickle.dumps(plan)).text == plan.text
        async with Client(pipeline) as client:
            assert await client.predict(7) == 7

    async def test_so_does_one_that_waits_now_and_then(self) -> None:
        pipeline = Pipeline(one)
        for i in range(5_000):
            pipeline = pipeline >> (later if i % 100 == 0 else one)
        async with Client(pipeline) as client:
            assert await client.predict_many([7, 8]) == [7, 8]

    @pytest.mark.parametrize("shape", ["chain", "fan", "mixed"])
    def test_the_work_of_compiling_grows_with_the_plan(self, shape: str) -> None:
        """Counted in calls of functions: four times the plan, about four times the calls."""

        def built(size: int) -> Pipeline[Any, Any]:
            if shape == "fan":
                return parallel(**{f"b{i}": step(one, pure=True) >> two for i in range(size)}) >> one
            pipeline = Pipeline(one)
            for i in range(size):
                pipeline = pipeline >> (later if shape == "mixed" and i % 3 == 0 else one)
            return pipeline

        def work(size: int) -> int:
            pipeline = built(size)
            calls = 0

            def count(frame: Any, event: str, arg: Any) -> None:
                nonlocal calls
                calls += 1

            sys.setprofile(count)
            try:
                compile_plan(pipeline.plan())
            finally:
                sys.setprofile(None)
            return calls

        assert 0 < work(1_200) <= 5 * work(300)


def test_a_stage_is_named_after_its_steps() -> None:
    plan = fuse((Pipeline(one) >> two >> one).plan())
    assert repr(plan) == "\n".join(
        [
            "%0 = Input()",
            "%1 = Call(%0) one+two",
            "  [0]",
            "    %0 = Input()",
            "    %1 = Call(%0) one",
            "    %2 = Call(%1) two",
            "    %3 = Call(%2) one",
        ]
    )
    assert isinstance(plan.order[0], Call)
    assert repr(plan.order[0].step) == "<stage one+two>"
    assert repr(Step(fn=one, name="one")) == "<step one>"


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("part", [abs, step(abs, name="a") >> parallel(step(len, name="a"), len)])
def test_the_garbage_collector_is_left_as_it_was(enabled: bool, part: Any) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with suppress(PipelineError):
            compile_plan(Pipeline(part).plan())
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
