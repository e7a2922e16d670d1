"""Parts of the traffic for parts of a pipeline: A/B tests and canaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from stretto import Pipeline, composer
from stretto.errors import PipelineError
from stretto.nodes import Call, Choose, Node, Part, Step, as_pipeline, plan_of
from stretto_composers._members.members import labels_of
from stretto_composers._policies.numbers import number
from stretto_composers._policies.rendezvous import Arms
from stretto_composers._switch import keyed


@composer
def split(x: Node, parts: Mapping[Any, Any], key: Part[Any, Any] | str | None = None, *, salt: str = "") -> Node:
    """Return the answer of one of several parts, each for its fraction of the keys: A/B tests and canaries.

    `parts` is a dict from each part to its weight, ``{current: 0.9, candidate: 0.1}``, or from a name to both,
    ``{"current": (current, 0.9), "candidate": (candidate, 0.1)}``. `key` is a function of the row or the name of a
    field; without it the whole row is the key. Equal keys go to one part always: on every replica, in every process,
    after a restart. Raising a part's weight moves keys to that part and none between the others. Splits with other
    names or another `salt` are independent of each other. A key that is None fails the row.

    Raises:
        PipelineError: there are no parts, a weight is no number or negative, all are zero, or two parts have one name.

    >>> import asyncio
    >>> from stretto import Client
    >>> canary = split({"current": (lambda row: "v1", 0.9), "candidate": (lambda row: "v2", 0.1)}, key="user")
    >>> async def main():
    ...     async with Client(canary) as client:
    ...         answers = await client.predict_many([{"user": user} for user in range(1000)])
    ...         return answers.count("v2"), (await client.trace({"user": 8})).spans[-2].name
    >>> asyncio.run(main())
    (97, 'split/candidate')
    """
    arms = _arms(parts)
    weights = tuple(weight for _, weight in arms.values())
    names = tuple(arms)
    step = Step(fn=Arms(names, weights, salt), name="split", named=False, internal=True)
    source = x if key is None else keyed(x, key)
    plans = tuple((name, plan_of(part)) for name, (part, _) in arms.items())
    return Choose((x, Call((source,), step=step)), cases=plans)


def _arms(parts: Mapping[Any, Any]) -> dict[str, tuple[Pipeline[Any, Any], float]]:
    """Return each part with its weight, by name."""
    if not isinstance(cast("object", parts), Mapping):
        raise PipelineError(
            f"split() takes a dict from each part to its weight, such as {{a: 0.9, b: 0.1}}, not {parts!r}"
        )
    if not parts:
        raise PipelineError("split() needs at least one part")
    items = [_arm(*item) for item in parts.items()]
    labels = iter(labels_of([part for name, part, _ in items if name is None]))
    arms: dict[str, tuple[Pipeline[Any, Any], float]] = {}
    for name, part, weight in items:
        name = next(labels) if name is None else name
        if name in arms:
            raise PipelineError(f"split() has two parts named {name!r}: name one otherwise")
        arms[name] = (part, _weight(name, weight))
    if not any(weight for _, weight in arms.values()):
        raise PipelineError("split() has only weights of zero: give one part a share at least")
    return arms


def _arm(key: Any, value: Any) -> tuple[str | None, Pipeline[Any, Any], Any]:
    if not isinstance(key, str):
        return None, as_pipeline(key), value
    match value:
        case (part, weight):
            return key, as_pipeline(part), weight
        case _:
            raise PipelineError(f"split(): for a named part give both, {{{key!r}: (part, weight)}}, not {value!r}")


def _weight(name: str, weight: Any) -> float:
    share = number(weight)
    if share is None or share < 0:
        raise PipelineError(f"split() gives {name!r} the weight {weight!r}: a weight is a number, zero or more")
    return share
