"""The graph of a composition: its order, its walks, its text, and how it pickles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from stretto.errors import PipelineError
from stretto.plan.nodes import Call, Input, Node
from stretto.plan.steps import Stage, Step


class Plan:
    """A graph of nodes from its inputs to one output, in an order in which each stands after what it needs.

    An ordinary plan has one input; a stage's may have several.
    """

    __slots__ = ("inputs", "order", "output", "waiting")

    def __init__(self, inputs: tuple[Input, ...], output: Node) -> None:
        self.inputs = inputs
        self.output = output
        self.order = _order(inputs, output)
        self.waiting = frozenset(node for node in self.order if node.waits)

    @classmethod
    def of_step(cls, step: Step | Stage) -> Plan:
        """Return the plan that is one call of `step`, in a stage where it can't suspend."""
        start = Input()
        plan = cls((start,), Call((start,), step=step))
        return plan if step.waits else cls((start,), Call((start,), step=Stage(plan)))

    @property
    def stage(self) -> Stage | None:
        """The one stage of this process that the plan consists of, if it does."""
        match self.order:
            case [Call(step=Stage(deployment="") as stage, inputs=[Input()])] if len(stage.plan.inputs) == 1:
                return stage
            case _:
                return None

    @property
    def waits(self) -> bool:
        """Whether anything in it can suspend: a plan that cannot may run whole in a worker thread."""
        return bool(self.waiting)

    def walk(self) -> Iterator[Node]:
        """Return every node, those of sub-plans too, each once, in the order written."""
        seen: set[Plan] = {self}
        left = list(reversed(self.order))
        while left:
            node = left.pop()
            yield node
            plans = (node.step.plan,) if isinstance(node, Call) and isinstance(node.step, Stage) else node.plans
            new = [plan for plan in dict.fromkeys(plans) if plan not in seen]
            seen.update(new)
            left += [each for plan in reversed(new) for each in reversed(plan.order)]

    def steps(self) -> Iterator[Step]:
        """Return every step it can call, as often as it is written."""
        for node in self.walk():
            if isinstance(node, Call) and isinstance(node.step, Step):
                yield node.step

    def rewrite(self, rule: Callable[[Node], Node], seen: dict[Plan, Plan] | None = None) -> Plan:
        """Return the plan in which every node, from the inputs on, is what `rule` makes of it.

        `rule` sees a node whose inputs and sub-plans are rewritten already. A sub-plan that stands in several
        places, as `seen` remembers, is rewritten once.
        """
        seen = {} if seen is None else seen
        done: dict[Node, Node] = {node: node for node in self.inputs}
        for node in self.order:
            inputs = tuple(done[each] for each in node.inputs)
            for plan in node.plans:
                if plan not in seen:
                    seen[plan] = plan.rewrite(rule, seen)
            plans = tuple(seen[plan] for plan in node.plans)
            same = all(a is b for a, b in zip((*inputs, *plans), (*node.inputs, *node.plans), strict=True))
            done[node] = rule(node if same else node.rebuild(inputs, plans))
        return Plan(self.inputs, done[self.output])

    @property
    def text(self) -> str:
        """The text form, one line a node, by which plans are compared."""
        return "\n".join(_lines(self, ""))

    def __repr__(self) -> str:
        return self.text

    def __getstate__(self) -> Any:
        # A chain of nodes pickled by its links would recurse as deep as it is long: the nodes go as a flat list.
        place: dict[Node, int] = {node: index for index, node in enumerate(self.inputs)}
        rows: list[tuple[type[Node], tuple[int, ...], dict[str, Any]]] = []
        for node in self.order:
            rest = {each.name: getattr(node, each.name) for each in fields(node) if each.name != "inputs"}
            rows.append((type(node), tuple(place[each] for each in node.inputs), rest))
            place[node] = len(place)
        return len(self.inputs), rows, place[self.output]

    def __setstate__(self, state: Any) -> None:
        inputs, rows, output = state
        nodes: list[Node] = [Input() for _ in range(inputs)]
        starts = tuple(node for node in nodes if isinstance(node, Input))
        for kind, places, rest in rows:
            nodes.append(kind(tuple(nodes[place] for place in places), **rest))
        Plan.__init__(self, starts, nodes[output])


def _order(inputs: tuple[Input, ...], output: Node) -> tuple[Node, ...]:
    done: set[Node] = set(inputs)
    order: list[Node] = []
    left: list[tuple[Node, bool]] = [(output, False)]
    while left:
        node, ready = left.pop()
        if node in done:
            continue
        if ready:
            done.add(node)
            order.append(node)
            continue
        if isinstance(node, Input):
            raise PipelineError(
                "a node of another plan is used here: a composer may only build on the node it is given"
            )
        left.append((node, True))
        left.extend((each, False) for each in reversed(node.inputs))
    return tuple(order)


def _lines(plan: Plan, indent: str) -> Iterator[str]:
    place: dict[Node, str] = {}
    for node in (*plan.inputs, *plan.order):
        place[node] = f"%{len(place)}"
        given = ", ".join(place[each] for each in node.inputs)
        label = node.label()
        yield f"{indent}{place[node]} = {type(node).__name__}({given}){f' {label}' if label else ''}"
        subs = (node.step.plan,) if isinstance(node, Call) and isinstance(node.step, Stage) else node.plans
        for index, sub in enumerate(subs):
            yield f"{indent}  [{index}]"
            yield from _lines(sub, indent + "    ")
    if plan.order and plan.order[-1] is not plan.output:
        yield f"{indent}-> {place[plan.output]}"
