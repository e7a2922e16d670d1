"""Cheap parts first, and expensive ones for the rows that need them."""

from collections.abc import Sequence
from typing import Any, get_args

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Join, Node, Part, plan_of
from stretto_composers._cascades.tiers import Answer, InTurn, Test, tiers_of
from stretto_composers._members.members import labels_of


@composer
def cascade(x: Node, *tiers: Part[Any, Any], until: Test | Sequence[Test], answer: Answer = "label") -> Node:
    """Return the answer of the first tier that is sure of the row: cheap tiers first, expensive ones for what is left.

    `until` says when a tier is sure: ``confidence(0.9)``, by its probabilities, or ``agreement(0.8)``, by the share of
    a fan-out's members that say the same; or a list of them, one for each tier but the last, which is always sure. The
    answer is the label that the deciding tier means: the likeliest of its probabilities, the one most of its members
    say, or what it answers, if that is a label already. With ``answer="tier"`` it is what that tier answered, as it is.
    In a batch only the rows that are not sure go on, together. A tier that fails fails its rows.

    Raises:
        PipelineError: there are fewer than two tiers, the tests are not as many, or a tier is a model that does not
            answer what its test reads.

    >>> import asyncio
    >>> from stretto import Client
    >>> from stretto_composers import confidence
    >>> quick = lambda x: {"low": 1 - x, "high": x}
    >>> pipeline = cascade(quick, lambda x: "medium", until=confidence(0.9))
    >>> asyncio.run(Client(pipeline).predict_many([0.05, 0.5, 0.95]))
    ['low', 'medium', 'high']
    """
    if answer not in get_args(Answer):
        raise PipelineError(f"cascade(answer={answer!r}): it is 'label' or 'tier'")
    names = labels_of(tiers)
    decide = InTurn(names, tiers_of(tiers, until), answer)
    return Join((x,), members=tuple(map(plan_of, tiers)), names=names, until=decide, in_turn=True)
