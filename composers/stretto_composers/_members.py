"""The members of a composer: their names, their fan-out, and what is known of their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stretto import Pipeline
from stretto.nodes import Answers, Input, Node, Pack, answers_of, as_pipeline


def labels_of(members: Sequence[Pipeline[Any, Any]]) -> tuple[str, ...]:
    """Return each member's name; where two have one, they are numbered in the order written."""
    labels = [member.label for member in members]
    return tuple(f"{label}-{i}" if labels.count(label) > 1 else label for i, label in enumerate(labels, 1))


def fan_out(x: Node, members: Sequence[Any]) -> Node:
    """Return the fan-out of the members over `x`; without members `x` itself, which may be one."""
    if not members:
        return x
    parts = [as_pipeline(member) for member in members]
    nodes: list[Node] = []
    for part in parts:  # one frame less than in a comprehension: composers nest
        nodes.append(part(x))  # noqa: PERF401
    return Pack(tuple(nodes), names=labels_of(parts))


def own_name(name: str, taken: Sequence[str]) -> str:
    """Return a name that none of the members has."""
    while name in taken:
        name += "'"
    return name


def known(x: Pack) -> dict[str, Answers]:
    """Return what is known of the answers of each branch."""
    return {name: answers_of(node) for name, node in zip(x.names, x.inputs, strict=True)}


def each_branch(x: Pack, change: Callable[[str, Node], Node]) -> Pack:
    """Return the fan-out with every branch changed, by its name and its node."""
    return replace(x, inputs=tuple(change(name, node) for name, node in zip(x.names, x.inputs, strict=True)))


def source_of(x: Pack) -> Node | None:
    """Return the value that the fan-out gives to every branch; None where that can't be told.

    It is the last of the nodes that all branches are made from. A single branch of several parts does not say where the
    fan-out began.
    """
    first, *others = (up_to(node) for node in x.inputs)
    if not others:
        above = x.inputs[0].inputs
        return above[0] if len(above) == 1 and isinstance(above[0], Input) else None
    shared = set(first).intersection(*others)
    return next((node for node in reversed(first) if node in shared), None)


def up_to(node: Node) -> list[Node]:
    """Return the nodes that `node` is made from and itself, each after those it is made from."""
    order: dict[Node, None] = {}
    left: list[tuple[Node, bool]] = [(node, False)]
    while left:
        each, ready = left.pop()
        if ready:
            order[each] = None
        elif each not in order:
            left.append((each, True))
            left += [(above, False) for above in each.inputs if above not in order]
    return list(order)
