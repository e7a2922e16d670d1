"""Parts of the traffic for parts of a pipeline: A/B tests and canaries."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from math import log
from typing import Any, ClassVar, cast

from stretto import Pipeline, composer
from stretto.errors import PipelineError
from stretto.nodes import Call, Choose, Node, Part, Step, as_pipeline
from stretto_composers._members.members import labels_of
from stretto_composers._policies.keys import canonical
from stretto_composers._policies.settings import number
from stretto_composers._switch import keyed


@composer
def split(
    x: Node,
    parts: Mapping[Any, float | tuple[Part[Any, Any], float]],
    key: Part[Any, Any] | str | None = None,
    *,
    salt: str = "",
) -> Node:
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
    >>> answers = asyncio.run(Client(canary).predict_many([{"user": user} for user in range(1000)]))
    >>> answers.count("v2")
    97
    """
    arms = _arms(parts)
    fn = Arms(tuple(arms), tuple(weight for _, weight in arms.values()), salt)
    step = Step(fn=fn, name="split", named=False, internal=True)
    choice = Call((x if key is None else keyed(x, key),), step=step)
    return Choose((x, choice), cases=tuple((name, part.plan()) for name, (part, _) in arms.items()))


def _arms(parts: Mapping[Any, Any]) -> dict[str, tuple[Pipeline[Any, Any], float]]:
    """Return each part with its weight, by name."""
    if not isinstance(cast("object", parts), Mapping):
        raise PipelineError(
            f"split() takes a dict from each part to its weight, such as {{a: 0.9, b: 0.1}}, not {parts!r}"
        )
    unnamed = [part for part in parts if not isinstance(part, str)]
    labels = dict(zip(unnamed, labels_of(unnamed), strict=True))
    arms: dict[str, tuple[Pipeline[Any, Any], float]] = {}
    for key, value in parts.items():
        if isinstance(key, str) and not (isinstance(value, tuple | list) and len(cast("Any", value)) == 2):
            raise PipelineError(f"split(): for a named part give both, {{{key!r}: (part, weight)}}, not {value!r}")
        name, (part, weight) = (key, value) if isinstance(key, str) else (labels[key], (key, value))
        share = number(weight)
        if name in arms:
            raise PipelineError(f"split() has two parts named {name!r}: name one otherwise")
        if share is None or share < 0:
            raise PipelineError(f"split() gives {name!r} the weight {weight!r}: a weight is a number, zero or more")
        arms[name] = as_pipeline(part), share
    if not any(weight for _, weight in arms.values()):
        raise PipelineError(f"split() {'has only weights of zero' if arms else 'needs at least one part'}")
    return arms


@dataclass(frozen=True)
class Arms:
    """Picks a name for a key, each for its share of all keys.

    By weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005): of
    independent draws for each name, seeded by name and key, the best wins, and a larger weight only betters one's own.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    salt: str = ""
    # It reads no feature by name: models behind it go on to refuse those they don't know.
    features: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def seeds(self) -> list[bytes]:
        """What the draws for each name are made with."""
        return [blake2b(canonical((self.salt, name))).digest() for name in self.names]

    def __call__(self, key: Any) -> str:
        """Return the name for a key; raise a `TypeError` if it is None, or holds what has no canonical form."""
        if key is None:
            raise TypeError("the key is None, and all rows without a key would go one way: give each a key of its own")
        content = canonical(key)
        draws = [blake2b(content, digest_size=8, key=seed).digest() for seed in self.seeds]
        scores = [weight and -weight / log(_number(draw)) for weight, draw in zip(self.weights, draws, strict=True)]
        return self.names[scores.index(max(scores))]


def _number(draw: bytes) -> float:
    """Return a number between 0 and 1, never one of them: of 53 bits the last is set, so that nothing is rounded."""
    return ((int.from_bytes(draw, "big") >> 12) + 0.5) * 2.0**-52
