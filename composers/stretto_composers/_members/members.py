"""The members of a composer: their names, their fan-out, and what is known of their answers."""

from collections.abc import Sequence
from typing import Any

from stretto.errors import PipelineError
from stretto.nodes import Answers, Call, Node, Pack, Part, Step, answers_of, as_pipeline


def labels_of(members: Sequence[Part[Any, Any]]) -> tuple[str, ...]:
    """Return each member's name; where two have one, they are numbered in the order written."""
    labels = [as_pipeline(member).label for member in members]
    return tuple(f"{label}-{i}" if labels.count(label) > 1 else label for i, label in enumerate(labels, 1))


def fan_out(x: Node, members: Sequence[Part[Any, Any]]) -> Node:
    """Return the fan-out of the members over `x`; without members `x` itself, which may be one."""
    if not members:
        return x
    nodes: list[Node] = []
    for member in members:  # one frame less than in a comprehension: composers nest
        nodes.append(as_pipeline(member)(x))  # noqa: PERF401
    return Pack(tuple(nodes), names=labels_of(members))


def call(x: Node, fn: Any, name: str, **options: Any) -> Node:
    """Return the call of a composer's own function: `fn` takes many rows, and its method `one` takes one."""
    return Call((x,), step=Step(fn=fn, one=fn.one, name=name, vectorized=True, named=False, **options))


def known(x: Pack) -> dict[str, Answers]:
    """Return what is known of the answers of each branch."""
    return dict(zip(x.names, map(answers_of, x.inputs), strict=True))


SEVERAL = (
    "is a classifier of several targets, which answers with several labels a row: put a function behind it that takes "
    "one of them, or fit a classifier for each"
)


def classes_of(x: Pack) -> dict[str, tuple[Any, ...]]:
    """Return the classes of each branch that is a classifier, in the order of its probabilities."""
    return {name: answers.classes for name, answers in known(x).items() if answers.classes is not None}


def common_classes(composer: str, x: Pack) -> tuple[Any, ...] | None:
    """Return the classes that all classifiers of the fan-out have; None where there are none.

    They are in the order in which all of them have them, or else sorted.
    """
    by_name = classes_of(x)
    if not by_name:
        return None
    (first, classes), *others = by_name.items()
    for name, own in others:
        if set(own) != set(classes):
            raise PipelineError(
                f"{composer}(): {first!r} tells [{listed(classes)}] apart and {name!r} [{listed(own)}]: fit them on "
                "the same classes, or name these alike with model(..., labels=[...]); where it is meant so, put a "
                "function behind one of them"
            )
    if all(own == classes for _, own in others):
        return classes
    try:
        return tuple(sorted(classes))
    except TypeError:  # labels that can't be compared
        return classes


def short(value: Any, most: int = 120) -> str:
    """Return the value's text, cut after so many characters.

    >>> short("abcdef", 7)
    "'abc..."
    """
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def listed(values: Sequence[Any], most: int = 12) -> str:
    """Return the texts of the values, the first so many of them.

    >>> listed("abc", 2)
    "'a', 'b' and 1 more"
    """
    shown = ", ".join(map(repr, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"
