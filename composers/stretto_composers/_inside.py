"""Plans of a composer's own, so that what fails in a part comes under the composer's name."""

from __future__ import annotations

from stretto.nodes import Call, Input, Node, Plan, Step, Sub


def inside(x: Node, plan: Plan, name: str) -> Node:
    """Return the node of a plan that stands inside the composer `name`."""
    return Sub((x,), body=plan, name=name)


def unchanged() -> Plan:
    """Return the plan whose answer is its input."""
    start = Input()
    return Plan((start,), start)


def alone(step: Step) -> Plan:
    """Return the plan of one step."""
    start = Input()
    return Plan((start,), Call((start,), step=step))
