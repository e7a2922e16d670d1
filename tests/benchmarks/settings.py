"""How long and how much to measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

THROUGHPUT_OPTIMIZED = "RAY_SERVE_THROUGHPUT_OPTIMIZED"
"""The variable that has Ray Serve trade isolation for throughput, if it is set when Ray starts."""


def _nothing(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Settings:
    """Rounds of each comparison, and seconds of each figure in it; `share` scales the sizes of what is counted."""

    rounds: int = 5
    seconds: float = 2.0
    share: float = 1.0
    peers: bool = False
    only: frozenset[str] = frozenset("abcdefghijklmn")
    say: Callable[[str], None] = field(default=_nothing, compare=False)

    def of(self, size: int) -> int:
        """Return a size, or its share of a quick run."""
        return max(1, round(size * self.share))
