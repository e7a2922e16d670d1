"""The decorator that makes a combinator, and how its calls print."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import (
    Any,
    Concatenate,
    cast,
)

from stretto.errors import PipelineError
from stretto.pipeline import P, Pipeline, as_pipeline, atom, shown
from stretto.plan.nodes import Node


def composer(lower: Callable[Concatenate[Node, P], Node], /) -> Callable[P, Pipeline[Any, Any]]:
    """Make a combinator of a function from a node, and parts, to a node.

    Arguments annotated as `Pipeline` arrive as pipelines whatever part was given, also inside ``*args``, lists and
    dicts. The function is called when the combinator is used, so what it refuses is refused when the pipeline is built.

    >>> @composer
    ... def twice(x: Node, part: Pipeline) -> Node:
    ...     return part(part(x))
    >>> twice(abs)
    twice(abs)
    """
    parameters = list(inspect.signature(lower).parameters.values())[1:]
    signature = inspect.Signature(parameters)
    parts = {each.name for each in parameters if "Pipeline" in str(each.annotation)}
    name = lower.__name__

    @functools.wraps(lower)
    def build(*args: P.args, **kwargs: P.kwargs) -> Pipeline[Any, Any]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise PipelineError(f"{name}(): {error}") from None
        for key in bound.arguments.keys() & parts:
            bound.arguments[key] = _coerced(bound.arguments[key])
        given, named = bound.args, bound.kwargs

        def apply(node: Node) -> Node:
            made = cast("Callable[..., Any]", lower)(node, *given, **named)
            if not isinstance(made, Node):
                raise PipelineError(f"the composer {name}() must give a node, such as part(x), and gave {made!r}")
            return _named(made, name)

        pipeline = atom(apply, f"{name}({', '.join(_written(bound, set(kwargs)))})", name)
        pipeline.plan()
        return pipeline

    vars(build).update(__signature__=signature, _composes=True)
    return build


def _coerced(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _coerced(each) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return tuple(_coerced(each) for each in cast("tuple[Any, ...]", value))
    return None if value is None else as_pipeline(value)


def _written(bound: inspect.BoundArguments, by_name: set[str]) -> Iterator[str]:
    """Return the arguments of a call as they were written; `by_name` are those given as ``name=value``."""
    for key, value in bound.arguments.items():
        match bound.signature.parameters[key].kind:
            case inspect.Parameter.VAR_POSITIONAL:
                yield from map(shown, value)
            case inspect.Parameter.VAR_KEYWORD:
                yield from (f"{name}={shown(each)}" for name, each in value.items())
            case _:
                yield f"{key}={shown(value)}" if key in by_name else shown(value)


def _named(node: Node, name: str) -> Node:
    if getattr(node, "name", None) == "":
        object.__setattr__(node, "name", name)
    return node
