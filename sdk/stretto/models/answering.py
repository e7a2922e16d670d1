"""The node of a model with another output in its place, or with the rows that it reads."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from stretto.errors import Disagreement, ModelError
from stretto.models.estimator import Output, check_output
from stretto.models.function import ModelFunction, rows_step
from stretto.models.input.mixed import MixedInput
from stretto.models.method import method_of
from stretto.models.step import on_engine, with_function
from stretto.plan.nodes import Aside, Call, Choose, Node, Recover, Sub, Within
from stretto.plan.plan import Plan
from stretto.plan.steps import Step


def answering(node: Node, output: Output, *, named: bool = True) -> Node | None:
    """Return the node whose model answers with `output` instead, None where no model does or it does not support that.

    Composers that pass the answer of one of their parts on are seen through, as by `answers_of`. Without `named` the
    classes go without the labels that the user gave them: the answers are the estimator's own.
    """
    fn = _model(node)
    match node:
        case Call(step=Step() as step) if fn is not None:
            changed = _with_output(fn, output, named)
            return None if changed is None else replace(node, step=with_function(step, changed))
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


def _with_output(fn: ModelFunction, output: Output, named: bool) -> ModelFunction | None:
    labels = fn.labels if named else None
    if fn.output == output:
        return replace(fn, labels=labels)
    try:
        mixed = isinstance(fn.reader, MixedInput)
        method = method_of(fn.estimator, check_output(fn.estimator, output), mixed=mixed)
    except ModelError:
        return None
    model = replace(fn, method=method, labels=labels)
    try:
        return on_engine(model, fn.engine) if fn.engine else model
    except (Disagreement, ModelError) as error:
        return replace(model, note=f"not compiled: {error.message}")


def rows_read(node: Node) -> Node | None:
    """Return the node of the rows of a model's node, as the model reads them; None where there is no model.

    They are an array of shape (n_rows, n_features), in the order of its features, or for a model of mixed columns a
    dict of columns.
    """
    fn = _model(node)
    return None if fn is None else Call(node.inputs, step=rows_step(fn.reader))


def _model(node: Node) -> ModelFunction | None:
    step = node.step if isinstance(node, Call) else None
    return step.fn if isinstance(step, Step) and isinstance(step.fn, ModelFunction) else None
