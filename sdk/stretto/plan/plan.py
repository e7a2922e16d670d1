"""The graph of a composition: its order, its walks, its text, and how it pickles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from operator import is_
from typing import Any, TypeVar

from stretto.errors import PipelineError
from stretto.plan.nodes import Call, Input, Node
from stretto.plan.steps import Stage, Step

T = TypeVar("T")
S = TypeVar("S")


class Plan:
    """A graph of nodes from its inputs to one output, in an order in which each node follows its inputs.

    The plan of a pipeline has one input; a sub-plan and the plan of a stage may have several.
    """

    __slots__ = ("forks", "inputs", "order", "output", "waiting")

    def __init__(self, inputs: tuple[Input, ...], output: Node) -> None:
        if len(set(inputs)) < len(inputs):
            raise PipelineError("the inputs of a plan are different nodes")
        self.inputs = inputs
        self.output = output
        self.order = _order(inputs, output)
        self.waiting = frozenset(node for node in self.order if node.waits)
        depths = self.depths() if len(self.waiting) > 1 else {}
        self.forks = len({depths[node] for node in self.waiting if depths}) < len(self.waiting) > 1

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

    def depths(self) -> dict[Node, int]:
        """Return the number of nodes that wait on the longest way to each node from the inputs."""
        depth: dict[Node, int] = dict.fromkeys(self.inputs, 0)
        for node in self.order:
            depth[node] = max((depth[each] + (each in self.waiting) for each in node.inputs), default=0)
        return depth

    def walk(self) -> Iterator[Node]:
        """Return every node, those of sub-plans and stages too, each once, in the order written."""
        seen: set[Plan] = {self}
        left = list(reversed(self.order))
        while left:
            node = left.pop()
            yield node
            new = [plan for plan in dict.fromkeys(_inside(node)) if plan not in seen]
            seen.update(new)
            left += [each for plan in reversed(new) for each in reversed(plan.order)]

    def steps(self) -> Iterator[Step]:
        """Return every step it can call, as often as it is written."""
        for node in self.walk():
            if isinstance(node, Call) and isinstance(node.step, Step):
                yield node.step

    def readers(self) -> Iterator[Step]:
        """Return the steps, of sub-plans and stages too, that take the value of the plan's first input."""
        left: list[tuple[Plan, Collection[Node]]] = [(self, self.inputs[:1])]
        seen: set[tuple[Plan, Collection[Node]]] = set(left)
        while left:
            plan, sources = left.pop()
            for node in plan.order:
                if not any(each in sources for each in node.inputs):
                    continue
                if isinstance(node, Call) and isinstance(node.step, Step):
                    yield node.step
                for inner, fed in zip(_inside(node), _fed(node), strict=True):
                    place = tuple(own for own, each in zip(inner.inputs, fed, strict=True) if each in sources)
                    if place and (inner, place) not in seen:
                        seen.add((inner, place))
                        left.append((inner, place))

    def nested(self) -> list[Plan]:
        """Return this plan and all sub-plans in it, each once and after those that it holds."""
        done: dict[Plan, None] = {}
        left: list[tuple[Plan, bool]] = [(self, False)]
        while left:
            plan, ready = left.pop()
            if ready:
                done[plan] = None
            elif plan not in done:
                left.append((plan, True))
                left += [(each, False) for node in reversed(plan.order) for each in reversed(node.plans)]
        return list(done)

    def fold(
        self,
        rule: Callable[[Node, tuple[T, ...], tuple[S, ...]], T],
        close: Callable[[Plan, T], S] = lambda plan, value: value,
    ) -> S:
        """Return what `rule` makes of the output, computed from the inputs on: the loop under every pass.

        `rule(node, inputs, plans)` is called once for each node, the inputs of a plan among them, with what it made of
        the node's inputs and with what `close(plan, output)` made of its sub-plans; by default that is what `rule` made
        of their outputs. A sub-plan comes before the nodes that hold it, and is folded once wherever it stands.

        >>> from stretto import Pipeline
        >>> from stretto.nodes import Input
        >>> plan = (Pipeline(abs) >> abs >> float).plan()
        >>> plan.fold(lambda node, inputs, plans: sum(inputs) + (not isinstance(node, Input)))
        3
        """
        done: dict[Plan, S] = {}
        for plan in self.nested():
            values: dict[Node, T] = {node: rule(node, (), ()) for node in plan.inputs}
            for node in plan.order:
                values[node] = rule(
                    node, tuple([values[each] for each in node.inputs]), tuple([done[each] for each in node.plans])
                )
            done[plan] = close(plan, values[plan.output])
        return done[self]

    def rewrite(self, rule: Callable[[Node], Node]) -> Plan:
        """Return the plan in which every node but the inputs is what `rule` makes of it.

        `rule` sees a node whose inputs and sub-plans are rewritten already, and is the same object where these are.
        """

        def rewritten(node: Node, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Node:
            return node if isinstance(node, Input) else rule(rebuilt(node, inputs, plans))

        return self.fold(rewritten, ending)

    def with_calls(self, instead: Callable[[Step | Stage], Step | Stage]) -> Plan:
        """Return the plan that calls what `instead` returns in place of each step and stage."""

        def rule(node: Node) -> Node:
            step = instead(node.step) if isinstance(node, Call) else None
            return replace(node, step=step) if isinstance(node, Call) and step is not node.step else node

        return self.rewrite(rule)

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


def ending(plan: Plan, output: Node) -> Plan:
    """Return the plan from the same inputs to this output; the same object where the output is the plan's own."""
    return plan if output is plan.output else Plan(plan.inputs, output)


def rebuilt(node: Node, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Node:
    """Return the node over other inputs and sub-plans; the same object where these are its own."""
    same = all(map(is_, inputs, node.inputs)) and all(map(is_, plans, node.plans))
    return node if same else node.rebuild(inputs, plans)


def substitute(output: Node, nodes: Mapping[Node, Node]) -> Node:
    """Return a copy of the graph behind `output` in which other nodes stand in the place of some.

    >>> from stretto import Pipeline
    >>> from stretto.nodes import Input
    >>> plan, other = (Pipeline(abs) >> float).plan(), Input()
    >>> Plan((other,), substitute(plan.output, {plan.inputs[0]: other})).text == plan.text
    True
    """
    done = dict(nodes)
    for node in _order(nodes, output):
        done[node] = rebuilt(node, tuple([done[each] for each in node.inputs]), node.plans)
    return done[output]


def between(inputs: Sequence[Node], output: Node) -> Plan:
    """Return the plan from some nodes to another, with an input for each of `inputs`.

    Raises:
        PipelineError: the output is made from something else too.
    """
    starts = {node: Input() for node in inputs}
    return Plan(tuple(starts.values()), substitute(output, starts))


def outside(nodes: Collection[Node]) -> list[Node]:
    """Return the nodes whose values `nodes`, in the order of a plan, are made from, without `nodes` themselves."""
    own = set(nodes)
    return list(dict.fromkeys(each for node in nodes for each in node.inputs if each not in own))


def _inside(node: Node) -> tuple[Plan, ...]:
    return (node.step.plan,) if isinstance(node, Call) and isinstance(node.step, Stage) else node.plans


def _fed(node: Node) -> tuple[tuple[Node, ...], ...]:
    return (node.inputs,) if isinstance(node, Call) and isinstance(node.step, Stage) else node.feeds


def _order(inputs: Collection[Node], output: Node) -> tuple[Node, ...]:
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
                "a node of another plan is used here: a composer may only build on the node that it takes"
            )
        left.append((node, True))
        left.extend((each, False) for each in reversed(node.inputs))
    return tuple(order)


def _lines(plan: Plan, indent: str) -> Iterator[str]:
    place: dict[Node, str] = {}
    for node in (*plan.inputs, *plan.order):
        place[node] = f"%{len(place)}"
        inputs = ", ".join(place[each] for each in node.inputs)
        label = node.label()
        yield f"{indent}{place[node]} = {type(node).__name__}({inputs}){f' {label}' if label else ''}"
        for index, sub in enumerate(_inside(node)):
            yield f"{indent}  [{index}]"
            yield from _lines(sub, indent + "    ")
    if plan.order and plan.order[-1] is not plan.output:
        yield f"{indent}-> {place[plan.output]}"
