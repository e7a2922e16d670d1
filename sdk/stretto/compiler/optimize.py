"""Compile the models of a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, cast

from stretto.errors import BadRows, Disagreement, ModelError
from stretto.models import Compiled, ModelFunction, find_engine, on_engine, with_function
from stretto.plan.nodes import Call, Node, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Step

_UNKNOWN: Final = object()


def optimize(plan: Plan, sample: Any, engine: str = "onnx") -> Plan:
    """Return the plan in which the engine computes each model that it can compute, and faster for a single row.

    Each is verified on the rows of `sample` in the form in which they reach it, where nothing but models comes before
    it: functions are not run. A model behind a function is verified on drawn rows.

    Raises:
        Disagreement: a compiled model's answers differ from its estimator's.
        ModelError: there is no such engine, it is not installed, or a model can't take a row of the sample.
    """
    samples = _samples(plan, _UNKNOWN if sample is None else sample)
    compiled = {step: _compiled(step, engine, rows) for step, rows in samples.items()}
    return plan.with_calls(lambda step: compiled.get(step, step) if isinstance(step, Step) else step)


def _samples(plan: Plan, sample: Any) -> dict[Step, Any]:
    """Return the models of a plan with the sample in the form in which it reaches them, as far as that is known."""
    samples: dict[Step, Any] = {}
    left: list[tuple[Plan, tuple[Any, ...]]] = [(plan, (sample,))]
    seen = {plan}
    while left:
        part, inputs = left.pop()
        values: dict[Node, Any] = dict(zip(part.inputs, inputs, strict=True))
        for node in part.order:
            rows = [values[each] for each in node.inputs]
            if isinstance(node, Call) and isinstance(node.step, Step) and isinstance(node.step.fn, ModelFunction):
                samples.setdefault(node.step, rows[0])
            values[node] = _value(node, rows)
            for sub, fed in zip(node.plans, node.feeds, strict=True):
                left += [] if sub in seen else [(sub, tuple(values[each] for each in fed))]
                seen.add(sub)
    return samples


def _value(node: Node, rows: list[Any]) -> Any:
    """Return what a node makes of the sample, if models alone make it."""
    if any(each is _UNKNOWN for each in rows):
        return _UNKNOWN
    match node:
        case Call(step=Step(fn=fn, name=name)) if isinstance(cast("object", fn), ModelFunction):
            try:
                return fn(rows[0])
            except BadRows as error:
                first = next(iter(error.errors.values()))
                raise ModelError(f"sample= has a row that model {name!r} does not take: {first}") from error
        case Pack(names=names):
            return dict(zip(names, rows, strict=True))
        case _:
            return _UNKNOWN


def _compiled(step: Step, engine: str, rows: Any) -> Step:
    """Return a model's step on the engine, or as it was with the reason why not in its note."""
    fn = cast("ModelFunction", step.fn)
    if fn.engine:
        return step
    find_engine(engine).ready()
    try:
        compiled = on_engine(fn, engine, None if rows is _UNKNOWN else rows)
    except Disagreement as error:
        raise Disagreement(f"model {step.name!r}: {error.message}", error.rows) from error.__cause__
    except ModelError as error:
        return with_function(step, replace(fn, note=f"not compiled: {error.message}"))
    if isinstance(compiled.method, Compiled) and not compiled.method.faster:
        return with_function(step, replace(fn, note=f"not compiled: engine={engine!r} is no faster for a row"))
    return with_function(step, compiled)
