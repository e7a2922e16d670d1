"""A model over the members' answers."""

from __future__ import annotations

from typing import Any, Literal, get_args

from stretto import Pipeline, composer
from stretto.errors import PipelineError
from stretto.nodes import Answers, Call, Input, Node, Pack, Part, Step, answering, answers_of, as_pipeline, rows_read
from stretto_composers._features import Features, as_table
from stretto_composers._members import each_branch, fan_out, known, own_name, source_of, up_to

Method = Literal["auto", "predict_proba", "decision_function", "predict"]
OUTPUTS: dict[str, Any] = {"predict_proba": "proba", "decision_function": "decision", "predict": "predict"}
"""The methods of estimators, the first that a member has going first, and the outputs that give what they do."""


@composer
def stack(
    x: Node, meta: Part[Any, Any], *members: Part[Any, Any], passthrough: bool = False, method: Method = "auto"
) -> Node:
    """Answer with what the fitted model `meta` makes of the members' answers.

    ``stack(meta, a, b)`` and ``parallel(a, b) >> stack(meta)`` mean the same. The answers stand side by side as the
    features of `meta`, in the order of members, as in scikit-learn's ``StackingClassifier`` and ``StackingRegressor``
    with ``cv="prefit"``: a model gives its probabilities, else its decisions, else what it predicts, or all give what
    `method` says; of the two probabilities of a binary classifier the second; and classes are the estimators' own,
    without labels. A model with another `output` than ``"predict"`` keeps it with ``"auto"``. Another member gives a
    number, an array or a dict of numbers. With `passthrough` the row itself comes behind them, in the order of the
    first model's features. A member that fails fails the row.

    Raises:
        PipelineError: a member can't answer by `method`, `meta` was fitted on another number of features, or the
        members
            are a fan-out that leaves out those that fail.

    >>> import asyncio
    >>> from sklearn.linear_model import LinearRegression
    >>> from stretto import Client
    >>> meta = LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [0, 2, 3])
    >>> async def main():
    ...     async with Client(stack(meta, lambda x: x, lambda x: x * x)) as client:
    ...         return round(await client.predict(2), 6)
    >>> asyncio.run(main())
    16.0
    """
    if method not in get_args(Method):
        raise PipelineError(f"stack(method={method!r}): it is {', '.join(map(repr, get_args(Method)))}")
    final = as_pipeline(meta)
    given, x = x, fan_out(x, members)
    if not isinstance(x, Pack):
        if passthrough and not isinstance(x, Input):
            raise PipelineError(
                "stack(passthrough=True) needs its members: stack(meta, a, b, passthrough=True), or parallel(a, b) "
                "right before it"
            )
        return final(Call((x,), step=Step(fn=Features(), name="stack", vectorized=True, named=False)))
    if x.on_error == "omit":
        raise PipelineError(
            "stack() needs every member's answer, and on_error='omit' leaves some out: give a value there"
        )
    asked = each_branch(x, lambda name, node: _asked(name, node, method))
    seconds = tuple(name for name, answers in known(asked).items() if _is_binary(answers))
    widths = [_width(answers) - (name in seconds) for name, answers in known(asked).items()]
    if passthrough:
        start = given if members else source_of(x)
        if start is None:
            raise PipelineError(
                "stack(passthrough=True) can't tell what its one member was given: stack(meta, member, ...)"
            )
        rows, width = _rows(start, asked)
        asked = Pack((*asked.inputs, rows), names=(*asked.names, own_name("rows", asked.names)), on_error=x.on_error)
        widths.append(width)
    _check_width(final, asked.names, widths)
    return final(Call((asked,), step=Step(fn=Features(seconds), name="stack", vectorized=True, named=False)))


UNKNOWN = -1000
"""Stands for a width that nobody knows: however many are added, the sum stays below zero."""


def _asked(name: str, node: Node, method: Method) -> Node:
    answers = answers_of(node)
    if not answers.output or (method == "auto" and answers.output in ("proba", "decision", "transform")):
        return node
    if method == "auto":
        wanted = (
            "proba" if answers.output == "label_proba" else next(x for x in OUTPUTS.values() if x in answers.outputs)
        )
    else:
        wanted = OUTPUTS[method]
    asked = answering(node, wanted, named=False)
    if asked is None:
        raise PipelineError(
            f"stack(method={method!r}): {name!r} has no {method}; it has {', '.join(_methods(answers))}: "
            "leave method= out to take what each has"
        )
    return asked


def _methods(answers: Answers) -> list[str]:
    return [method for method, output in OUTPUTS.items() if output in answers.outputs]


def _is_binary(answers: Answers) -> bool:
    return answers.output == "proba" and answers.classes is not None and len(answers.classes) == 2


def _width(answers: Answers) -> int:
    """Return how many numbers a member's answer has."""
    match answers:
        case Answers(output="proba", classes=tuple() as classes):
            return len(classes)
        case Answers(output="predict", kind="classifier", classes=tuple()):
            return 1
        case Answers(output="decision", classes=(_, _)):
            return 1
        case _:
            return UNKNOWN


def _rows(start: Node, x: Pack) -> tuple[Node, int]:
    """Return the node of the rows as the first model that is given them reads them, and how many numbers one has."""
    for branch in x.inputs:
        for node in up_to(branch):
            rows = rows_read(node) if node.inputs[:1] == (start,) else None
            if rows is not None:
                return rows, answers_of(node).features or UNKNOWN
    return Call((start,), step=Step(fn=as_table, name="rows", vectorized=True, named=False)), UNKNOWN


def _check_width(final: Pipeline[Any, Any], names: tuple[str, ...], widths: list[int]) -> None:
    plan = final.plan()
    takes = answers_of(plan.output).features if len(plan.order) == 1 else None
    if takes is not None and 0 <= sum(widths) != takes:
        parts = ", ".join(f"{name!r} {width}" for name, width in zip(names, widths, strict=True))
        raise PipelineError(
            f"stack(): {final.label!r} was fitted on {takes} features, and the members give {sum(widths)}: {parts}; "
            "fit it on their answers, in this order, or see passthrough= and method="
        )
