"""The check that a composer has one meaning however it runs."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import cloudpickle

from stretto.client import Client
from stretto.compiler import Placement, compile_plan
from stretto.pipeline import Pipeline
from stretto.plan.plan import Plan
from stretto.testing.faults import probe
from stretto.testing.http_server import serving
from stretto.testing.oracle import oracle_outcome, same

PLACEMENTS: tuple[Placement, ...] = ("auto", "fused", "split")


async def check_composer(
    build: Callable[[], Pipeline[Any, Any]], inputs: Sequence[Any], *, ways: Sequence[str] = ("local", "http")
) -> None:
    """Check that a composer has one meaning however it runs; raise AssertionError with what differs.

    `build` makes a new pipeline that uses the composer, of steps without external dependencies; `inputs` are rows,
    some of which should fail. The pipeline must pickle, and its plan must print. On each way of running (``"local"``,
    ``"http"`` over an ASGI server on a socket, ``"serve"`` on a Ray cluster that is up) it must equal the oracle row by
    row, alone and in a batch, fail with errors of Stretto's tree, and leave no task behind when cancelled.

    Then, in process and on a virtual clock, each step in turn is replaced by one that never returns: cancelling the
    call must cancel it, and the deadline must hold. A step that always fails must give the oracle's outcome, with the
    path of the step, within the deadline. No task may be left running.

    >>> import asyncio
    >>> from stretto_composers import fallback
    >>> build = lambda: fallback(lambda x: 1 / x, lambda x: 0.0)
    >>> asyncio.run(check_composer(build, [1, 2, 0], ways=["local"]))
    """
    pipeline = build()
    expected = [await oracle_outcome(pipeline, row) for row in inputs]
    await _check_passes(pipeline, inputs, expected)
    for way in ways:
        async with _connected(pipeline, way) as client:
            await _check_answers(client, way, inputs, expected)
            await _check_cancelling(client, way, inputs)
    await anyio.to_thread.run_sync(probe, build, inputs, _agree_with_oracle)


async def _agree_with_oracle(plan: Plan, rows: Sequence[Any], outcomes: Sequence[Any], where: str) -> None:
    for row, outcome in zip(rows, outcomes, strict=True):
        _agree(outcome, await oracle_outcome(plan, row), row, where)


async def _check_passes(pipeline: Pipeline[Any, Any], inputs: Sequence[Any], expected: list[Any]) -> None:
    try:
        assert str(pipeline.plan().explain())
    except Exception as error:
        raise AssertionError(f"its plan must print: {error!r}") from error
    try:
        copy: Pipeline[Any, Any] = pickle.loads(cloudpickle.dumps(pipeline))
    except Exception as error:
        raise AssertionError(f"it must pickle: {error!r}") from error
    assert copy.plan().text == pipeline.plan().text, "it must pickle to the same plan"
    for placement in PLACEMENTS:
        compiled = compile_plan(pipeline.plan(), placement)
        for row, outcome in zip(inputs, expected, strict=True):
            _agree(await oracle_outcome(compiled, row), outcome, row, f"compiled with placement={placement!r}")


async def _check_answers(client: Client[Any, Any], way: str, inputs: Sequence[Any], expected: list[Any]) -> None:
    for row, outcome in zip(inputs, expected, strict=True):
        try:
            answer = await client.predict(row)
        except Exception as error:
            answer = error
        _agree(answer, outcome, row, f"{way}, alone")
    answers = await client.predict_many(list(inputs), on_error="return")
    for row, answer, outcome in zip(inputs, answers, expected, strict=True):
        _agree(answer, outcome, row, f"{way}, in a batch")


async def _check_cancelling(client: Client[Any, Any], way: str, inputs: Sequence[Any]) -> None:
    before = asyncio.all_tasks()
    for row in inputs:
        later = client.submit(row)
        later.cancel()
        await asyncio.wait([later._task])
    tries = 100
    while left := asyncio.all_tasks() - before:
        assert tries, f"{way}: cancelled calls left tasks behind: {left}"
        tries -= 1
        await asyncio.sleep(0.01)


def _agree(answer: Any, expected: Any, row: Any, where: str) -> None:
    assert same(answer, expected), f"{where}: {row!r} gives {answer!r}, and by the oracle {expected!r}"


@asynccontextmanager
async def _connected(pipeline: Pipeline[Any, Any], way: str) -> AsyncGenerator[Client[Any, Any]]:
    match way:
        case "local":
            async with Client(pipeline) as client:
                yield client
        case "http":
            async with serving(pipeline) as url, Client(url) as client:
                yield client
        case "serve":
            from stretto import deploy

            async with deploy(pipeline, name="check-composer") as client:
                yield client
        case _:
            raise ValueError(f"way={way!r}: it is 'local', 'http' or 'serve'")
