"""What the engine tells of a pipeline: the steps its users wrote, and no others; and how it ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from stretto import Client, Pipeline, step
from stretto.composer import composer
from stretto.errors import NotFound
from stretto.nodes import Call, Node, Step


@composer
def tripled(x: Node, part: Pipeline[int, int]) -> Node:
    """Three times what the part returns."""
    triple = Step(fn=lambda value: 3 * value, name="triple", internal=True)
    return Call((part(x),), step=triple)


async def test_a_step_that_a_composer_made_is_not_shown() -> None:
    """Not in the metadata, not in a trace, not in the plan's picture; and it can't be asked for by its name."""
    pipeline = tripled(abs)
    async with Client(pipeline) as client:
        assert await client.predict(-1) == 3
        assert (await client.metadata()).steps == ("abs",)
        trace = await client.trace(-1)
        assert [span.name for span in trace.spans if span.kind == "step"] == ["abs"]
        assert "triple" not in {span.name for span in trace.spans}
        with pytest.raises(NotFound, match="the steps are 'abs'"):
            await client.predict_many([1], step="triple")
    assert "triple " not in str(pipeline.plan().explain())


async def test_closing_ends_calls_in_threads_and_leaves_no_task() -> None:
    began, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(x: int) -> int:
        loop.call_soon_threadsafe(began.set)
        go_on.wait(20)
        return x

    client = Client(step(wait, name="wait", blocking=True))
    asked = [asyncio.ensure_future(client.predict(i)) for i in range(50)]  # more than there are threads
    await began.wait()
    await client.aclose()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    go_on.set()
    assert all(isinstance(each, asyncio.CancelledError) for each in outcomes)
    assert asyncio.all_tasks() == {asyncio.current_task()}
