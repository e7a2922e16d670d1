"""The guard decides, row by row; and the composer means one thing however it runs."""

# --8<-- [start:tests]
from typing import Any

import pytest
from stretto_veto import veto

from stretto import Client, Pipeline
from stretto.errors import PipelineError
from stretto.testing.check import check_composer


def invert(x: float) -> float:
    return 1 / x


def is_small(x: float) -> bool:
    return x < 10


def excuse(x: float) -> str:
    return f"{x:g} is too large"


def build() -> Pipeline[Any, Any]:
    return veto(invert, guard=is_small, instead=excuse)


async def test_it_means_one_thing_everywhere() -> None:
    await check_composer(build, [1, 4, 0, 50], ways=["local", "http"])


async def test_what_is_vetoed_never_starts() -> None:
    seen: list[float] = []
    async with Client(veto(seen.append, guard=is_small, instead=excuse)) as client:
        assert await client.predict_many([1, 50, 2]) == [None, "50 is too large", None]
    assert seen == [1, 2]


# --8<-- [end:tests]
def test_what_would_change_nothing_is_refused() -> None:
    with pytest.raises(PipelineError, match="nothing would change"):
        veto(invert, guard=is_small, instead=invert)
