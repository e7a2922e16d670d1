"""The answer that enough members agree on, or the best there is by a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Input, Join, Node, Pack, Part
from stretto_composers._members.agreeing import Agreeing
from stretto_composers._members.classes import agreed, check_labels
from stretto_composers._members.members import call, fan_out
from stretto_composers._members.ties import Rule, checked_tie
from stretto_composers._members.weights import Weights, checked
from stretto_composers._policies.numbers import number, seconds

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
    """Return the label that `k` members agree on, as soon as they do; the others are cancelled or never started.

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
    within, report = None if by is None else seconds("by", by), answer == "report"
    x = fan_out(x, members)
    weighing = checked("quorum", weights, x.names if isinstance(x, Pack) else None)
    if not isinstance(x, Pack):
        rule = checked_tie("quorum", tie, None, None)
        if within is not None and not isinstance(x, Input):
            raise PipelineError(
                "quorum(by=...) needs its members: quorum(2, a, b, c), or parallel(a, b, c) right before it"
            )
        return call(x, Agreeing(weighing, rule, k=_needed(k, weighing), report=report), "quorum")
    check_labels("quorum", x)
    needed = _needed(k, weighing)
    _check_reachable(k, needed, weighing, x.names)
    rule = checked_tie("quorum", tie, x.names, agreed("quorum", x))
    until = Agreeing(weighing, rule, x.names, on_error=x.on_error, k=needed, report=report, by=within)
    return Join.over(x, until, seconds=within)


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
