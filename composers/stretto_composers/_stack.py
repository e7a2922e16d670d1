"""A model over the members' answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from stretto import Pipeline, composer
from stretto.errors import PipelineError
from stretto.nodes import Input, Node, Pack, Part, answers_of, as_pipeline
from stretto_composers._members.members import call, fan_out, known
from stretto_composers._members.stacking import Method, Stacked, answering_by, is_binary, width_of, with_rows


@composer
def stack(
    x: Node, meta: Part[Any, Any], *members: Part[Any, Any], passthrough: bool = False, method: Method = "auto"
) -> Node:
    """Return the answer of the fitted model `meta` to the members' answers.

    ``stack(meta, a, b)`` and ``parallel(a, b) >> stack(meta)`` mean the same. The answers stand side by side as the
    features of `meta`, in the order of members, as in scikit-learn's ``StackingClassifier`` and ``StackingRegressor``
    with ``cv="prefit"``: a model gives its probabilities, else its decisions, else what it predicts, or all give what
    `method` says; of the two probabilities of a binary classifier the second; and classes are the estimators' own,
    without labels. A model with another `output` than ``"predict"`` keeps it with ``"auto"``. Another member gives a
    number, an array or a dict of numbers. With `passthrough` the row itself comes behind them, in the order of the
    first model's features. A member that fails fails the row.

    Raises:
        PipelineError: a member can't answer by `method`, `meta` was fitted on another number of features, or the
            members are a fan-out that leaves out those that fail.

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
    final, above, x = as_pipeline(meta), x if members else None, fan_out(x, members)
    if not isinstance(x, Pack):
        if passthrough and not isinstance(x, Input):
            raise PipelineError(
                "stack(passthrough=True) needs its members: stack(meta, a, b, passthrough=True), or parallel(a, b) "
                "right before it"
            )
        return final(call(x, Stacked(), "stack"))
    if x.on_error == "omit":
        raise PipelineError(
            "stack() needs every member's answer, and on_error='omit' leaves some out: give a value there"
        )
    x = replace(x, inputs=tuple(answering_by(method, *each) for each in zip(x.names, x.inputs, strict=True)))
    seconds = tuple(name for name, answers in known(x).items() if is_binary(answers))
    widths = [width_of(answers) - is_binary(answers) for answers in known(x).values()]
    if passthrough:
        x, width = with_rows(x, above)
        widths.append(width)
    _check_widths(final, x.names, widths)
    return final(call(x, Stacked(seconds), "stack"))


def _check_widths(final: Pipeline[Any, Any], names: tuple[str, ...], widths: list[float]) -> None:
    plan, total = final.plan(), sum(widths)
    takes = answers_of(plan.output).features if len(plan.order) == 1 else None
    if takes is not None and total == total != takes:
        parts = ", ".join(f"{name!r} {width:g}" for name, width in zip(names, widths, strict=True))
        raise PipelineError(
            f"stack(): {final.label!r} was fitted on {takes} features, and the members give {total:g}: {parts}; "
            "fit it on their answers, in this order, or see passthrough= and method="
        )
