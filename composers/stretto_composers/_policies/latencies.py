"""How long something has lately taken."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

WINDOW = 256
"""How many of the latest are remembered."""

FEWEST = 20
"""How many it takes to say anything."""


class Latencies:
    """The latest durations, in seconds, and their percentiles."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def note(self, seconds: float) -> None:
        """Remember one more."""
        if len(self._latest) == WINDOW:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(seconds)
        insort(self._sorted, seconds)

    def percentile(self, percent: float) -> float | None:
        """Return the least duration that so many percent of the latest did not exceed; None while there are too few."""
        count = len(self._sorted)
        return self._sorted[math.ceil(count * percent / 100) - 1] if count >= FEWEST else None
