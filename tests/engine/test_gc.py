"""The garbage collector rests where it is told to, and is left as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from stretto import asgi
from stretto.engine.gc import frozen, paused


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.unfreeze()
    yield
    gc.unfreeze()
    (gc.enable if enabled else gc.disable)()


@pytest.mark.parametrize("enabled", [True, False])
def test_it_rests_during_a_block_even_one_that_fails(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    seen: list[bool] = []
    with suppress(ZeroDivisionError), paused():
        seen.append(gc.isenabled())
        _ = 1 / 0
    assert seen == [False]
    assert gc.isenabled() == enabled


def test_what_is_there_is_left_alone_for_the_length_of_a_block() -> None:
    with frozen():
        assert gc.get_freeze_count()
    assert not gc.get_freeze_count()


def test_who_froze_it_before_keeps_the_say() -> None:
    gc.freeze()
    with frozen():
        pass
    assert gc.get_freeze_count()


async def test_the_http_interface_is_frozen_while_it_serves() -> None:
    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup" if not sent else "lifespan.shutdown"}

    async def send(message: dict[str, str]) -> None:
        sent.append((message["type"], gc.get_freeze_count() > 0))

    sent: list[tuple[str, bool]] = []
    await asgi(abs)({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert sent == [("lifespan.startup.complete", True), ("lifespan.shutdown.complete", False)]
