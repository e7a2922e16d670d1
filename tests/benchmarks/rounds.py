"""Contenders measured in turn: A B, A B, A B."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Figures: TypeAlias = dict[str, float]
"""What one measurement gave: `per_second`, `p50_ms`, `seconds`, `bytes` and so on."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Whoever is measured: a name, and what gives the figures of one round."""

    name: str
    run: Callable[[], Awaitable[Figures]]


async def alternate(contenders: Sequence[Contender], rounds: int) -> dict[str, list[Figures]]:
    """Return the figures of each contender, round by round, after a round that warms up and is not counted.

    What the machine does meanwhile, and how warm it is, changes slowly: within a round all contenders have the same.
    """
    for contender in contenders:
        await contender.run()
    figures: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            gc.collect()
            figures[contender.name].append(await contender.run())
    return figures


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds: its median, its lowest and its highest."""

    median: float
    low: float
    high: float
    rounds: list[float]

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Spread:
        """Return the spread of a figure of each round."""
        return cls(statistics.median(rounds), min(rounds), max(rounds), list(rounds))
