"""What is known of a node's answers before anything runs, and the node that answers otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from stretto.errors import Disagreement, ModelError
from stretto.models.estimator import Kind, Output, check_output
from stretto.models.input.mixed import Mixed
from stretto.models.method import Method
from stretto.models.parts import rows_step
from stretto.models.step import ModelFunction, on_engine, with_function
from stretto.plan.nodes import Aside, Call, Choose, Node, Recover, Sub, Within
from stretto.plan.plan import Plan
from stretto.plan.steps import ModelInfo, Step


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of a node's answers before anything runs; of what is no model, nothing.

    `output` is what a model answers with and `outputs` all that it can, in the words of ``model(..., output=)``. `kind`
    is ``"classifier"``, ``"regressor"`` or empty. `classes` are what it tells apart, as its answers name them and in
    the order of its probabilities, or None. `features` is how many numbers a row of its has, where that is known.
    """

    output: str = ""
    outputs: tuple[str, ...] = ()
    kind: Kind = ""
    classes: tuple[Any, ...] | None = None
    features: int | None = None


def answers_of(node: Node) -> Answers:
    """Return what is known of a node's answers before anything runs.

    Composers that pass a part's answer on, such as `switch` and `fallback`, are seen through: it is what all the parts
    that can answer have in common, and nothing where their answers or classes differ.

    >>> from stretto.nodes import Input
    >>> answers_of(Input())
    Answers(output='', outputs=(), kind='', classes=None, features=None)
    """
    match node:
        case Call(step=Step(model=ModelInfo() as model)):
            return Answers(model.output, model.outputs, model.kind, model.classes, model.n_features)
        case Sub() | Within() | Recover() | Choose():
            return _common([answers_of(plan.output) for plan in node.plans])
        case Aside(inputs=(main, *_)):
            return answers_of(main)
        case _:
            return Answers()


def _common(known: list[Answers]) -> Answers:
    if len({(each.output, each.kind, repr(each.classes)) for each in known}) != 1:
        return Answers()
    first, *others = known
    outputs = tuple(output for output in first.outputs if all(output in each.outputs for each in others))
    same = all(each.features == first.features for each in others)
    return replace(first, outputs=outputs, features=first.features if same else None)


def _model(node: Node) -> ModelFunction | None:
    step = node.step if isinstance(node, Call) else None
    return step.fn if isinstance(step, Step) and isinstance(step.fn, ModelFunction) else None


def answering(node: Node, output: Output, *, named: bool = True) -> Node | None:
    """Return the node whose model answers with `output` instead; None where it is no model, or one that can't.

    Composers that pass a part's answer on are seen through, as by `answers_of`. Without `named` the labels that the
    user gave the classes are left out, and the answers are the estimator's own.
    """
    fn = _model(node)
    match node:
        case Call(step=Step() as step) if fn is not None:
            made = _function(fn, output, named)
            return None if made is None else replace(node, step=with_function(step, made))
        case Sub() | Within() | Recover() | Choose():
            plans = [_plan_answering(plan, output, named) for plan in node.plans]
            return None if None in plans else node.rebuild(node.inputs, cast("tuple[Plan, ...]", tuple(plans)))
        case Aside(inputs=(main, *rest)):
            changed = answering(main, output, named=named)
            return None if changed is None else node.rebuild((changed, *rest), node.plans)
        case _:
            return None


def _plan_answering(plan: Plan, output: Output, named: bool) -> Plan | None:
    changed = answering(plan.output, output, named=named)
    return None if changed is None else Plan(plan.inputs, changed)


def _function(fn: ModelFunction, output: Output, named: bool) -> ModelFunction | None:
    labels = fn.labels if named else None
    if fn.output == output:
        return replace(fn, labels=labels)
    try:
        method = Method(fn.estimator, check_output(fn.estimator, output), named=isinstance(fn.schema, Mixed))
    except ModelError:
        return None
    model = replace(fn, method=method, labels=labels)
    try:
        return on_engine(model, fn.engine) if fn.engine else model
    except (Disagreement, ModelError) as error:
        return replace(model, note=f"not compiled: {error.message}")


def rows_read(node: Node) -> Node | None:
    """Return the node of the rows that a model's node is given, as the model reads them; None where it is no model.

    They are an array of shape (n_rows, n_features), in the order of its features, or for a model of mixed columns a
    dict of these.
    """
    fn = _model(node)
    if fn is None:
        return None
    return Call(node.inputs, step=rows_step(fn.schema))
