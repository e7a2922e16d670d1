"""A branch picked by a key, row by row."""

from collections.abc import Mapping
from typing import Any, cast

from stretto import composer
from stretto.errors import PipelineError
from stretto.nodes import Choose, Node, Part, answers_of, as_pipeline, plan_of
from stretto_composers._members.dicts import members_of


@composer
def switch(
    x: Node, key: Part[Any, Any] | str, cases: Mapping[Any, Part[Any, Any]], default: Part[Any, Any] | None = None
) -> Node:
    """Return the answer of the case that `key` picks for the row, or of `default`; the others never start.

    `key` is a function of the row, a model, or the name of a field. In a batch the rows part, each case gets its own in
    one go, and they come together in order. A key without a case and without `default` fails the row; a row that lacks
    the field is refused.

    Raises:
        PipelineError: there are no cases, one is for a key that never equals itself, or `key` is a model, and one is
            for what it never answers, or it answers what has no case and there is no default.

    >>> import asyncio
    >>> from stretto import Client
    >>> sign = switch(lambda x: x < 0, {True: lambda x: "negative"}, default=lambda x: "positive")
    >>> asyncio.run(Client(sign).predict_many([1, -1]))
    ['positive', 'negative']
    """
    if not isinstance(cast("object", cases), Mapping):
        raise PipelineError(f"switch() takes a dict from each key to its part, not {cases!r}")
    if not cases:
        raise PipelineError("switch() needs at least one case")
    plans = tuple((case, plan_of(part)) for case, part in cases.items())
    choice = keyed(x, key)
    _check(choice, tuple(cases), default is not None)
    return Choose((x, choice), cases=plans, default=None if default is None else plan_of(default))


def keyed(x: Node, key: Part[Any, Any] | str) -> Node:
    """Return the node of a key: what a part answers, or a field."""
    return members_of(x, (key,), alone=True, internal=True) if isinstance(key, str) else as_pipeline(key)(x)


def _check(choice: Node, cases: tuple[Any, ...], default: bool) -> None:
    odd = [case for case in cases if case != case]
    if odd:
        raise PipelineError(f"switch() has a case for {odd[0]!r}, which equals no key, not even itself")
    model = answers_of(choice)
    if model.classes is None or model.output != "predict":
        return
    never = [case for case in cases if case not in model.classes]
    absent = [label for label in model.classes if label not in cases]
    labels = ", ".join(map(repr, model.classes))
    if never:
        raise PipelineError(f"switch() has a case for {never[0]!r}, which the model never answers; it answers {labels}")
    if absent and not default:
        raise PipelineError(f"switch() has no case for {absent[0]!r}, and no default; the model answers {labels}")
