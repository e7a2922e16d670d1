"""What the engine tells of a pipeline: the steps its users wrote, and no others."""

from __future__ import annotations

import pytest

from stretto import Client, Pipeline
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
