"""A step that holds the event loop is named, once, with the line that it is at."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from stretto import Client, step
from stretto.engine import held


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_named", set[str]())


async def sleepy(x: float) -> float:
    time.sleep(x)  # noqa: ASYNC251  what is to be found
    await asyncio.sleep(0)
    return x


async def deep(x: float) -> float:
    await asyncio.sleep(0)
    return await sleepy(x)


async def good(x: float) -> float:
    await asyncio.sleep(x)
    return x


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "stretto"]


@pytest.mark.parametrize("fn", [sleepy, deep])
async def test_an_asynchronous_step_is_named_once_with_the_line_that_it_is_at(
    fn: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client(step(fn, name="mine")) as client:  # type: ignore[arg-type]
        for _ in range(2):
            await asyncio.gather(client.predict(0.5), client.predict(0.0))
    (text,) = warned(caplog)
    assert "step 'mine' holds the event loop for more than 100 ms" in text
    assert "test_held.py:" in text
    assert "await what waits, or make it a plain function with step(fn, blocking=True)" in text


async def test_a_plain_function_that_was_quick_before_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with Client(step(time.sleep, name="plain")) as client:
        for _ in range(5):
            await client.predict(0.0)
        await client.predict(0.3)
        await client.predict(0.0)
    (text,) = warned(caplog)
    assert "step 'plain' holds the event loop" in text
    assert "for 1 rows" in text
    assert "mark it step(fn, blocking=True)" in text


async def test_steps_that_wait_or_run_in_threads_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with Client(step(good) >> step(time.sleep, name="slept", blocking=True)) as client:
        await asyncio.gather(*(client.predict(0.2) for _ in range(5)), return_exceptions=True)
    assert warned(caplog) == []


async def test_the_thread_that_looks_ends_when_there_is_nothing_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "LOOKS", 0.01)
    async with Client(step(good)) as client:
        await client.predict(0.0)
        assert any(each.name == "stretto-watch" for each in threading.enumerate())
        async with asyncio.timeout(20):
            while any(each.name == "stretto-watch" for each in threading.enumerate()):
                await asyncio.sleep(0.02)
        await client.predict(0.0)  # and it begins again
        assert any(each.name == "stretto-watch" for each in threading.enumerate())
