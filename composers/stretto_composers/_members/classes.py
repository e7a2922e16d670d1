"""Whether members speak of the same classes."""

from __future__ import annotations

from typing import Any

from stretto.errors import PipelineError
from stretto.nodes import Pack
from stretto_composers._members.members import known


def orders(x: Pack) -> dict[str, tuple[Any, ...]]:
    """Return the classes of each branch that is a classifier, in the order of its probabilities."""
    return {name: answers.classes for name, answers in known(x).items() if answers.classes is not None}


def agreed(composer: str, x: Pack) -> tuple[Any, ...] | None:
    """Return the classes that all classifiers of the fan-out have; None where there are none.

    They are in the order in which all of them have them, or else sorted.

    Raises:
        PipelineError: some tell others apart; it names two.
    """
    by_name = orders(x)
    if not by_name:
        return None
    (first, classes), *others = by_name.items()
    for name, own in others:
        if set(own) != set(classes):
            raise PipelineError(
                f"{composer}(): {first!r} tells {_list(classes)} apart and {name!r} {_list(own)}: fit them on the same "
                "classes, or name these alike with model(..., labels=[...]); where it is meant so, put a function "
                "behind one of them"
            )
    if all(own == classes for _, own in others):
        return classes
    try:
        return tuple(sorted(classes))
    except TypeError:  # labels that can't be compared
        return classes


def _list(classes: tuple[Any, ...]) -> str:
    shown = ", ".join(map(repr, classes[:8]))
    return f"[{shown}{', ...' if len(classes) > 8 else ''}]"


def check_labels(composer: str, x: Pack) -> None:
    """Raise for a member whose answers surely are no labels.

    Raises:
        PipelineError: it is a regressor, or a model with another output.
    """
    for name, answers in known(x).items():
        if answers.kind == "regressor":
            raise PipelineError(
                f"{composer}(): {name!r} is a regressor, whose numbers are no labels: use average() or median()"
            )
        if answers.output not in ("", "predict"):
            raise PipelineError(
                f"{composer}(): {name!r} answers with output={answers.output!r}, and votes are counted by labels: "
                "leave output= out, or write vote(..., voting='soft')"
            )
