"""Fault injection on a virtual clock: each step hangs, then fails, under callers that cancel or have a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from stretto.client import Client
from stretto.compiler import compile_plan
from stretto.pipeline import Pipeline
from stretto.plan.nodes import Aside
from stretto.plan.plan import Plan
from stretto.plan.steps import Step
from stretto.testing.clock import virtual_clock
from stretto.transports.connect import LocalTransport

TIMEOUT = 1.0
"""Seconds of the deadline of a call."""

HOUR = 3600.0
"""Seconds after which a call that has not begun or ended never will."""

TURNS = 100
"""Iterations of the event loop in which a cancelled task ends."""

Build: TypeAlias = Callable[[], Pipeline[Any, Any]]
Compare: TypeAlias = Callable[[Plan, Sequence[Any], Sequence[Any], str], Awaitable[None]]


class Hung:
    """A step that begins and never returns before `over`, and counts its calls."""

    def __init__(self) -> None:
        self.running = self.calls = 0
        self.begun, self.over = asyncio.Event(), asyncio.Event()

    async def __call__(self, value: Any) -> Any:
        """Wait until the test is over."""
        self.calls += 1
        self.running += 1
        self.begun.set()
        try:
            await self.over.wait()
        except asyncio.CancelledError:
            self.running -= 1
            raise


async def fails(value: Any) -> Any:
    """Fail."""
    raise ConnectionError("a step that always fails")


def probe(build: Build, inputs: Sequence[Any], compare: Compare) -> None:
    """Check every step of the pipeline with faults, on a virtual clock; no event loop may run in this thread.

    `compare` compares outcomes with those of the oracle.

    Raises:
        AssertionError: a step goes on after its caller cancelled, a deadline is missed, tasks are left, or the outcome
            of a failing step differs from the oracle's.
    """
    plan = build().plan()
    background = {step for node in plan.walk() if isinstance(node, Aside) for step in node.body.steps()}
    for place, step in enumerate(dict.fromkeys(plan.steps())):
        for rows in (inputs, inputs[:1]):
            for wait in (0.0, HOUR):
                _run(_cancelled(build, place, rows, wait, background=step in background))
            for fn in (Hung(), fails):
                _run(_within_deadline(build, place, rows, fn))
        _run(_failing(build, place, inputs, compare))


def _run(work: Coroutine[Any, Any, None]) -> None:
    with virtual_clock() as clock:
        clock.run(work)


async def _cancelled(build: Build, place: int, rows: Sequence[Any], wait: float, *, background: bool) -> None:
    """Cancel the caller once the step has begun, or that much later, when it may have begun again."""
    hung = Hung()
    async with _client(build, place, hung) as (client, name, _):
        call = asyncio.create_task(client.predict_many(rows, on_error="return"))
        begun = asyncio.create_task(hung.begun.wait())
        await asyncio.wait([call, begun], timeout=HOUR, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        await asyncio.wait([call], timeout=wait)
        call.cancel()
        await _turns()
        done, left = call.done(), hung.running
        if not background:
            hung.over.set()  # a call that can't be cancelled would keep the event loop from closing
    assert done, f"the call goes on after it was cancelled while step {name!r} was at work"
    assert background or not left, f"step {name!r} goes on for a caller who has cancelled: {left} of {hung.calls} calls"
    await _nothing_left(f"the call was cancelled while step {name!r} was at work")


async def _within_deadline(build: Build, place: int, rows: Sequence[Any], fn: Callable[[Any], Any]) -> None:
    now = asyncio.get_running_loop().time
    async with _client(build, place, fn) as (client, name, _):
        start = now()
        call = asyncio.create_task(client.predict_many(rows, timeout=TIMEOUT, on_error="return"))
        await asyncio.wait([call], timeout=HOUR)
        took = now() - start
        call.cancel()
        if isinstance(fn, Hung) and took > TIMEOUT:
            fn.over.set()
    fault = f"step {name!r} {'never answers' if isinstance(fn, Hung) else 'fails'}"
    assert took <= TIMEOUT + 1e-6, f"with {TIMEOUT:g} s for it, a call in which {fault} takes {took:g} s"
    await _nothing_left(f"{fault} and the deadline was exceeded")


async def _failing(build: Build, place: int, rows: Sequence[Any], compare: Compare) -> None:
    async with _client(build, place, fails) as (client, name, plan):
        outcomes = await client.predict_many(rows, on_error="return")
    await compare(plan, rows, outcomes, f"step {name!r} fails")
    await _nothing_left(f"step {name!r} had failed")


@asynccontextmanager
async def _client(
    build: Build, place: int, fn: Callable[[Any], Any]
) -> AsyncGenerator[tuple[Client[Any, Any], str, Plan]]:
    """Enter a client of the pipeline in which `fn` stands for one of the steps; with the step's name, and the plan."""
    plan = build().plan()
    step = list(dict.fromkeys(plan.steps()))[place]
    twin = Step(fn=fn, name=step.name, vectorized=step.vectorized, named=step.named)
    probed = plan.with_calls(lambda each: twin if each is step else each)
    async with Client(LocalTransport(compile_plan(probed))) as client:
        yield client, step.name, probed


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _nothing_left(after: str) -> None:
    await _turns()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left after {after}: {left}"
