"""The majority of the members' labels, or of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Answers, Call, Join, Node, Pack, Part, Step, answering, answers_of
from stretto_composers import _majority, _soft
from stretto_composers._agree import agreed, orders
from stretto_composers._members import each_branch, fan_out, known
from stretto_composers._ties import Rule, checked_tie
from stretto_composers._weights import checked

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
    """Answer with the label that most members give, or the one they find likeliest together.

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
    if not isinstance(x, Pack):
        weighing, rule = checked("vote", weights, None), checked_tie("vote", tie, None, None)
        fn = (_majority.OfColumns if voting == "hard" else _soft.OfColumns)(weighing, rule)
        return Call((x,), step=Step(fn=fn, name="vote", vectorized=True, named=False))
    if voting == "soft":
        x = each_branch(x, _probabilities)
    else:
        for name, answers in known(x).items():
            check_label("vote", name, answers)
    classes = agreed("vote", x)
    rule = checked_tie("vote", tie, x.names, classes)
    weighing = checked("vote", weights, x.names)
    if voting == "soft":
        until: Any = _soft.Likeliest(
            weighing,
            rule,
            names=x.names,
            classes=classes,
            columns=orders(x),
            on_error=x.on_error,
            early_stop=early_stop,
        )
    else:
        # What a function may say nobody knows.
        every = classes if len(orders(x)) == len(x.names) else None
        until = _majority.Majority(
            weighing, rule, names=x.names, classes=every, on_error=x.on_error, early_stop=early_stop
        )
    return Join.over(replace(x, on_error="raise"), until)


def check_label(composer: str, name: str, answers: Answers) -> None:
    """Refuse a member whose answers surely are no labels.

    Raises:
        PipelineError: it is a regressor, or a model that answers otherwise.
    """
    if answers.kind == "regressor":
        raise PipelineError(
            f"{composer}(): {name!r} is a regressor, whose numbers are no labels: use average() or median()"
        )
    if answers.output not in ("", "predict"):
        raise PipelineError(
            f"{composer}(): {name!r} answers with output={answers.output!r}, and votes are counted by labels: leave "
            "output= out, or write vote(..., voting='soft')"
        )


def _probabilities(name: str, node: Node) -> Node:
    answers = answers_of(node)
    if answers.kind == "regressor":
        raise PipelineError(f"vote(voting='soft'): {name!r} is a regressor, which has no probabilities: use average()")
    if not answers.output or answers.output == "proba":
        return node
    asked = answering(node, "proba")
    if asked is None and answers.output == "label_proba":
        return node
    if answers.output not in ("predict", "label_proba") or asked is None or answers.classes is None:
        if not answers.outputs:
            raise PipelineError(f"vote(voting='soft'): give {name!r} output='label_proba': it can't be asked otherwise")
        what = f"answers with output={answers.output!r}" if "proba" in answers.outputs else "has no predict_proba"
        raise PipelineError(
            f"vote(voting='soft'): {name!r} {what}: leave it out, write voting='hard', or fit it so that it gives "
            "probabilities, as with CalibratedClassifierCV"
        )
    return asked
