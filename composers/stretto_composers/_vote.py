"""The majority of the members' labels, or of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Join, Node, Pack, Part
from stretto_composers._members.members import call, classes_of, common_classes, fan_out
from stretto_composers._members.probabilities import Probabilities, probabilities_of
from stretto_composers._members.ties import Rule, tie_of
from stretto_composers._members.votes import Labels, check_labels
from stretto_composers._members.weights import weights_of

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
    x, hard = fan_out(x, members), voting == "hard"
    if not isinstance(x, Pack):
        kind = Labels if hard else Probabilities
        return call(x, kind(weights_of("vote", weights, None), tie_of("vote", tie, None, None)), "vote")
    if hard:
        check_labels("vote", x)
    else:
        x = replace(x, inputs=tuple(map(probabilities_of, x.names, x.inputs)))
    columns, classes = classes_of(x), common_classes("vote", x)
    rule, weighing = tie_of("vote", tie, x.names, classes), weights_of("vote", weights, x.names)
    if not hard:
        return Join.over(x, Probabilities(weighing, rule, x.names, x.on_error, early_stop, classes, columns))
    # A function may answer any label.
    every = classes if len(columns) == len(x.names) else None
    return Join.over(x, Labels(weighing, rule, x.names, x.on_error, early_stop, every))
