"""The answer that enough members agree on, or the best there is by a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Call, Input, Join, Node, Pack, Part, Plan, Step
from stretto_composers._agree import agreed
from stretto_composers._agreement import Agreement, OfRows, Timer
from stretto_composers._members import fan_out, known, own_name, source_of
from stretto_composers._numbers import number
from stretto_composers._settings import positive
from stretto_composers._ties import Rule, checked_tie
from stretto_composers._vote import check_label
from stretto_composers._weights import Weights, checked

Answer = Literal["label", "report"]


@composer
def quorum(
    x: Node,
    k: float,
    *members: Part[Any, Any],
    by: float | None = None,
    weights: Mapping[str, float] | Sequence[float] | None = None,
    tie: Rule = "first",
    answer: Answer = "label",
) -> Node:
    """Answer with the label that `k` members agree on, as soon as they do; the others are cancelled or never started.

    ``quorum(2, a, b, c)`` and ``parallel(a, b, c) >> quorum(2)`` mean the same. With `weights` each member has as many
    votes as it weighs, and `k` is how many votes it takes. A member that fails has no vote. A row for which too few
    agree fails once all are in, as a ``NoQuorum``.

    With `by`, in seconds from when the members start, it is answered all the same: with the majority of those that have
    arrived by then, or before that if all have; `tie` says who wins of equal ones, as in `vote`. Where none has
    answered by then, the row fails with `DeadlineExceeded`. Of a batch, it is the time for all rows together.

    With ``answer="report"`` the answer is a dict: the ``"answer"``, its ``"share"`` of the votes that are in, and the
    names of those that ``"agree"``, ``"differ"``, ``"failed"`` or are ``"missing"``.

    Raises:
        PipelineError: `k` is below one or above the votes there are, `by` is no time, a weight does not belong to a
            member, or members tell different classes apart.

    >>> import asyncio
    >>> from stretto import Client
    >>> async def slow(x):
    ...     await asyncio.sleep(60)
    >>> async def main():
    ...     async with Client(quorum(2, slow, lambda x: "yes", lambda x: "yes")) as client:
    ...         return await client.predict(1)
    >>> asyncio.run(main())
    'yes'
    """
    if answer not in get_args(Answer):
        raise PipelineError(f"quorum(answer={answer!r}): it is 'label' or 'report'")
    seconds = None if by is None else positive("by", by)
    given, x = x, fan_out(x, members)
    if not isinstance(x, Pack):
        weighing = checked("quorum", weights, None)
        rule = checked_tie("quorum", tie, None, None)
        if seconds is not None and not isinstance(x, Input):
            raise PipelineError(
                "quorum(by=...) needs its members: quorum(2, a, b, c), or parallel(a, b, c) right before it"
            )
        fn = OfRows(Agreement(_needed(k, weighing), weighing, rule, report=answer == "report"))
        return Call((x,), step=Step(fn=fn, name="quorum", vectorized=True, named=False))
    for name, answers in known(x).items():
        check_label("quorum", name, answers)
    classes = agreed("quorum", x)
    weighing = checked("quorum", weights, x.names)
    needed = _needed(k, weighing)
    _check_reachable(k, needed, weighing, x.names)
    rule = checked_tie("quorum", tie, x.names, classes)
    until = Agreement(needed, weighing, rule, x.names, x.on_error, report=answer == "report")
    if seconds is None:
        return Join.over(x, until)
    return _timed(x, until, seconds, given if members else source_of(x))


def _timed(x: Pack, until: Agreement, seconds: float, source: Node | None) -> Node:
    """Return the node that decides from the branches as they arrive, one of which is a timer."""
    timer = own_name(f"by {seconds:g} s", x.names)
    start, same = Input(), Input()
    ring = Call((start,), step=Step(fn=Timer(seconds), name=timer, vectorized=True, named=False))
    return Join(
        (*x.inputs, source or _first(x)),
        members=(*(Plan((same,), same),) * len(x.names), Plan((start,), ring)),
        names=(*x.names, timer),
        until=until.by(timer, seconds),
        own_inputs=True,
    )


def _needed(k: Any, weights: Weights) -> float:
    needed = number(k)
    if needed is None or needed <= 0 or (weights.even and not needed.is_integer()):
        hint = "; members go behind it, as in quorum(2, a, b, c)" if needed is None else ""
        raise PipelineError(f"quorum({k!r}): k is how many members must agree, a whole number from 1 on{hint}")
    return needed


def _check_reachable(k: float, needed: float, weights: Weights, names: tuple[str, ...]) -> None:
    votes = sum(weights.of(names))
    if needed > votes:
        what = f"{len(names)} members" if weights.even else f"{votes:g} votes"
        raise PipelineError(f"quorum({k!r}): there are {what}, {list(names)}, so it could never be reached")


def _first(x: Node) -> Node:
    """Return the value that the plan begins with."""
    while x.inputs:
        x = x.inputs[0]
    return x
