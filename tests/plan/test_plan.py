"""Steps, nodes and plans: frozen, by identity, in order, shown by a text form, however deep."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given

from stretto import Pipeline, parallel
from stretto.errors import PipelineError
from stretto.nodes import (
    UNDECIDED,
    Around,
    Aside,
    Call,
    Choose,
    Each,
    Input,
    Join,
    Node,
    Pack,
    Plan,
    Recover,
    Step,
    Sub,
    Within,
)
from stretto.plan.plan import between
from stretto.plan.steps import Stage
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


def two_values(fn: Any) -> Plan:
    start, other = Input(), Input()
    return Plan((start, other), Pack((Call((start,), step=Step(fn=fn, name="s")), other), names=("a", "b")))


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
    plan = Plan((start,), Call((start,), step=Stage(chain(1, later))))
    with pytest.raises(AssertionError, match="waits"):
        assert_legal(plan)
    assert_legal(parallel(a=same, b=same).plan())


START = Input()
ONE, TWO = chain(1), two_values(same)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: Recover(START, body=ONE, handler=ONE), r"Recover: its inputs are a tuple of nodes"),
        (lambda: Recover((ONE,), body=ONE, handler=ONE), r"Recover: its inputs are a tuple of nodes"),
        (lambda: Recover((), body=ONE, handler=ONE), r"Recover: it needs an input"),
        (lambda: Recover((START,), body=Pipeline(same), handler=ONE), r"Recover: a sub-plan is a plan, .* part.plan"),
        (lambda: Recover((START,), body=ONE, handler=TWO), r"Recover: a sub-plan takes 2 values, .* has 1"),
        (lambda: Sub((START, START), body=ONE), r"Sub: a sub-plan takes 1 values, .* has 2"),
        (lambda: Aside((START, START, START), body=ONE), r"Aside: a sub-plan takes 1 values, .* has 2"),
        (lambda: Input((START,)), r"Input: .* from outside"),
        (lambda: Call((START,), step=same), r"Call: it calls a Step, not <function same"),
        (lambda: Call((START, START), step=Step(fn=same, name="s")), r"Call: <step s> takes 1 inputs, and got 2"),
        (lambda: Call((START,), step=Stage(TWO)), r"Call: <stage s> takes 2 inputs, and got 1"),
        (lambda: Pack((), names=()), r"Pack: it needs a name for each of its inputs, at least one"),
        (lambda: Pack((START,), names=("a", "b")), r"Pack: it needs a name .* 2 names, 1 inputs"),
        (lambda: Pack((START, START), names=("a", "a")), r"Pack: two of its inputs are named 'a'"),
        (lambda: Pack((START,), names=("a",), on_error="skip"), r"Pack: on_error is 'raise', 'omit' or an Instead"),
        (lambda: Choose((START,), cases=((1, ONE),)), r"Choose: it needs a value and, as its last input, a key"),
        (lambda: Choose((START, START), cases=()), r"Choose: it has nothing to choose"),
        (lambda: Choose((START, START), cases=((1, ONE), (1, ONE))), r"Choose: two cases have the key 1"),
        (lambda: Choose((START, START), cases=(([], ONE),)), r"Choose: the key of a case must be hashable, and \[\]"),
        (lambda: Choose((START, START, START), cases=((1, ONE),)), r"Choose: a sub-plan takes 1 values, .* has 2"),
        (lambda: Join((START,), members=(), names=(), until=same), r"Join: it needs a name .* at least one"),
        (lambda: Join((START,), members=(ONE,), names=("a", "b"), until=same), r"Join: .* 2 names, 1 members"),
        (lambda: Join((START,), members=(ONE, ONE), names=("a", "a"), until=same), r"Join: two .* are named 'a'"),
        (lambda: Join((START,), members=(ONE,), names=("a",), until=1), r"Join: until is a function"),
        (lambda: Join((START,), members=(ONE,), names=("a",), until=same, seconds=0), r"Join: seconds .* above zero"),
        (
            lambda: Join((START,), members=(ONE, ONE), names=("a", "b"), until=same, own_inputs=True),
            r"Join: it has 2 members with inputs of their own, and 1 inputs",
        ),
        (lambda: Within((START,), body=ONE, seconds=-1), r"Within: seconds is a time above zero, not -1"),
        (lambda: Within((START,), body=ONE, seconds=float("nan")), r"Within: seconds is a time above zero, not nan"),
        (lambda: Around((START,), body=ONE, policy=None), r"Around: policy is an async function"),
        (lambda: Plan((START, START), START), r"the inputs of a plan are different nodes"),
    ],
)
def test_an_ill_formed_node_cannot_be_made(build: Callable[[], Any], why: str) -> None:
    with pytest.raises(PipelineError, match=why):
        build()


def test_a_nodes_sub_plans_are_listed_and_replaced_field_by_field() -> None:
    start = Input()
    plans = [chain(1) for _ in range(6)]
    nodes: list[Node] = [
        Sub((start,), body=plans[0]),
        Choose((start, start), cases=((0, plans[0]), (1, plans[1])), default=plans[2]),
        Choose((start, start), cases=((0, plans[0]),)),
        Recover((start,), body=plans[0], handler=plans[1]),
        Join((start,), members=tuple(plans[:3]), names=("a", "b", "c"), until=same),
        Within((start,), body=plans[0], seconds=1),
        Each((start,), body=plans[0]),
        Around((start,), body=plans[0], policy=later),
        Aside((start, start), body=plans[0]),
        Pack((start,), names=("a",)),
    ]
    for node in nodes:
        count = len(node.plans)
        assert node.plans == tuple(plans[:count])
        other = node.rebuild(node.inputs, tuple(plans[3 : 3 + count]))
        assert other.plans == tuple(plans[3 : 3 + count])
        assert other.rebuild(node.inputs, node.plans).plans == node.plans
        assert [len(fed) for fed in node.feeds] == [1] * count


def test_folding_counts_a_sub_plan_in_two_places_once() -> None:
    start, seen = Input(), list[Node]()

    def rule(node: Node, inputs: tuple[int, ...], plans: tuple[int, ...]) -> int:
        seen.append(node)
        return 1 + sum(inputs) + sum(plans)

    body = chain(2)
    plan = Plan((start,), Choose((start, start), cases=((0, body), (1, body))))
    assert plan.fold(rule) == 1 + 2 * 1 + 2 * 3
    assert len(seen) == 5


def test_the_plan_between_two_nodes_starts_at_one_and_ends_at_the_other() -> None:
    plan = chain(5)
    middle = between([plan.order[1]], plan.order[3])
    assert middle.text == chain(2).text
    with pytest.raises(PipelineError, match="another plan"):
        between([plan.order[3]], plan.order[1])


def test_the_readers_of_a_plan_are_those_that_take_its_own_input() -> None:
    """In sub-plans too, where the input is passed on to them, and only there."""
    start, key = Input(), Step(fn=same, name="key")
    value, other = Input(), Input()
    both = Pack((Call((value,), step=key), Call((other,), step=Step(fn=same, name="no"))), names=("a", "b"))
    node = Sub((start, Call((start,), step=Step(fn=same, name="yes"))), body=Plan((value, other), both))
    steps = [each.name for each in Plan((start,), node).readers()]
    assert sorted(steps) == ["key", "yes"]


@pytest.mark.parametrize(("fn", "vectorized"), [(later, True), (same, False)])
def test_a_row_form_that_nothing_would_call_is_refused(fn: Callable[..., Any], vectorized: bool) -> None:
    with pytest.raises(PipelineError, match="step 'half': one= is the row form of a vectorized function"):
        Step(fn=fn, one=same, name="half", vectorized=vectorized)
