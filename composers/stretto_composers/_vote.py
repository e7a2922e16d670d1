"""The majority of the members' labels, or of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Join, Node, Pack, Part
from stretto_composers._members.classes import agreed, check_labels, orders
from stretto_composers._members.election import Election
from stretto_composers._members.members import call, each_branch, fan_out
from stretto_composers._members.probabilities import Probabilities, probabilities_of
from stretto_composers._members.ties import Rule, checked_tie
from stretto_composers._members.votes import Labels
from stretto_composers._members.weights import checked

Voting = Literal["hard", "soft"]


@composer
def vote(
    x: Node,
    *members: Part[Any, Any],
    weights: Mapping[str, float] | Sequence[float] | None = None,
    tie: Rule = "first",
    voting: Voting = "hard",
    early_stop: bool = True,
) -> Node:
    """Return the label that most members give, or the one they find likeliest together.

    ``vote(a, b, c)`` and ``parallel(a, b, c) >> vote()`` mean the same: members are asked side by side, and as soon as
    the label is certain the others are cancelled or never started, row by row; ``early_stop=False`` asks all. The label
    is that of scikit-learn's ``VotingClassifier`` over the same fitted members.

    `weights` count votes or probabilities, by branch name or in the order of members; a member without one weighs 1.
    `tie` says who wins of labels with equal votes: the ``"first"`` in the order of the models' classes, or else in sort
    order; the one that the member of this name gave; the first of a list of labels; or what a function gives of them.

    With ``voting="soft"`` probabilities are added up: models are asked for them, whatever their `output`; another
    member answers a dict of label to probability. A member that fails fails the row, unless the label is certain
    whatever it could have said; after ``parallel(..., on_error="omit")`` it has no vote.

    Raises:
        PipelineError: weights are not finite numbers from zero up, all zero, not as many as members or not theirs;
            members tell different classes apart; or one is a model that has no label or no probabilities.

    >>> import asyncio
    >>> from stretto import Client
    >>> async def main():
    ...     async with Client(vote(lambda x: "low", lambda x: "high", lambda x: "high")) as client:
    ...         return await client.predict(1)
    >>> asyncio.run(main())
    'high'
    """
    if voting not in get_args(Voting):
        raise PipelineError(f"vote(voting={voting!r}): it is 'hard' or 'soft'")
    x = fan_out(x, members)
    kind: type[Election] = Labels if voting == "hard" else Probabilities
    if not isinstance(x, Pack):
        return call(x, kind(checked("vote", weights, None), checked_tie("vote", tie, None, None)), "vote")
    if voting == "soft":
        x = each_branch(x, probabilities_of)
    else:
        check_labels("vote", x)
    classes, columns = agreed("vote", x), orders(x)
    options: dict[str, Any] = {"classes": classes, "columns": columns}
    if voting == "hard":  # a function may answer any label
        options = {"classes": classes if len(columns) == len(x.names) else None}
    rule = checked_tie("vote", tie, x.names, classes)
    weighing = checked("vote", weights, x.names)
    return Join.over(x, kind(weighing, rule, x.names, on_error=x.on_error, early_stop=early_stop, **options))
