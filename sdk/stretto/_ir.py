"""Steps, nodes and plans: what a composition is once it is built.

A plan is a graph of nodes from its inputs to one output. Nodes are frozen and compare by identity: two calls
written are two calls made, and structural hashing of a shared graph is exponential. Walks are iterative, so the
depth of a plan is bounded by memory alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, Protocol, Self, runtime_checkable

from stretto.errors import PipelineError


def is_async(fn: Callable[..., Any]) -> bool:
    """Say whether calling `fn` gives a coroutine."""
    if isinstance(fn, type):
        return False
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


class Reading(Protocol):
    """How a vectorised function reads a column before it works on it. Readings with equal keys read alike."""

    @property
    def key(self) -> Hashable:
        """Equal for those that read alike."""
        ...

    def given(self, column: Any) -> Any:
        """Give what the function takes instead of the column; what it raises is the function's."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A function applied to a value.

    `fn` takes one row's value, or with `vectorized` a column of them: a list or an array with a row each, or after
    a fan-out a dict of such columns; and gives as many. A `blocking` function runs in a thread of its own; an
    ``async def`` one is awaited. Equal `key`s of `pure` steps mean equal work, which is done once. `options` say where
    it runs, in Ray Serve's words (``num_replicas``, ``ray_actor_options`` and so on). With a `reading`, `fn` takes a
    column, or what that reading made of it: steps that read one column alike share the work.
    """

    fn: Callable[..., Any]
    name: str
    vectorized: bool = False
    blocking: bool = False
    pure: bool = False
    key: Hashable = None
    options: Mapping[str, Any] = field(default_factory=dict)
    named: bool = True
    reading: Reading | None = None
    asynchronous: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asynchronous", is_async(self.fn))

    @property
    def waits(self) -> bool:
        """Whether running it can suspend the caller."""
        return self.asynchronous or self.blocking or bool(self.options)

    def __repr__(self) -> str:
        return f"<step {self.name}>"


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A sub-plan of synchronous steps that runs whole, over a batch of rows, in one go.

    `host` is the deployment that runs it, with Ray Serve's `options`; the empty string is the process that took the
    request. `reason` says why it stands where it does. A `graph` gives the stage's outcomes for a column in one go, or
    None where it can't: then the plan is evaluated, and says the same.
    """

    plan: Plan
    host: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    graph: Callable[[Any], Any] | None = None

    @property
    def name(self) -> str:
        """The names of the steps inside, joined."""
        return "+".join(dict.fromkeys(step.name for step in self.plan.steps())) or "stage"

    @property
    def waits(self) -> bool:
        """A stage may queue in front of its lane; one with a graph is part of another, and runs at once."""
        return self.graph is None

    def __repr__(self) -> str:
        return f"<stage {self.name}>"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value in a plan. `inputs` are the nodes whose values it is made from."""

    inputs: tuple[Node, ...] = ()

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The sub-plans it holds: work that may not be wanted."""
        return ()

    @property
    def waits(self) -> bool:
        """Whether evaluating it can suspend."""
        return any(plan.waits for plan in self.plans)

    def rebuild(self, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Self:
        """Give this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs)

    def label(self) -> str:
        """Say in a few words what it does, beside its kind."""
        return ""


@dataclass(frozen=True, slots=True, eq=False)
class Input(Node):
    """The value a plan is applied to."""


@dataclass(frozen=True, slots=True, eq=False)
class Call(Node):
    """One step applied to a value."""

    step: Step | Stage = field(kw_only=True)

    @property
    def waits(self) -> bool:
        """Whether its step does."""
        return self.step.waits

    def label(self) -> str:
        """The step's name."""
        return self.step.name


@dataclass(frozen=True, slots=True, eq=False)
class Instead:
    """What a fan-out puts where a branch failed."""

    value: Any

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Pack(Node):
    """Several values as one dict, keyed by `names`.

    `on_error` says what becomes of a row in which some of them failed: with ``"raise"`` it fails as the first of those
    did, with ``"omit"`` its dict has no such keys, and with an `Instead` it has that value there. A row that one of
    them refuses as bad input, and one whose time is up, fails in any case.
    """

    names: tuple[str, ...] = field(kw_only=True)
    on_error: Literal["raise", "omit"] | Instead = "raise"

    def label(self) -> str:
        """The keys, and what stands for those that failed."""
        keys = ", ".join(self.names)
        return keys if self.on_error == "raise" else f"{keys}; on error {self.on_error!r}"


@dataclass(frozen=True, slots=True, eq=False)
class Choose(Node):
    """The plan whose case is the key's value, applied to the first input; the second input is the key."""

    cases: tuple[tuple[Any, Plan], ...] = field(kw_only=True)
    default: Plan | None = None
    name: str = ""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """Each case's plan, then the default's."""
        cases = tuple(plan for _, plan in self.cases)
        return cases if self.default is None else (*cases, self.default)

    def rebuild(self, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Self:
        """Give this node over other inputs and sub-plans."""
        cases = tuple((key, plan) for (key, _), plan in zip(self.cases, plans, strict=False))
        return replace(self, inputs=inputs, cases=cases, default=self.default and plans[-1])

    def label(self) -> str:
        """The cases' keys, where there is a choice."""
        if not self.cases:
            return ""
        return ", ".join([*(repr(key) for key, _ in self.cases), *(["default"] if self.default else [])])


@dataclass(frozen=True, slots=True, eq=False)
class Recover(Node):
    """The body's value; the handler's, on the same input, where a step of the body failed."""

    body: Plan = field(kw_only=True)
    handler: Plan = field(kw_only=True)
    name: str = ""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The body, then the handler."""
        return (self.body, self.handler)

    def rebuild(self, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Self:
        """Give this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, body=plans[0], handler=plans[1])


class Undecided:
    """What an `until` gives while it cannot tell: the one instance is `UNDECIDED`."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "UNDECIDED"

    def __repr__(self) -> str:
        return "UNDECIDED"


UNDECIDED: Final = Undecided()


class Until(Protocol):
    """Decides a row of a `Join` from what has arrived.

    `arrived` maps a member's name to its value or its error, in the order of arrival; `waiting` are the members
    still out. It gives the answer, or `UNDECIDED`; what it raises is the row's failure.
    """

    def __call__(self, arrived: Mapping[str, Any], waiting: tuple[str, ...], /) -> Any: ...


@runtime_checkable
class UntilMany(Protocol):
    """An `until` that decides many rows in one go, where members gave arrays and none has failed.

    `arrived` maps a member's name to its answers, an array with a row each. It gives an array of answers, and one that
    says which of the rows are decided; or None where it must see each row for itself.
    """

    def many(self, arrived: Mapping[str, Any], waiting: tuple[str, ...], /) -> tuple[Any, Any] | None: ...


@runtime_checkable
class Plurality(Protocol):
    """An `until` that gives the label with the largest sum of weights, of several the one that sorts first.

    `plurality` gives the weight of each of the members named, by which a graph that computes them all counts; or None
    where the answer is found in another way.
    """

    def plurality(self, names: tuple[str, ...], /) -> Mapping[str, float] | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Join(Node):
    """Members side by side, decided as soon as `until` can tell; the rest is cancelled or never started.

    With one input all members get its value, and they are parts of this node: its name goes in front of their errors'
    paths. With an input each, as for the branches of a fan-out, each member gets its own; an input that has failed is
    what has arrived from its member, and errors keep their paths.
    """

    members: tuple[Plan, ...] = field(kw_only=True)
    names: tuple[str, ...] = field(kw_only=True)
    until: Until = field(kw_only=True)
    name: str = ""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The members' plans."""
        return self.members

    def rebuild(self, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Self:
        """Give this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, members=plans)

    @classmethod
    def over(cls, fan_out: Pack, until: Until) -> Join:
        """Give the node that decides from the branches of a fan-out as they arrive."""
        same = Input()
        return cls(
            fan_out.inputs, members=(Plan((same,), same),) * len(fan_out.names), names=fan_out.names, until=until
        )

    @property
    def inline(self) -> bool:
        """Whether the members have inputs of their own."""
        return len(self.inputs) > 1

    def label(self) -> str:
        """The members' names."""
        return ", ".join(self.names)


@dataclass(frozen=True, slots=True, eq=False)
class Within(Node):
    """The body, with at most `seconds` for it; what remains travels inwards."""

    body: Plan = field(kw_only=True)
    seconds: float = field(kw_only=True)
    name: str = ""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The body."""
        return (self.body,)

    def rebuild(self, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Self:
        """Give this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, body=plans[0])

    def label(self) -> str:
        """The seconds."""
        return f"{self.seconds:g} s"


@dataclass(frozen=True, slots=True, eq=False)
class Each(Node):
    """The body applied to every element of a list, as a list."""

    body: Plan = field(kw_only=True)
    name: str = ""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The body."""
        return (self.body,)

    def rebuild(self, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Self:
        """Give this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, body=plans[0])


