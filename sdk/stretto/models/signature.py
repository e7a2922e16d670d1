"""What is known of a node's answers before anything runs, and the node that answers otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from stretto.errors import Disagreement, ModelError
from stretto.models.estimator import Output, check_output, outputs
from stretto.models.input.mixed import Mixed
from stretto.models.input.numeric import Given
from stretto.models.method import Method
from stretto.models.parts import Saying
from stretto.models.step import ModelFunction, on_engine
from stretto.onnx.compiled import Compiled
from stretto.plan.nodes import Aside, Call, Choose, Node, Recover, Within
from stretto.plan.plan import Plan
from stretto.plan.steps import Step

Kind = Literal["", "classifier", "regressor"]


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
    that can answer have in common, and nothing where they answer otherwise or tell other classes apart.

    >>> from stretto import Input
    >>> answers_of(Input())
    Answers(output='', outputs=(), kind='', classes=None, features=None)
    """
    fn = _model(node)
    match node:
        case Call() if fn is not None:
            return _answers(fn)
        case Call(step=Step() as step) if isinstance(step.fn, Saying):
            return Answers(step.fn.output, (), "classifier", step.fn.classes)
        case Within() | Recover() | Choose():
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


def _answers(fn: ModelFunction) -> Answers:
    count = getattr(fn.estimator, "n_features_in_", None)
    return Answers(fn.output, outputs(fn.estimator), _kind(fn.estimator), fn.classes, count)


def _kind(estimator: Any) -> Kind:
    if hasattr(estimator, "__sklearn_tags__"):
        from sklearn.base import is_classifier, is_regressor

        return "classifier" if is_classifier(estimator) else "regressor" if is_regressor(estimator) else ""
    return "classifier" if hasattr(estimator, "classes_") else ""


def answering(node: Node, output: Output, *, named: bool = True) -> Node | None:
    """Return the node whose model answers with `output` instead; None where it is no model, or one that can't.

    Composers that pass a part's answer on are seen through, as by `answers_of`. Without `named` the labels that the
    user gave the classes are left out, and the answers are the estimator's own.
    """
    fn = _model(node)
    match node:
        case Call(step=Step() as step) if fn is not None:
            made = _function(fn, output, named)
            return None if made is None else replace(node, step=replace(step, fn=made, key=made.key))
        case Within() | Recover() | Choose():
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
    made = replace(fn, method=method, labels=labels)
    return _compiled(made, fn) if isinstance(fn.method, Compiled) else made


def _compiled(made: ModelFunction, before: ModelFunction) -> ModelFunction:
    """Return the model compiled, as it was before, or say in its plan why it can't be."""
    match before.source:
        case ("onnx", source):
            made = replace(made, source=source, shown=before.shown.removesuffix(", engine='onnx'"))
        case _:
            pass
    try:
        return on_engine(made, "onnx")
    except (Disagreement, ModelError) as error:
        return replace(made, note=f"not compiled: {error.message}")


def rows_read(node: Node) -> Node | None:
    """Return the node of the rows that a model's node is given, as the model reads them; None where it is no model.

    They are an array of shape (n_rows, n_features), in the order of its features, or for a model of mixed columns a
    dict of these.
    """
    fn = _model(node)
    if fn is None:
        return None
    made = replace(fn, method=cast("Method", AsRead(fn.estimator)), labels=None, shown=f"as {fn.shown} takes them")
    reader = Step(fn=made, name="rows", vectorized=True, pure=True, key=made.key, named=False, reading=fn.schema)
    return Call(node.inputs, step=reader)


class AsRead:
    """Stands for a model's method and answers with the rows themselves."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.output = "rows"

    def __call__(self, given: Given) -> Any:
        """Return the rows."""
        return given.data
