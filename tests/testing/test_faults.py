"""The kit's check finds each way in which a composer can be broken, and lets those pass that are not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from stretto import Pipeline, composer
from stretto.errors import StepError, StrettoError
from stretto.nodes import Around, Body, Node
from stretto.testing.check import check_composer


def invert(x: float) -> float:
    return 1 / x


async def invert_later(x: float) -> float:
    await asyncio.sleep(0.001)
    return 1 / x


@composer
def around(x: Node, part: Pipeline, made: Callable[[], Any]) -> Node:
    """The part, run as the policy that is made will."""
    return Around((x,), body=part.plan(), policy=made())


async def plain(body: Body) -> Sequence[Any]:
    return await body.run()


async def other_answers(body: Body) -> Sequence[Any]:
    return [each if isinstance(each, StrettoError) else each + 1 for each in await body.run()]


async def all_or_nothing(body: Body) -> Sequence[Any]:
    outcomes = await body.run()
    failed = next((each for each in outcomes if isinstance(each, StrettoError)), None)
    return outcomes if failed is None else [failed] * len(outcomes)


async def turned_round(body: Body) -> Sequence[Any]:
    return list(reversed(await body.run()))


async def lost_path(body: Body) -> Sequence[Any]:
    outcomes = await body.run()
    return [StepError("part", each.kind, "") if isinstance(each, StepError) else each for each in outcomes]


async def hidden_failure(body: Body) -> Sequence[Any]:
    return [None if isinstance(each, StrettoError) else each for each in await body.run()]


async def deaf(body: Body) -> Sequence[Any]:
    work = asyncio.ensure_future(body.run())
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(work)
    return work.result()


async def let_go(body: Body) -> Sequence[Any]:
    return await asyncio.shield(asyncio.ensure_future(body.run()))


async def not_cancelled(body: Body) -> Sequence[Any]:
    try:
        return await body.run()
    except asyncio.CancelledError:
        await asyncio.sleep(60)
        raise


async def patient(body: Body) -> Sequence[Any]:
    for _ in range(3):
        outcomes = await body.run()
        if body.budget is None or not any(isinstance(each, StrettoError) for each in outcomes):
            break
        await asyncio.sleep(20)
    return outcomes


async def leaves_a_task(body: Body) -> Sequence[Any]:
    left.append(asyncio.ensure_future(asyncio.sleep(30)))
    return await body.run()


left: list[Any] = []


class Locked:
    """A policy that can't be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    async def __call__(self, body: Body) -> Sequence[Any]:
        return await body.run()


class Silent:
    """A policy that can't say what it is."""

    def __repr__(self) -> str:
        raise ValueError("no words")

    async def __call__(self, body: Body) -> Sequence[Any]:
        return await body.run()


BROKEN: dict[str, tuple[Callable[[], Callable[[Body], Awaitable[Sequence[Any]]]], str]] = {
    "other answers": (lambda: other_answers, "gives 2.0, and by the oracle 1.0"),
    "a batch that fails whole": (lambda: all_or_nothing, "in a batch: 1 gives StepError"),
    "a batch out of order": (lambda: turned_round, "in a batch"),
    "errors without their path": (lambda: lost_path, r"alone: 0 gives StepError\('part'.*around/invert"),
    "failures hidden": (lambda: hidden_failure, "0 gives None, and by the oracle StepError"),
    "cancellation kept out": (lambda: deaf, "the call goes on after it was cancelled"),
    "work that nobody cancels": (lambda: let_go, "goes on for a caller who has cancelled: 1 of 1|2 of 2|3 of 3"),
    "a cancellation put off": (lambda: not_cancelled, "the call goes on after it was cancelled"),
    "a deadline slept over": (
        lambda: patient,
        "with 1 s for it, a call in which step 'invert.*' never answers takes 6. s",
    ),
    "tasks left behind": (lambda: leaves_a_task, "tasks are left"),
    "what can't be pickled": (Locked, "it must pickle: TypeError"),
    "what can't be printed": (Silent, "its plan must print: ValueError"),
}


@pytest.mark.parametrize("part", [invert, invert_later])
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_composer_is_found_out(name: str, part: Any) -> None:
    made, says = BROKEN[name]
    try:
        with pytest.raises(AssertionError, match=says):
            await check_composer(lambda: around(part, made), [1, 0, 4], ways=["local"])
    finally:
        for task in left:
            task.cancel() if not task.get_loop().is_closed() else None
        left.clear()


@pytest.mark.parametrize("part", [invert, invert_later])
async def test_one_that_is_not_broken_passes(part: Any) -> None:
    await check_composer(lambda: around(part, lambda: plain), [1, 0, 4])
