"""The one meaning of a plan: batching is invisible, bad rows fail alone, and what can run side by side does."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from hypothesis import given

from stretto import Client, Pipeline
from stretto._column import Column
from stretto._compile import compile_plan
from stretto._evaluate import evaluate
from stretto._ir import Plan
from stretto._scope import Scope
from stretto.backends.inline import InlineBackend
from stretto.testing import oracle_outcome, same
from tests.plans import gathered, pipelines, rows


async def together(plan: Plan, some: list[Any]) -> list[Any]:
    backend = InlineBackend()
    try:
        return (await evaluate(plan, (Column.of(some, request=True),), backend, Scope())).outcomes()
    finally:
        await backend.aclose()


@given(pipelines(), rows())
def test_batching_is_invisible(pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    """Many rows together give what each gives alone, which is what the oracle gives: answers and failures alike."""

    async def main() -> None:
        plan = pipeline.plan()
        expected = [await oracle_outcome(plan, row) for row in some]
        alone = [(await together(plan, [row]))[0] for row in some]
        assert same(alone, expected), f"alone {alone}, by the oracle {expected}"
        batch = await together(plan, some)
        assert same(batch, expected), f"together {batch}, by the oracle {expected}"

    gathered(main)


@pytest.mark.parametrize("placement", ["fused", "split"])
@given(pipelines(), rows())
def test_a_compiled_plan_means_the_same(placement: Any, pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    async def main() -> None:
        expected = [await oracle_outcome(pipeline, row) for row in some]
        batch = await together(compile_plan(pipeline.plan(), placement), some)
        assert same(batch, expected), f"together {batch}, by the oracle {expected}"

    gathered(main)


@given(pipelines(), rows())
def test_concurrent_calls_are_invisible_to_each_other(pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    async def main() -> None:
        expected = [await oracle_outcome(pipeline, row) for row in some]
        async with Client(pipeline) as client:
            calls = [client.predict(row) for row in some], client.predict_many(some, on_error="return")
            singles, many = await asyncio.gather(
                asyncio.gather(*calls[0], return_exceptions=True), calls[1]
            )
        assert same(singles, expected)
        assert same(many, expected)

    gathered(main)


@given(pipelines(), rows())
def test_a_pickled_pipeline_is_the_same_pipeline(pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    copy: Pipeline[Any, Any] = pickle.loads(pickle.dumps(pipeline))
    assert repr(copy) == repr(pipeline)
    assert repr(copy.plan()) == repr(pipeline.plan())
    compiled = compile_plan(pipeline.plan())
    again: Plan = pickle.loads(pickle.dumps(compiled))
    assert repr(again) == repr(compiled)

    async def main() -> None:
        for row in some:
            assert same(await oracle_outcome(again, row), await oracle_outcome(pipeline, row))

    gathered(main)
