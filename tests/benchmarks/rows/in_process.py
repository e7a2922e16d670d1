"""Rows a and b: the ensemble in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from tests.benchmarks.compared import EXTRA, LATENCY, RATE, Compared, Line, at_least, at_most
from tests.benchmarks.in_process import BOUND, BY_HAND, programs
from tests.benchmarks.rounds import alternate
from tests.benchmarks.settings import Settings


async def measure(settings: Settings) -> AsyncGenerator[Compared]:
    """Return rows a and b: 64 callers and one, next to the baseline and to the bound."""
    async with programs() as contenders:
        if "a" in settings.only:
            settings.say("a: in process, 64 callers")
            figures = await alternate([each.asked_by(64, settings.seconds) for each in contenders], settings.rounds)
            line = Line("a", "in process", 64)
            yield line.compare(figures, RATE, BY_HAND, at_least(50))
            yield line.compare(figures, RATE, BOUND, at_least(0.5))
        if "b" in settings.only:
            settings.say("b: in process, 1 caller")
            figures = await alternate([each.asked_by(1, settings.seconds) for each in contenders], settings.rounds)
            line = Line("b", "in process", 1)
            yield line.compare(figures, EXTRA, BOUND, at_most(60))
            yield line.compare(figures, LATENCY, BY_HAND)
