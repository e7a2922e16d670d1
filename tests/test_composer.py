"""What a composer receives: parts by the type of the parameter, as pipelines, however its annotations are written."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypeAlias, Union

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from stretto import Pipeline, composer
from stretto.errors import PipelineError
from stretto.nodes import Node, Part
from stretto_composers import cascade, confidence, fallback

if TYPE_CHECKING:
    from decimal import Decimal

ESTIMATOR = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
Table: TypeAlias = Mapping[str, Part[Any, Any]]


class PipelineOptions:
    """A class whose name has `Pipeline` in it, which is no part."""


def double(x: Any) -> Any:
    return 2 * x


def received(annotation: Any, argument: Any) -> Any:
    """Return what a composer receives for an argument of a parameter with this annotation."""
    seen: list[Any] = []

    def lower(x: Node, given: Any) -> Node:
        seen.append(given)
        return x

    lower.__annotations__ = {"given": annotation}
    composer(lower)(argument)
    return seen[-1]


PARTS = [
    Pipeline,
    Pipeline[Any, Any],
    Part,
    Part[Any, Any],
    Optional[Part[Any, Any]],  # noqa: UP045
    Union[Pipeline[Any, Any], str],  # noqa: UP007
    Pipeline[Any, Any] | None,
    Part[Any, Any] | str | float | Literal["auto"],
    Annotated[Part[Any, Any], "a remark"],
]
"""Types of which a function is a part."""

OTHERS = [
    Any,
    None,
    Callable[[Pipeline[Any, Any]], int],
    Callable[[Any], Pipeline[Any, Any]],
    type[Pipeline[Any, Any]],
    Literal["Pipeline"],
    PipelineOptions | Callable[..., Any],
    "a remark about a Pipeline",
    Mapping[str, Part[Any, Any]],
    list[int],
]
"""Types of which a function is none, some of which mention `Pipeline`."""


@pytest.mark.parametrize("annotation", PARTS)
@pytest.mark.parametrize("part", [double, ESTIMATOR, Pipeline(double)], ids=["function", "estimator", "pipeline"])
def test_a_part_arrives_as_a_pipeline(annotation: Any, part: Any) -> None:
    pipeline = received(annotation, part)
    assert type(pipeline) is Pipeline
    assert part is pipeline or not isinstance(part, Pipeline)


@pytest.mark.parametrize("annotation", OTHERS)
def test_a_function_of_another_type_arrives_as_it_is(annotation: Any) -> None:
    assert received(annotation, double) is double


@pytest.mark.parametrize(
    ("annotation", "value", "kinds"),
    [
        (list[Pipeline[Any, Any]], [double, ESTIMATOR], [Pipeline, Pipeline]),
        (list[Pipeline[Any, Any]], (double,), (Pipeline,)),
        (Sequence[Part[Any, Any]], [], []),
        (Iterable[Part[Any, Any]], (double, double), (Pipeline, Pipeline)),
        (tuple[Part[Any, Any], ...], (double, double), (Pipeline, Pipeline)),
        (tuple[Part[Any, Any], float], (double, 0.5), (Pipeline, float)),
        (dict[str, Pipeline[Any, Any]], {"a": double}, {str: Pipeline}),
        (Table, {"a": double, "b": ESTIMATOR}, {str: Pipeline}),
        (Mapping[Part[Any, Any] | str, float | tuple[Part[Any, Any], float]], {double: 1}, {Pipeline: int}),
        (
            Mapping[Part[Any, Any] | str, float | tuple[Part[Any, Any], float]],
            {"a": (double, 1)},
            {str: (Pipeline, int)},
        ),
        (list[list[Part[Any, Any]]], [[double]], [[Pipeline]]),
        (Part[Any, Any] | list[Part[Any, Any]], [double], [Pipeline]),
        (Part[Any, Any] | str, "name", str),
        (Part[Any, Any] | float, 1, int),
        (Part[Any, Any] | None, None, type(None)),
        (Part[Any, Any] | Literal["auto"], "auto", str),
        (Sequence[float] | Mapping[str, float], np.array([1.0]), np.ndarray),
        (Mapping[str, Part[Any, Any]], [double], [type(double)]),
    ],
)
def test_what_holds_parts_arrives_with_pipelines(annotation: Any, value: Any, kinds: Any) -> None:
    assert kinds_of(received(annotation, value)) == kinds


def kinds_of(value: Any) -> Any:
    """Return a value with the types of what it holds."""
    match value:
        case dict():
            return {kinds_of(key): kinds_of(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(map(kinds_of, value))
        case _:
            return type(value)


SOURCE = """
{future}
from collections.abc import Callable, Mapping
from typing import Any
from stretto import Pipeline, composer
from stretto.nodes import Node, Part

