"""The passes for compiled models keep meaning, on generated plans, as all other passes do."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from stretto import Client, Pipeline, model, step
from stretto.compiler import check, compile_plan, fuse, optimize
from stretto.onnx.merge import merge
from stretto.plan.nodes import Call
from stretto.plan.steps import Stage
from stretto.testing.oracle import oracle_outcome, same
from stretto_composers import fallback, switch, vote
from tests.plans import Pipelines, assert_legal, gathered, numbers, parallel_of, parity, parts, rows

TABLE = np.random.default_rng(0).integers(-9, 30, size=(80, 3)).astype(float)
CLASSES = TABLE.sum(axis=1).astype(int) % 3


def table(column: Any) -> Any:
    """Make rows of three features of any values."""
    return np.array([[n, n % 7, n // 2] for n in numbers(column)], dtype=float)


@functools.cache
def models(engine: str | None = "onnx") -> dict[str, Pipeline[Any, Any]]:
    """Return models on an engine, a chain of them, and a model that is on none."""
    scaler = StandardScaler().fit(TABLE)
    svm = SVC().fit(scaler.transform(TABLE), CLASSES)
    tree = DecisionTreeClassifier(max_depth=4, random_state=0).fit(TABLE, CLASSES)
    number = DecisionTreeRegressor(max_depth=3, random_state=0).fit(TABLE, np.round(TABLE[:, 0]) + 0.5)
    return {
        "tree": model(tree, name="tree", engine=engine),
        "chain": model(scaler, name="scaler", engine=engine) >> model(svm, name="svm", engine=engine),
        "plain": model(SVC(gamma=0.1).fit(TABLE, CLASSES), name="plain"),
        "number": model(number, name="number", engine=engine),
    }


def groups(engine: str | None = "onnx") -> Pipelines:
    """Return models of one table: alone, in fan-outs at any depth, and in votes."""
    labels = st.sampled_from(["tree", "chain", "plain"]).map(lambda name: models(engine)[name])
    votes = st.lists(labels, min_size=1, max_size=3).map(lambda some: vote(*some))
    leaves = labels | votes | st.just("number").map(lambda name: models(engine)[name])
    return st.recursive(leaves, lambda p: st.lists(p, min_size=1, max_size=3).map(parallel_of), max_leaves=5)


def pipelines(engine: str | None = "onnx") -> Pipelines:
    """Return groups of models behind parts and in front of them."""
    made = groups(engine).map(lambda group: step(table, vectorized=True, pure=True) >> group)
    return st.one_of(
        made,
        st.builds(lambda part, group: part >> group, parts(), made),
        st.builds(lambda group, part: group >> part, made, parts()),
        st.builds(fallback, made, made),
        st.builds(lambda a, b: switch(parity, {0: a, 1: b}, a), made, made),
    )


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(pipelines(), rows())
def test_merging_keeps_meaning_and_makes_a_legal_plan(pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    merged = merge(fuse(pipeline.plan()))
    assert_legal(merged)
    stages = [node.step for node in compile_plan(pipeline.plan()).walk() if isinstance(node, Call)]
    event("merged" if any(isinstance(each, Stage) and each.compute is not None for each in stages) else "apart")

    async def main() -> None:
        expected = [await oracle_outcome(pipeline, row) for row in some]
        assert same([await oracle_outcome(merged, row) for row in some], expected)
        async with Client(pipeline) as client:
            assert same(await client.predict_many(some, on_error="return"), expected)
            assert same([(await client.predict_many([row], on_error="return"))[0] for row in some], expected)

    gathered(main)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=8)
@given(pipelines(engine=None), rows())
def test_optimizing_keeps_meaning_and_makes_a_legal_plan(pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    optimized = optimize(check(pipeline.plan()), None)
    assert_legal(optimized)
    models = [step.model for step in optimized.steps() if step.model is not None]
    event("compiled" if any(each.engine for each in models) else "as it was")

    async def main() -> None:
        for plan in (optimized, compile_plan(optimized)):
            got = [await oracle_outcome(plan, row) for row in some]
            assert same(got, [await oracle_outcome(pipeline, row) for row in some])

    gathered(main)
