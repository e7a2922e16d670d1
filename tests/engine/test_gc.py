"""The garbage collector rests where it is told to, and is left as it was."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from stretto import Client, asgi, model, step
from stretto.engine.gc import frozen, paused
from stretto.errors import StrettoError


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


LINEAR = model(LinearRegression().fit(np.eye(2), [1.0, 2.0]), name="linear", features=["a", "b"])


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(LINEAR, id="a model"),
        pytest.param(lambda row: row["c"], id="a row"),
        pytest.param(step(lambda rows: 1 / len(rows[0]["a"]), name="many", vectorized=True), id="many rows"),
    ],
)
async def test_failed_rows_need_no_garbage_collector(part: Any) -> None:
    rows = [{"a": "x", "b": 1.0}, {"a": "y", "b": 2.0}]
    async with Client(part) as client:
        gc.disable()
        errors = [weakref.ref(each) for each in await client.predict_many(rows, on_error="return")]
        try:
            await client.predict(rows[0])
        except StrettoError as error:
            errors.append(weakref.ref(error))
    assert [each() for each in errors] == [None] * 3
