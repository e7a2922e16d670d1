"""Rows g and h without Serve: the ASGI application under uvicorn, beside what else serves models over HTTP."""

from __future__ import annotations

from contextlib import AsyncExitStack

from tests.benchmarks import servers
from tests.benchmarks.compared import LATENCY, OURS, RATE, Compared, Line, at_least
from tests.benchmarks.load import Program, by_wrk
from tests.benchmarks.programs.iris import ROW
from tests.benchmarks.rounds import alternate
from tests.benchmarks.settings import Settings

INLINE, THREADS, LITSERVE, BENTOML = "FastAPI inline", "FastAPI threads", "LitServe", "BentoML"
GOALS = {INLINE: at_least(7), LITSERVE: at_least(12)}


async def measure(settings: Settings) -> list[Compared]:
    """Give the lines of rows g and h without Serve, with LitServe and BentoML among them if peers are wanted."""
    found: list[Compared] = []
    async with AsyncExitStack() as stack:
        programs = await _programs(settings, stack)
        for row, callers, relation in (("g", 64, RATE), ("h", 1, LATENCY)):
            if row not in settings.only:
                continue
            line = Line(row, "ASGI app alone, wrk", callers)
            settings.say(f"{row}: {line.what}, {callers} connections")
            figures = await alternate([each.asked_by(callers, settings.seconds) for each in programs], settings.rounds)
            found += [
                line.compare(figures, relation, each.name, GOALS.get(each.name) if row == "g" else None)
                for each in programs
                if each.name != OURS
            ]
    return found


async def _programs(settings: Settings, stack: AsyncExitStack) -> list[Program]:
    fastapi = await stack.enter_async_context(servers.fastapi())
    programs = [
        by_wrk(OURS, await stack.enter_async_context(servers.stretto_alone())),
        by_wrk(INLINE, fastapi + "inline"),
        by_wrk(THREADS, fastapi),
    ]
    if settings.peers:
        settings.say("starting LitServe and BentoML, the first time in environments that are made now")
        programs.append(by_wrk(LITSERVE, await stack.enter_async_context(servers.litserve())))
        programs.append(by_wrk(BENTOML, await stack.enter_async_context(servers.bentoml()), {"payload": ROW}))
    return programs
