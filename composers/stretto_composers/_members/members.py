"""The members of a composer: their names, their fan-out, and what is known of their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stretto.nodes import Answers, Call, Node, Pack, Part, Step, answers_of, as_pipeline


def labels_of(members: Sequence[Part[Any, Any]]) -> tuple[str, ...]:
    """Return each member's name; where two have one, they are numbered in the order written."""
    labels = [as_pipeline(member).label for member in members]
    return tuple(f"{label}-{i}" if labels.count(label) > 1 else label for i, label in enumerate(labels, 1))


def fan_out(x: Node, members: Sequence[Part[Any, Any]]) -> Node:
    """Return the fan-out of the members over `x`; without members `x` itself, which may be one."""
    if not members:
        return x
    nodes: list[Node] = []
    for member in members:  # one frame less than in a comprehension: composers nest
        nodes.append(as_pipeline(member)(x))  # noqa: PERF401
    return Pack(tuple(nodes), names=labels_of(members))


def call(x: Node, fn: Any, name: str, **options: Any) -> Node:
    """Return the call of a composer's own function: `fn` takes many rows, and its method `one` takes one."""
    return Call((x,), step=Step(fn=fn, one=fn.one, name=name, vectorized=True, named=False, **options))


def known(x: Pack) -> dict[str, Answers]:
    """Return what is known of the answers of each branch."""
    return {name: answers_of(node) for name, node in zip(x.names, x.inputs, strict=True)}


def classifier(node: Node) -> Answers | None:
    """Return what is known of the model that a node's value comes from; None where it comes from something else."""
    answers = answers_of(node)
    return answers if answers.output else None


def each_branch(x: Pack, change: Callable[[str, Node], Node]) -> Pack:
    """Return the fan-out with every branch changed, by its name and its node."""
    return replace(x, inputs=tuple(change(name, node) for name, node in zip(x.names, x.inputs, strict=True)))
