"""What a stage costs, as measured: how many rows it should take at a time, and how long those that wait will take."""

from __future__ import annotations

import math
from typing import Final

SLICE: Final = 0.01
"""Seconds that a batch may take though fewer rows at a time would cost no more each: others wait for no longer."""
GAIN: Final = 0.75
"""The part of the seconds a row that twice as many rows must reach for a batch to be worth more than `SLICE`."""
UNKNOWN: Final = 64
"""The rows of a batch before anything was measured."""
RETRIED: Final = 32
"""The batches after which one of twice the size is tried again: what was measured may have been a busy machine."""


class Cost:
    """The measured seconds of a stage by the rows in a batch: a moving mean for each power of two.

    Threads write while the event loop reads, so the list does not grow.
    """

    def __init__(self) -> None:
        self._seconds: list[float | None] = [None] * 64
        self._held = 0

    def note(self, rows: int, seconds: float) -> None:
        """Add what a batch took."""
        size = rows.bit_length()
        before = self._seconds[size]
        self._seconds[size] = seconds if before is None else 0.8 * before + 0.2 * seconds

    def expect(self, rows: int) -> float | None:
        """Return the seconds that a batch will take, about; None where nothing has been measured."""
        size = rows.bit_length()
        seconds = self._seconds[size]
        if seconds is not None:  # the usual case, on the hot path
            return seconds
        for less in range(1, size + 1):
            seconds = self._seconds[size - less]
            if seconds is not None:
                return seconds * 2.0**less
        return next((seconds for seconds in self._seconds if seconds is not None), None)

    def batch(self, most: int) -> int:
        """Return how many rows to take at a time, `most` at most, where so many wait.

        As long as more rows at a time cost less each, more are taken; what takes 20 ms a row is taken row by row, so
        that each is answered when it is computed. A size that was never measured is tried where it may pay.
        """
        size, held = self._best(most)
        self._held += held
        return 2 * size if held and self._held % RETRIED == 0 else size

    def drain(self, rows: int, most: int, workers: int) -> float | None:
        """Return the seconds until `rows` rows are computed that wait in front of `workers`; None where unknown."""
        size = max(1, min(rows, self._best(most)[0]))
        seconds = self.expect(size)
        if seconds is None:
            return None
        # Where only larger batches were measured, what they took is for their rows.
        size = max(size, next(1 << bits >> 1 for bits, each in enumerate(self._seconds) if each is not None))
        return seconds * rows / size / workers

    def _best(self, most: int) -> tuple[int, bool]:
        """Return how many rows to take at a time, and whether more were measured, and do not pay."""
        size, least = 1, math.inf
        while size < most:
            seconds = self._seconds[size.bit_length()]
            if seconds is None:
                guess = self.expect(size)
                if guess is None:
                    return min(most, UNKNOWN), False
                if guess > SLICE:
                    return size, False
            else:
                if seconds > SLICE and seconds / size > GAIN * least:
                    return size // 2, True
                least = min(least, seconds / size)
            size *= 2
        return most, False
