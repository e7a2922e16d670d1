"""Fault injection on a virtual clock: each step hangs, then fails, under callers that cancel or have a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from stretto.client import Client
from stretto.compiler import compile_plan
from stretto.pipeline import Pipeline
from stretto.plan.nodes import Aside, Call, Node
from stretto.plan.plan import Plan
from stretto.plan.steps import Step
from stretto.testing.clock import virtual_clock
from stretto.transports.local import LocalTransport

TIMEOUT = 1.0
"""Seconds of the deadline of a call."""

HOUR = 3600.0
"""Seconds after which a call that has not begun or ended never will."""

TURNS = 100
"""Iterations of the event loop in which a cancelled task ends."""

Build: TypeAlias = Callable[[], Pipeline[Any, Any]]
Compare: TypeAlias = Callable[[Plan, Sequence[Any], Sequence[Any], str], Awaitable[None]]


class Hung:
    """A step that begins and never returns, and counts its calls."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self._first = asyncio.Event()
        self._over = asyncio.Event()

    async def __call__(self, value: Any) -> Any:
        """Wait until the test is over."""
        self.begun += 1
        self._first.set()
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def begins(self) -> None:
        """Wait until it is called."""
        await self._first.wait()

    def end(self) -> None:
        """End all calls: one that cannot be cancelled would keep the event loop from closing."""
        self._over.set()


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
        for work in (_cancelled_at_once, _cancelled_late, _with_deadline, _failing_with_deadline):
            with virtual_clock() as clock:
                clock.run(work(build, place, inputs, step in background))
        with virtual_clock() as clock:
            clock.run(_failing(build, place, inputs, compare))


async def _cancelled_at_once(build: Build, place: int, inputs: Sequence[Any], background: bool) -> None:
    for some in (inputs, inputs[:1]):
        await _cancelled(build, place, some, background, wait=0.0)


async def _cancelled_late(build: Build, place: int, inputs: Sequence[Any], background: bool) -> None:
    for some in (inputs, inputs[:1]):
        await _cancelled(build, place, some, background, wait=HOUR)


async def _cancelled(build: Build, place: int, inputs: Sequence[Any], background: bool, wait: float) -> None:
    """Cancel the caller once the step has begun, or that much later, when it may have begun again."""
    client, name, _ = _client(build, place, hung := Hung())
    async with client:
        call = asyncio.create_task(client.predict_many(inputs, on_error="return"))
        begun = asyncio.create_task(hung.begins())
        await asyncio.wait([call, begun], timeout=HOUR, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if wait:
            await asyncio.wait([call], timeout=wait)
        call.cancel()
        await _turns()
        done, left = call.done(), hung.begun - hung.cancelled
        if not background:
            hung.end()
    assert done, f"the call goes on after it was cancelled while step {name!r} was at work"
    assert background or not left, f"step {name!r} goes on for a caller who has cancelled: {left} of {hung.begun} calls"
    await _nothing_left(f"the call was cancelled while step {name!r} was at work")


async def _with_deadline(build: Build, place: int, inputs: Sequence[Any], background: bool) -> None:
    for some in (inputs, inputs[:1]):
        hung = Hung()
        await _within_deadline(build, place, some, hung, "never answers")


async def _failing_with_deadline(build: Build, place: int, inputs: Sequence[Any], background: bool) -> None:
    for some in (inputs, inputs[:1]):
        await _within_deadline(build, place, some, fails, "fails")


async def _within_deadline(build: Build, place: int, inputs: Sequence[Any], fn: Callable[[Any], Any], how: str) -> None:
    client, name, _ = _client(build, place, fn)
    now = asyncio.get_running_loop().time
    async with client:
        start = now()
        call = asyncio.create_task(client.predict_many(inputs, timeout=TIMEOUT, on_error="return"))
        await asyncio.wait([call], timeout=HOUR)
        took = now() - start
        call.cancel()
        if isinstance(fn, Hung) and took > TIMEOUT:
            fn.end()
    assert took <= TIMEOUT + 1e-6, f"with {TIMEOUT:g} s for it, a call in which step {name!r} {how} takes {took:g} s"
    await _nothing_left(f"step {name!r} {how} and the deadline was exceeded")


async def _failing(build: Build, place: int, inputs: Sequence[Any], compare: Compare) -> None:
    client, name, plan = _client(build, place, fails)
    async with client:
        outcomes = await client.predict_many(inputs, on_error="return")
    await compare(plan, inputs, outcomes, f"step {name!r} fails")
    await _nothing_left(f"step {name!r} had failed")


def _client(build: Build, place: int, fn: Callable[[Any], Any]) -> tuple[Client[Any, Any], str, Plan]:
    """Return a client of the pipeline in which `fn` stands for one of the steps; the step's name; and the plan."""
    plan = build().plan()
    step = list(dict.fromkeys(plan.steps()))[place]
    twin = Step(fn=fn, name=step.name, vectorized=step.vectorized, named=step.named)

    def rule(node: Node) -> Node:
        return replace(node, step=twin) if isinstance(node, Call) and node.step is step else node

    probed = plan.rewrite(rule)
    return Client(LocalTransport(compile_plan(probed))), step.name, probed


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _nothing_left(after: str) -> None:
    await _turns()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left after {after}: {left}"
