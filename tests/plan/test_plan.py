"""Steps, nodes and plans: frozen, by identity, in order, shown by a text form, however deep."""

from __future__ import annotations

import functools
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given

from stretto import Pipeline, parallel
from stretto.errors import PipelineError
from stretto.nodes import UNDECIDED, Call, Choose, Input, Node, Pack, Plan, Recover, Step
from tests.plans import assert_legal, pipelines


def same(x: Any) -> Any:
    return x


async def later(x: Any) -> Any:
    return x


class Caller:
    async def __call__(self, x: Any) -> Any:
        return x


def chain(length: int, fn: Any = same) -> Plan:
    start = Input()
    node: Node = start
    step = Step(fn=fn, name="same")
    for _ in range(length):
        node = Call((node,), step=step)
    return Plan((start,), node)


def test_nodes_are_frozen_and_equal_only_to_themselves() -> None:
    start = Input()
    step = Step(fn=same, name="same")
    node = Call((start,), step=step)
    with pytest.raises(FrozenInstanceError):
        node.inputs = ()  # type: ignore[misc]
    assert node != Call((start,), step=step)
    assert len({node, Call((start,), step=step)}) == 2


@pytest.mark.parametrize(
    ("fn", "asynchronous"),
    [(same, False), (later, True), (functools.partial(later), True), (Caller(), True), (Caller, False), (len, False)],
)
def test_a_step_knows_whether_its_function_is_asynchronous(fn: Any, asynchronous: bool) -> None:
    assert Step(fn=fn, name="fn").asynchronous is asynchronous


@pytest.mark.parametrize(
    ("step", "waits"),
    [
        (Step(fn=same, name="s"), False),
        (Step(fn=same, name="s", vectorized=True), False),
        (Step(fn=later, name="s"), True),
        (Step(fn=same, name="s", blocking=True), True),
        (Step(fn=same, name="s", options={"num_replicas": 2}), True),
    ],
)
def test_a_plan_waits_where_a_step_does(step: Step, waits: bool) -> None:
    start = Input()
    inner = Plan((start,), Call((start,), step=step))
    outer = Plan((start,), Recover((start,), body=inner, handler=chain(1)))
    assert (step.waits, inner.waits, outer.waits) == (waits, waits, waits)


def test_the_text_form_has_a_line_a_node_and_indents_plans_within() -> None:
    start = Input()
    body, handler = chain(1), chain(2)
    node = Recover((start,), body=body, handler=handler)
    packed = Pack((node, start), names=("a", "b"))
    assert repr(Plan((start,), packed)).splitlines() == [
        "%0 = Input()",
        "%1 = Recover(%0)",
        "  [0]",
        "    %0 = Input()",
        "    %1 = Call(%0) same",
        "  [1]",
        "    %0 = Input()",
        "    %1 = Call(%0) same",
        "    %2 = Call(%1) same",
        "%2 = Pack(%1, %0) a, b",
    ]
    assert repr(Plan((start,), start)) == "%0 = Input()"


def test_a_node_of_another_plan_is_refused() -> None:
    with pytest.raises(PipelineError, match="another plan"):
        Plan((Input(),), Call((Input(),), step=Step(fn=same, name="same")))


def test_a_node_shared_by_two_is_in_the_plan_once() -> None:
    start = Input()
    shared = Call((start,), step=Step(fn=same, name="same"))
    plan = Plan((start,), Pack((shared, shared), names=("a", "b")))
    assert [type(node) for node in plan.order] == [Call, Pack]


def test_a_deep_plan_is_built_walked_rewritten_printed_and_pickled_without_recursion() -> None:
    plan = chain(5_000)
    assert len(plan.order) == len(list(plan.walk())) == len(list(plan.steps())) == 5_000
    assert plan.rewrite(lambda node: node).output is plan.output
    assert pickle.loads(pickle.dumps(plan)).text == plan.text
    del plan


def test_many_diamonds_are_not_walked_path_by_path() -> None:
    start = Input()
    node: Node = start
    for _ in range(200):
        node = Pack((node, node), names=("a", "b"))
    plan = Plan((start,), node)
    assert len(plan.order) == 200
    assert pickle.loads(pickle.dumps(plan)).text == plan.text


def test_rewriting_rebuilds_what_hangs_on_a_change_and_nothing_else() -> None:
    start = Input()
    left = Call((start,), step=Step(fn=same, name="left"))
    right = Call((start,), step=Step(fn=same, name="right"))
    plan = Plan((start,), Pack((left, right), names=("left", "right")))
    other = Step(fn=same, name="other")
    made = plan.rewrite(lambda node: Call(node.inputs, step=other) if node is left else node)
    assert [node.label() for node in made.order] == ["other", "right", "left, right"]
    assert made.order[1] is right


def test_a_sub_plan_in_two_places_is_rewritten_once() -> None:
    start = Input()
    body = chain(1)
    twice = Choose((start, start), cases=((0, body), (1, body)))
    other = Step(fn=same, name="other")
    made = Plan((start,), twice).rewrite(lambda n: Call(n.inputs, step=other) if isinstance(n, Call) else n)
    first, second = made.order[-1].plans
    assert first is second


def test_rebuilding_a_choice_keeps_keys_and_default_apart() -> None:
    start = Input()
    plans = chain(1), chain(2), chain(3)
    node = Choose((start, start), cases=(("a", plans[0]), ("b", plans[1])), default=plans[2])
    swapped = node.rebuild(node.inputs, tuple(reversed(plans)))
    assert swapped.cases == (("a", plans[2]), ("b", plans[1]))
    assert swapped.default is plans[0]
    assert Choose((start, start), cases=node.cases).rebuild(node.inputs, plans[:2]).default is None


def test_undecided_is_one_thing_in_every_process() -> None:
    assert pickle.loads(pickle.dumps(UNDECIDED)) is UNDECIDED


@given(pipelines())
def test_every_plan_is_legal(pipeline: Pipeline[Any, Any]) -> None:
    assert_legal(pipeline.plan())


def test_an_illegal_plan_is_not_legal() -> None:
    """The helper that says so is not empty."""
    start = Input()
    plan = Plan((start,), Pack((start, start), names=("a", "a")))
    with pytest.raises(AssertionError, match="pack"):
        assert_legal(plan)
    assert_legal(parallel(a=same, b=same).plan())