@dataclass(frozen=True, slots=True, eq=False)
class Aside(Node):
    """The first input's value; the body is started on the last input, and neither delays nor fails the request.

    Where too much of that is under way it is not started, and `dropped`, if given, is told how many rows.
    """

    body: Plan = field(kw_only=True)
    dropped: Callable[[int], object] | None = None
    name: str = ""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The body."""
        return (self.body,)

    @property
    def waits(self) -> bool:
        """It needs an event loop to start the body in."""
        return True

    def rebuild(self, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Self:
        """Give this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, body=plans[0])


class Body(Protocol):
    """What an `Around` holds, as its policy sees it: rows, and the means to have their outcomes."""

    @property
    def rows(self) -> Sequence[Any]:
        """The rows' values."""
        ...

    @property
    def budget(self) -> float | None:
        """The seconds left for the request, or None where there is no deadline."""
        ...

    async def run(self, rows: Sequence[int] | None = None, /) -> Sequence[Any]:
        """Give the outcomes, values or errors, of the rows at these positions, or of all. It may be cancelled."""
        ...


class Policy(Protocol):
    """Decides when, how often and whether the body of an `Around` runs; never what it means.

    It gives an outcome, a value or a `StrettoError`, for each of the body's rows, and waits no longer than the body's
    budget. What it remembers between calls is this process's own: it pickles without. Its `repr`, if it has one of its
    own, stands in the printed plan; its attribute `attempts`, if it has one, is a pair: the fewest and the most times
    that it runs the body for a row, which are 1 and 1 where it says nothing.
    """

    async def __call__(self, body: Body, /) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Around(Node):
    """The body's answers, as a list; when and how often the body runs for them is up to the policy."""

    body: Plan = field(kw_only=True)
    policy: Policy = field(kw_only=True)
    name: str = ""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The body."""
        return (self.body,)

    @property
    def waits(self) -> bool:
        """A policy may wait."""
        return True

    @property
    def attempts(self) -> tuple[int, int]:
        """The fewest and the most times that the policy runs the body for a row."""
        return getattr(self.policy, "attempts", (1, 1))

    def rebuild(self, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Self:
        """Give this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, body=plans[0])

    def label(self) -> str:
        """The policy, where it says something of itself."""
        return "" if type(self.policy).__repr__ is object.__repr__ else repr(self.policy)


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

    @property
    def waits(self) -> bool:
        """Whether anything in it can suspend: a plan that cannot may run whole in a worker thread."""
        return bool(self.waiting)

    def walk(self) -> Iterator[Node]:
        """Give every node, those of sub-plans too, each once, in the order written."""
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
        """Give every step it can call, as often as it is written."""
        for node in self.walk():
            if isinstance(node, Call) and isinstance(node.step, Step):
                yield node.step

    def rewrite(self, rule: Callable[[Node], Node], seen: dict[Plan, Plan] | None = None) -> Plan:
        """Give the plan in which every node, from the inputs on, is what `rule` makes of it.

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
