"""Row j: how the time to compile grows with the number of steps."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from functools import reduce
from operator import rshift
from typing import Any

from stretto import Client, Pipeline, parallel, step
from tests.benchmarks.compared import COST, Compared, Line, at_most
from tests.benchmarks.rounds import Contender, Figures, alternate
from tests.benchmarks.settings import Settings

STEPS, MANY, DEEP = 1_000, 10_000, 5_000
LINEAR = 1.5
"""The most that a step of many may cost, in times of a step of few, for growth to count as linear."""


async def measure(settings: Settings) -> AsyncGenerator[Compared]:
    """Return row j for a chain, for a fan-out, and for steps shared by diamonds, and a deep chain that is run."""
    for shape, build in {"a chain": chain, "a fan-out": fan_out, "diamonds": diamonds}.items():
        few, many = settings.of(STEPS), settings.of(MANY)
        settings.say(f"j: compiling {shape} of {few:,} and {many:,} steps")
        figures = await alternate([_compiled(build, few), _compiled(build, many)], settings.rounds)
        seconds = [each["seconds"] * few for each in figures[f"{few:,} steps"]]
        yield Line("j", f"{shape}, {few:,} steps").alone(seconds, "s", at_most(1))
        line = Line("j", f"{shape}, {many:,} steps, time a step")
        yield line.compare(figures, COST, f"{few:,} steps", at_most(LINEAR), ours=f"{many:,} steps")
    yield await _deep(settings)


def chain(count: int) -> Pipeline[Any, Any]:
    """Return `count` steps one after the other."""
    return reduce(rshift, map(_step, range(count)))


def fan_out(count: int) -> Pipeline[Any, Any]:
    """Return `count` steps side by side."""
    return parallel(*map(_step, range(count)))


def diamonds(count: int) -> Pipeline[Any, Any]:
    """Return `count` steps as a chain of diamonds: a step, and two that share its output."""
    made = [_step(i) for i in range(0, count, 4)]
    return reduce(rshift, (each >> parallel(a=abs, b=float) >> len for each in made))


def _step(number: int) -> Pipeline[Any, Any]:
    return step(_same, name=f"step {number}")


def _same(x: Any) -> Any:
    return x


def _compiled(build: Callable[[int], Pipeline[Any, Any]], count: int) -> Contender:
    async def run() -> Figures:
        start = time.perf_counter()
        async with Client(build(count)):
            return {"seconds": (time.perf_counter() - start) / count}

    return Contender(f"{count:,} steps", run)


async def _deep(settings: Settings) -> Compared:
    """Compile and run a chain far deeper than Python recurses."""
    depth = settings.of(DEEP)
    settings.say(f"j: a chain {depth:,} deep")

    async def run() -> Figures:
        start = time.perf_counter()
        async with Client(chain(depth)) as client:
            if await client.predict(7) != 7:
                raise RuntimeError("a chain of identities changed its input")
        return {"seconds": time.perf_counter() - start}

    figures = await alternate([Contender("deep", run)], settings.rounds)
    return Line("j", f"a chain {depth:,} deep, run once").alone([each["seconds"] for each in figures["deep"]], "s")
