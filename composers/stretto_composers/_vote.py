"""The majority of the members' labels, or of their probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Node, Part
from stretto_composers._members.members import fan_out
from stretto_composers._members.probabilities import Probabilities
from stretto_composers._members.ties import Rule
from stretto_composers._members.votes import Labels, elected

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
    >>> ensemble = vote(lambda x: "low", lambda x: "high", lambda x: "high")
    >>> asyncio.run(Client(ensemble).predict(1))
    'high'
    """
    if voting not in get_args(Voting):
        raise PipelineError(f"vote(voting={voting!r}): it is 'hard' or 'soft'")
    kind = Labels if voting == "hard" else Probabilities
    return elected(fan_out(x, members), kind, weights, tie, early_stop=early_stop)