class PipelineOptions: ...

seen = {{}}

@composer
def takes(
    x: Node,
    one: Part[Any, Any],
    two: "Pipeline",
    options: PipelineOptions,
    hook: Callable[[Pipeline[Any, Any]], int],
    *rest: Part[Any, Any],
    maybe: Part[Any, Any] | None = None,
    spare: Part[Any, Any] = abs,
    **named: Pipeline[Any, Any],
) -> Node:
    seen.update(locals())
    return x
"""


@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
def test_it_is_the_same_with_and_without_annotations_as_text(future: str) -> None:
    module = ModuleType("takes")
    sys.modules["takes"] = module
    exec(SOURCE.format(future=future), vars(module))
    takes, seen, options = module.takes, module.seen, module.PipelineOptions()
    pipeline = takes(double, double, options, double, double, double, other=double)
    assert type(seen["one"]) is type(seen["two"]) is type(seen["spare"]) is Pipeline
    assert seen["options"] is options
    assert seen["hook"] is double
    assert kinds_of(seen["rest"]) == (Pipeline, Pipeline)
    assert kinds_of(seen["named"]) == {str: Pipeline}
    assert seen["maybe"] is None
    assert repr(pipeline).startswith("takes(double, double, <takes.PipelineOptions object at")
    assert repr(pipeline).endswith(">, double, double, double, other=double)")
    takes(double, double, options, double, maybe=double, spare=ESTIMATOR)
    assert type(seen["maybe"]) is type(seen["spare"]) is Pipeline


def test_types_of_the_function_around_it_are_known() -> None:
    class Options: ...

    @composer
    def takes(x: Node, part: Part[Any, Any], options: Options) -> Node:
        assert isinstance(part, Pipeline)
        assert type(options) is Options
        return x

    takes(double, Options())


def test_an_annotation_that_can_not_be_resolved_says_what_to_do() -> None:
    with pytest.raises(
        PipelineError,
        match=r"takes\(\): the annotation 'Decimal' of 'exact' can't be resolved \(name 'Decimal' is not defined\): "
        "import its names where they are there at run time, not under TYPE_CHECKING alone",
    ):

        @composer
        def takes(x: Node, part: Part[Any, Any], exact: Decimal) -> Node:
            return x


def test_what_is_no_part_is_refused() -> None:
    for annotation in (Pipeline, Part[Any, Any], Part[Any, Any] | None, Part[Any, Any] | str):
        with pytest.raises(PipelineError, match="5 can't stand in a pipeline"):
            received(annotation, 5)


def test_a_part_that_is_written_twice_is_one_pipeline() -> None:
    @composer
    def same(x: Node, one: Part[Any, Any], other: Part[Any, Any]) -> Node:
        assert one is other
        return x

    same(double, double)


class TestCall:
    """A composed pipeline remembers its call."""

    def test_it_holds_the_composer_and_its_arguments(self) -> None:
        tests = [confidence(0.9)]
        call = cascade(double, abs, until=tests).call
        assert call is not None
        assert call.composer == "cascade"
        assert list(call.arguments) == ["tiers", "until", "answer"]
        assert repr(call.arguments["tiers"]) == "(double, abs)"
        assert call.arguments["until"] == tests
        assert call.arguments["answer"] == "label"

    def test_it_survives_pickling_and_wrapping(self) -> None:
        made = fallback(double, abs)
        for pipeline in (pickle.loads(pickle.dumps(made)), Pipeline(made)):
            assert pipeline.call is not None
            assert pipeline.call.composer == "fallback"
            assert repr(pipeline.call.arguments["main"]) == "double"

    def test_what_is_made_of_it_has_none(self) -> None:
        made = fallback(double, abs)
        assert (made >> double).call is None
        assert (double >> made).call is None
        assert Pipeline(double).call is None
