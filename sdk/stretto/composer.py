"""The decorator that makes a composer of a function, and how the calls of composers print."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import repeat
from numbers import Real
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, Union, cast, get_args, get_origin, get_type_hints

from stretto.errors import PipelineError
from stretto.pipeline import Atom, ComposerCall, Estimator, Pipeline, as_pipeline, shown
from stretto.plan.nodes import Node

P = ParamSpec("P")

_UNIONS = (Union, UnionType)


def composer(lower: Callable[Concatenate[Node, P], Node], /) -> Callable[P, Pipeline[Any, Any]]:
    """Make a composer of a function from a node, and parts, to a node.

    Arguments of a type that has `Pipeline` or `Part` in it arrive as pipelines whatever kind of part the caller wrote:
    ``Part[Any, Any]``, ``*parts: Pipeline``, ``Part | None``, ``Mapping[str, Part]``, ``list[tuple[Part, float]]``.
    Defaults do, too. Annotations are resolved when the decorator runs, as by `typing.get_type_hints`. The function is
    called when the composer is called, so it checks its arguments when the pipeline is built.

    Raises:
        PipelineError: the annotation of a parameter can't be resolved.

    >>> @composer
    ... def twice(x: Node, part: Pipeline) -> Node:
    ...     return part(part(x))
    >>> twice(abs)
    twice(abs)
    """
    name = lower.__name__
    parameters = list(inspect.signature(lower).parameters.values())[1:]
    signature = inspect.Signature(parameters)
    local = sys._getframe(1).f_locals  # types may be defined in the function that defines the composer
    hints = {each.name: _type_of(each, lower, local) for each in parameters}

    @functools.wraps(lower)
    def build(*args: P.args, **kwargs: P.kwargs) -> Pipeline[Any, Any]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise PipelineError(f"{name}(): {error}") from None
        written = list(bound.arguments)
        bound.apply_defaults()
        pipelines: dict[int, Pipeline[Any, Any]] = {}

        def as_part(value: Any) -> Pipeline[Any, Any]:
            # A part that is written twice is one pipeline, so that a composer can compare them.
            return pipelines.setdefault(id(value), as_pipeline(value))

        for key, hint in hints.items():
            bound.arguments[key] = _as_pipelines(bound.arguments[key], hint, as_part)

        def apply(node: Node) -> Node:
            result = cast("Callable[..., Any]", lower)(node, *bound.args, **bound.kwargs)
            if not isinstance(result, Node):
                got = f"and returned {result!r}"
                raise PipelineError(f"the composer {name}() must return a node, such as part(x), {got}")
            return replace(result, name=name) if getattr(result, "name", None) == "" else result

        text = f"{name}({', '.join(_written(bound, written, set(kwargs)))})"
        pipeline = Pipeline[Any, Any].of(Atom(apply, text, name, call=ComposerCall(name, dict(bound.arguments))))
        pipeline.plan()
        return pipeline

    vars(build).update(__signature__=signature, _composes=True)
    return build


def _written(bound: inspect.BoundArguments, written: list[str], by_name: set[str]) -> Iterator[str]:
    """Yield the arguments of a call as they were written; `by_name` are those written as ``name=value``."""
    for key in written:
        value = bound.arguments[key]
        match bound.signature.parameters[key].kind:
            case inspect.Parameter.VAR_POSITIONAL:
                yield from map(shown, value)
            case inspect.Parameter.VAR_KEYWORD:
                yield from (f"{name}={shown(each)}" for name, each in value.items())
            case _:
                yield f"{key}={shown(value)}" if key in by_name else shown(value)


def _type_of(parameter: inspect.Parameter, function: Callable[..., Any], local: Mapping[str, Any]) -> Any:
    """Return the type of each argument of a parameter.

    Raises:
        PipelineError: its annotation can't be resolved.
    """
    annotated = SimpleNamespace(__annotations__={"type": parameter.annotation})
    try:
        hint = get_type_hints(annotated, function.__globals__, dict(local))["type"]
    except SyntaxError:  # a remark in words, which is no type
        return Any
    except Exception as error:
        raise PipelineError(
            f"{function.__name__}(): the annotation {parameter.annotation!r} of {parameter.name!r} can't be resolved "
            f"({error}): import its names where they are there at run time, not under TYPE_CHECKING alone"
        ) from error
    match parameter.kind:
        case inspect.Parameter.VAR_POSITIONAL:
            return tuple[hint, ...]
        case inspect.Parameter.VAR_KEYWORD:
            return dict[str, hint]
        case _:
            return hint


def _opened(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the class of a type, and the types it is subscripted with."""
    hint = getattr(hint, "__value__", hint)  # of a `type` statement
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_origin(hint) or hint, get_args(hint)


def _has_parts(hint: Any) -> bool:
    kind, inner = _opened(hint)
    holds = kind in _UNIONS or (isinstance(kind, type) and issubclass(kind, Iterable))
    return kind is Pipeline or (holds and any(map(_has_parts, inner)))


def _as_pipelines(value: Any, hint: Any, as_part: Callable[[Any], Pipeline[Any, Any]]) -> Any:
    """Return the value with every part in it, by its type, made a pipeline."""
    kind, inner = _opened(hint)
    if isinstance(value, Pipeline) or not _has_parts(hint):
        return value
    if kind is Pipeline:
        return as_part(value)
    if kind in _UNIONS:
        return _as_pipelines(value, _arm_of(value, inner), as_part)
    match value:
        case Mapping() if issubclass(kind, Mapping):
            of_key, of_item = inner
            items = cast("Mapping[Any, Any]", value).items()
            return {_as_pipelines(key, of_key, as_part): _as_pipelines(item, of_item, as_part) for key, item in items}
        case list() | tuple() | set() | frozenset() if not issubclass(kind, Mapping):
            hints = inner if issubclass(kind, tuple) and Ellipsis not in inner else repeat(inner[0])
            return type(value)(map(_as_pipelines, value, hints, repeat(as_part)))
        case _:  # the composer says what is wrong with it
            return value


def _arm_of(value: Any, arms: tuple[Any, ...]) -> Any:
    """Return the type among those of a union that a value is of.

    Next to `Pipeline`, estimators and functions are parts, too: `Part` is such a union, and joins others.
    """
    parts = [arm for arm in arms if _opened(arm)[0] is Pipeline]
    others = [arm for arm in arms if arm not in parts and not (parts and _opened(arm)[0] in (Estimator, Callable))]
    return next((arm for arm in others if _is_of(value, arm)), parts[0] if parts else Any)


def _is_of(value: Any, hint: Any) -> bool:
    kind, inner = _opened(hint)
    if kind is Literal:
        return value in inner
    try:  # a whole number is a float, as to type checkers
        return isinstance(value, Real if kind is float else kind)
    except TypeError:  # a type that only type checkers know
        return False
