"""The notation: what is written is what is shown, building runs nothing, and misuse says what to write instead."""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from stretto import Client, Pipeline, composer, model, parallel, step
from stretto.errors import PipelineError
from stretto.nodes import Node, Recover
from stretto_composers import average, fallback, race, switch, vote

X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])


def double(x: int) -> int:
    return 2 * x


def never(x: Any) -> Any:
    raise AssertionError("building runs nothing")


async def later(x: Any) -> Any:
    return x


def logistic() -> Pipeline[Any, Any]:
    return model(LogisticRegression().fit(X, Y), name="logistic")


def svm() -> Pipeline[Any, Any]:
    return model(SVC().fit(X, Y), name="svm")


class TestRepr:
    @pytest.mark.parametrize(
        ("build", "text"),
        [
            (lambda: Pipeline(double), "Pipeline(double)"),
            (lambda: Pipeline(double) >> double, "Pipeline(double) >> double"),
            (lambda: Pipeline(double) >> (lambda x: x), "Pipeline(double) >> lambda"),
            (lambda: double >> Pipeline(later), "double >> Pipeline(later)"),
            (lambda: Pipeline(parallel(logistic(), svm())) >> vote(), "Pipeline(parallel(logistic, svm)) >> vote()"),
            (lambda: vote(logistic(), svm(), weights=[1, 2]), "vote(logistic, svm, weights=[1, 2])"),
            (lambda: parallel(a=double, b=parallel(double)), "parallel(a=double, b=parallel(double))"),
            (lambda: parallel(later, b=double), "parallel(later, b=double)"),
            (lambda: parallel(a=Pipeline(double) >> later), "parallel(a=Pipeline(double) >> later)"),
            (lambda: fallback(double, later), "fallback(double, later)"),
            (
                lambda: switch(double, {1: later, "b": double}, default=double),
                "switch(double, {1: later, 'b': double}, default=double)",
            ),
            (lambda: step(double), "double"),
            (lambda: step(double, name="twice"), "twice"),
            (lambda: Pipeline(functools.partial(double)) >> np.sqrt, "Pipeline(double) >> sqrt"),
            (lambda: Pipeline(LogisticRegression().fit(X, Y)), "Pipeline(logisticregression)"),
            (lambda: Pipeline(Pipeline(double)), "Pipeline(Pipeline(double))"),
            (lambda: logistic() >> double, "logistic >> double"),
        ],
    )
    def test_a_composition_is_shown_as_it_was_written(self, build: Any, text: str) -> None:
        assert repr(build()) == text

    def test_a_model_alone_shows_its_estimator(self) -> None:
        assert repr(logistic()) == "model(LogisticRegression(), name='logistic')"

    def test_the_text_survives_pickling(self) -> None:
        pipeline = Pipeline(parallel(double, later)) >> vote()
        assert repr(pickle.loads(pickle.dumps(pipeline))) == repr(pipeline)


class TestComposing:
    def test_building_runs_nothing(self) -> None:
        Pipeline(never) >> never >> parallel(a=never, b=never) >> switch(never, {1: never}) >> fallback(never, never)

    async def test_functions_stand_on_either_side(self) -> None:
        async with Client(double >> Pipeline(double) >> double) as client:
            assert await client.predict(1) == 8

    async def test_composition_is_associative(self) -> None:
        def less(x: int) -> int:
            return x - 1

        left = (Pipeline(double) >> less) >> double
        right = Pipeline(double) >> (less >> Pipeline(double))
        assert left.plan().text == right.plan().text
        async with Client(left) as a, Client(right) as b:
            assert await a.predict(5) == await b.predict(5) == 18

    async def test_a_pipeline_is_not_changed_by_what_is_made_of_it(self) -> None:
        start = Pipeline(double)
        _ = start >> double >> later
        assert repr(start) == "Pipeline(double)"
        async with Client(start) as client:
            assert await client.predict(1) == 2

    async def test_branches_stand_in_the_order_written(self) -> None:
        async with Client(parallel(later, z=double, a=double)) as client:
            assert list(await client.predict(1)) == ["later", "z", "a"]

    def test_a_branch_is_keyed_by_the_name_of_its_last_part(self) -> None:
        assert parallel(Pipeline(double) >> later, double).plan().text.endswith("later, double")

    async def test_types_and_other_callables_are_functions(self) -> None:
        async with Client(Pipeline(int) >> str >> functools.partial(str.__add__, "00")) as client:
            assert await client.predict("7") == "007"


