"""Rows g and h without Serve: the ASGI application under uvicorn, next to other servers of models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from tests.benchmarks import servers
from tests.benchmarks.compared import LATENCY, OURS, RATE, Compared, Line, at_least
from tests.benchmarks.load import Program, by_wrk
from tests.benchmarks.programs.iris import ROW
from tests.benchmarks.rounds import alternate
from tests.benchmarks.settings import Settings

INLINE, THREADS, LITSERVE, BENTOML = "FastAPI inline", "FastAPI threads", "LitServe", "BentoML"
GOALS = {INLINE: at_least(7), LITSERVE: at_least(12)}


async def measure(settings: Settings) -> AsyncGenerator[Compared]:
    """Return the lines of rows g and h without Serve, with LitServe and BentoML among them if peers are wanted.

    A peer runs only while it is compared: LitServe's queue takes a fifth of a processor while nobody asks.
    """
    async with servers.stretto_alone() as url:
        ours = by_wrk(OURS, url)
        async with servers.fastapi() as fastapi:
            programs = [ours, by_wrk(INLINE, fastapi + "inline"), by_wrk(THREADS, fastapi)]
            async for each in _lines(settings, programs):
                yield each
        if settings.peers:
            settings.say("starting LitServe, the first time in an environment that is made now")
            async with servers.litserve() as litserve:
                async for each in _lines(settings, [ours, by_wrk(LITSERVE, litserve)]):
                    yield each
            settings.say("starting BentoML, the first time in an environment that is made now")
            async with servers.bentoml() as bentoml:
                async for each in _lines(settings, [ours, by_wrk(BENTOML, bentoml, {"payload": ROW})]):
                    yield each


async def _lines(settings: Settings, programs: Sequence[Program]) -> AsyncGenerator[Compared]:
    for row, callers, relation in (("g", 64, RATE), ("h", 1, LATENCY)):
        if row not in settings.only:
            continue
        line = Line(row, "ASGI app alone, wrk", callers)
        settings.say(f"{row}: {line.what}, {callers} connections, beside {programs[-1].name}")
        figures = await alternate([each.asked_by(callers, settings.seconds) for each in programs], settings.rounds)
        for each in programs[1:]:
            goal = GOALS.get(each.name) if row == "g" else None
            yield line.compare(figures, relation, each.name, goal)
