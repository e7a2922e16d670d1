"""A name for each key, by weighted rendezvous hashing."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from math import log
from typing import Any, ClassVar

from stretto_composers._policies.canonical import canonical


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
    _seeds: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        seeds = tuple(blake2b(canonical((self.salt, name))).digest() for name in self.names)
        object.__setattr__(self, "_seeds", seeds)

    def __call__(self, key: Any) -> str:
        """Return the name for a key.

        Raises:
            TypeError: the key is None, or holds what has no canonical form.
        """
        if key is None:
            raise TypeError("the key is None, and all rows without a key would go one way: give each a key of its own")
        content = canonical(key)
        scores = [
            -weight / log(_draw(content, seed)) if weight else 0.0
            for seed, weight in zip(self._seeds, self.weights, strict=True)
        ]
        return self.names[scores.index(max(scores))]


def _draw(content: bytes, seed: bytes) -> float:
    """Return a number between 0 and 1, never one of them: of 53 bits the last is set, so that nothing is rounded."""
    digest = blake2b(content, digest_size=8, key=seed).digest()
    return ((int.from_bytes(digest, "big") >> 12) + 0.5) * 2.0**-52