class TestMisuse:
    """Every way of writing it wrong names the part, and says what to write."""

    @pytest.mark.parametrize(
        ("build", "says"),
        [
            (lambda: Pipeline(5), r"5 can't stand in a pipeline: a part is.*not a value of type int"),
            (lambda: Pipeline(double) >> None, r"None can't stand in a pipeline"),
            (lambda: 5 >> Pipeline(double), r"5 can't stand in a pipeline"),
            (lambda: Pipeline([double, double]), r"type list"),
            (lambda: Pipeline(LogisticRegression), r"LogisticRegression is a class.*LogisticRegression\(\)\.fit"),
            (lambda: Pipeline(LogisticRegression()), r"LogisticRegression is not fitted.*\.fit\(X, y\)"),
            (lambda: Pipeline("svm.skops"), r"write model\('svm\.skops'\)"),
            (lambda: Pipeline(double) >> Path("svm.skops"), r"write model\('svm\.skops'\)"),
            (lambda: parallel(double, double), r"two branches are named 'double'.*parallel\(first="),
            (lambda: parallel(double, double=later), r"two branches are named 'double'"),
            (lambda: parallel(lambda x: x, lambda x: x), r"two branches are named 'lambda'"),
            (lambda: parallel(), r"at least one branch"),
            (lambda: parallel(a=5), r"5 can't stand in a pipeline"),
            (lambda: step(5), r"step\(\) takes a function, got 5"),
            (lambda: step(Pipeline(double)), r"step\(\) takes a function, got Pipeline\(double\)"),
            (lambda: Pipeline(double)(3), r"not to 3: to predict write await Client\(pipeline\)\.predict\(x\)"),
            (lambda: bool(Pipeline(double)), r"no truth value.*Client"),
            (lambda: Pipeline(double) and double, r"no truth value"),
            (lambda: list(Pipeline(double)), r"can't be iterated.*predict_many"),
            (lambda: Pipeline(parallel(double, later)) >> vote, r"vote is a composer.*vote\(\)"),
            (lambda: fallback(double), r"fallback\(\): missing a required argument: 'spare'"),
            (lambda: fallback(double, later, double), r"fallback\(\): too many positional arguments"),
            (lambda: fallback(double, 5), r"5 can't stand in a pipeline"),
            (lambda: fallback(double, other=later), r"fallback\(\): .*'(spare|other)'"),
            (lambda: race(double), r"at least two members, got 1"),
            (lambda: switch(double, {}), r"at least one case"),
            (lambda: switch(double, [double]), r"a dict from each key to its part"),
            (lambda: vote(double, later, weights=[1]), r"1 weights for 2 members"),
            (lambda: vote(double, later, weights={"other": 1}), r"no member is named 'other'; they are"),
            (lambda: vote(double, later, weights=[1, -1]), r"weight 2 is -1; give a finite number, zero or more"),
            (lambda: vote(weights=[0, 0]), r"all weights are zero; give at least one member a weight"),
            (lambda: average(5), r"5 can't stand in a pipeline"),
            (lambda: Client(5), r"5 can't stand in a pipeline"),
            (lambda: Client("ftp://here"), r"'ftp://here' is no target.*http://"),
            (
                lambda: Client(step(double, name="a") >> step(later, name="a")),
                r"two steps are named 'a'.*name=",
            ),
        ],
    )
    def test_it_is_a_pipeline_error_that_says_what_to_do(self, build: Any, says: str) -> None:
        with pytest.raises(PipelineError, match=says):
            build()

    def test_nesting_past_pythons_stack_is_one_too(self) -> None:
        nested = Pipeline(double)
        for _ in range(2_000):
            nested = parallel(a=nested)
        with pytest.raises(PipelineError, match="nested too deep"):
            nested.plan()

    def test_it_is_a_value_error_as_well(self) -> None:
        assert issubclass(PipelineError, ValueError)


class TestComposer:
    def test_it_keeps_name_doc_and_signature(self) -> None:
        @composer
        def twice(x: Node, part: Pipeline[Any, Any], *, times: int = 2) -> Node:
            """The part, several times."""
            for _ in range(times):
                x = part(x)
            return x

        assert (twice.__name__, twice.__doc__) == ("twice", "The part, several times.")
        assert list(inspect.signature(twice).parameters) == ["part", "times"]
        assert repr(twice(double, times=3)) == "twice(double, times=3)"

    def test_arguments_annotated_as_pipelines_arrive_as_pipelines(self) -> None:
        kinds: list[Any] = []

        @composer
        def takes(
            x: Node,
            one: Pipeline[Any, Any],
            *rest: Pipeline[Any, Any],
            table: Mapping[str, Pipeline[Any, Any]],
            maybe: Pipeline[Any, Any] | None = None,
            number: int = 1,
            **named: Pipeline[Any, Any],
        ) -> Node:
            kinds[:] = [one, *rest, *table.values(), *named.values()]
            assert maybe is None
            assert number == 3
            return one(x)

        takes(double, later, table={"a": double}, number=3, other=double)
        assert [type(kind) for kind in kinds] == [Pipeline] * 4

    def test_lists_and_tuples_of_parts_arrive_as_pipelines(self) -> None:
        @composer
        def chained(x: Node, parts: list[Pipeline[Any, Any]]) -> Node:
            for part in parts:
                x = part(x)
            return x

        assert chained([double, later]).plan().text.count("Call") == 2

    def test_what_it_refuses_is_refused_when_the_pipeline_is_built(self) -> None:
        @composer
        def positive(x: Node, limit: int) -> Node:
            if limit < 0:
                raise PipelineError(f"limit={limit}: it is not negative")
            return x

        positive(1)
        with pytest.raises(PipelineError, match="limit=-1"):
            positive(-1)

    def test_it_must_give_a_node(self) -> None:
        @composer
        def forgets(x: Node, part: Pipeline[Any, Any]) -> Node:
            part(x)  # type: ignore[return]

        with pytest.raises(PipelineError, match=r"forgets\(\) must return a node.*returned None"):
            forgets(double)

    def test_it_may_build_only_on_the_node_it_is_given(self) -> None:
        kept: list[Node] = []

        @composer
        def leaks(x: Node) -> Node:
            kept.append(x)
            return kept[0]

        leaks()
        with pytest.raises(PipelineError, match="another plan"):
            leaks()

    def test_errors_in_it_carry_its_name(self) -> None:
        assert "Recover" in fallback(double, later).plan().text
        (node,) = fallback(double, later).plan().order
        assert getattr(node, "name", None) == "fallback"


def test_the_example_of_the_design_is_a_composer() -> None:
    @composer
    def spare(x: Node, main: Pipeline[Any, Any], other: Pipeline[Any, Any]) -> Node:
        return Recover((x,), body=main.plan(), handler=other.plan())

    assert repr(spare(double, later)) == "spare(double, later)"
