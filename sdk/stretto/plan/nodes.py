"""Every kind of node: what a composition is made of.

* Node: a value in a plan, made from the values of its `inputs`
    * Input: the value a plan is applied to
    * Call(step): one step applied to a value
    * Pack(names, on_error): several values as one dict
    * Sub(body): a part inside a composer
    * Choose(cases, default): the plan that belongs to a key; the others never start
    * Recover(body, handler): the handler where a step of the body failed
    * Join(members, until, in_turn, seconds): several plans, decided as soon as `until` can
    * Within(body, seconds): a deadline
    * Each(body): the body for every element of a list
    * Around(body, policy): the body; when, how often and whether it runs is up to the policy
    * Aside(body): started, not awaited, never fails the request

A node holds work that may not be wanted as a plan of its own, a *sub-plan*: laziness, failure and cancellation then
have one scope. Unless the kind says otherwise, a sub-plan takes all inputs of its node.

Nodes are frozen and equal only to themselves: two calls written are two calls made. An ill-formed node can't be made:
its constructor raises a `PipelineError` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from stretto.errors import PipelineError
from stretto.plan.protocols import DecideMany, DecideRow, Policy, Until
from stretto.plan.steps import Stage, Step

if TYPE_CHECKING:
    from stretto.plan.plan import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value in a plan. `inputs` are the nodes whose values it is made from.

    A kind lists in `SUBPLANS` the fields that hold sub-plans: a plan, None, a tuple of plans, or of pairs whose second
    is a plan.
    """

    SUBPLANS: ClassVar[tuple[str, ...]] = ()

    inputs: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        problem = _no_nodes(self.inputs) or _problem(self) or _misfed(self)
        if problem:
            raise PipelineError(f"{type(self).__name__}: {problem}")

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The sub-plans, field by field."""
        return tuple(_plans_in(getattr(self, each) for each in self.SUBPLANS)) if self.SUBPLANS else ()

    @property
    def feeds(self) -> tuple[tuple[Node, ...], ...]:
        """The nodes whose values each sub-plan takes, one for each input of the plan."""
        return (self.inputs,) * len(self.plans)

    @property
    def waits(self) -> bool:
        """Whether evaluating it can suspend."""
        return any(plan.waits for plan in self.plans)

    @property
    def title(self) -> str:
        """The name of the composer it stands for, or its kind."""
        return getattr(self, "name", "") or type(self).__name__.lower()

    def rebuild(self, inputs: tuple[Node, ...], plans: tuple[Plan, ...]) -> Self:
        """Return this node over other inputs and sub-plans."""
        left = iter(plans)
        return replace(self, inputs=inputs, **{each: _refilled(getattr(self, each), left) for each in self.SUBPLANS})

    def label(self) -> str:
        """Return in a few words what it does, next to its kind."""
        match self:
            case Call(step=step):
                return step.name
            case Pack(names=names, on_error=on_error):
                return ", ".join(names) + ("" if on_error == "raise" else f"; on error {on_error!r}")
            case Choose(cases=cases, default=default):
                return ", ".join([*(repr(key) for key, _ in cases), *(["default"] if default else [])])
            case Join(names=names):
                return ", ".join(names)
            case Within(seconds=seconds):
                return f"{seconds:g} s"
            case Around(policy=policy) if type(policy).__repr__ is not object.__repr__:
                return repr(policy)
            case _:
                return ""


def _plans_in(fields: Iterator[Any]) -> Iterator[Any]:
    for value in fields:
        for each in value if isinstance(value, tuple) else (value,):
            plan = cast("Any", each[1] if isinstance(each, tuple) else each)
            if plan is not None:
                yield plan


def _refilled(value: Any, plans: Iterator[Plan]) -> Any:
    if isinstance(value, tuple):
        each = cast("tuple[Any, ...]", value)
        return tuple((item[0], next(plans)) if isinstance(item, tuple) else next(plans) for item in each)
    return None if value is None else next(plans)


def _no_nodes(inputs: Any) -> str:
    if type(inputs) is tuple and all(isinstance(each, Node) for each in cast("tuple[object, ...]", inputs)):
        return ""
    return f"its inputs are a tuple of nodes, such as (x,), not {inputs!r}"


def _misfed(node: Node) -> str:
    """Return what is wrong with a node's sub-plans, or with how many values there are for each."""
    if not node.SUBPLANS:
        return ""
    from stretto.plan.plan import Plan

    if not node.inputs:
        return "it needs an input"
    for plan, fed in zip(node.plans, node.feeds, strict=False):
        if not isinstance(cast("object", plan), Plan):
            return f"a sub-plan is a plan, such as part.plan(), not {plan!r}"
        if len(plan.inputs) != len(fed):
            return f"a sub-plan takes {len(plan.inputs)} values, and the node has {len(fed)} for it"
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class Input(Node):
    """The value a plan is applied to."""


@dataclass(frozen=True, slots=True, eq=False)
class Call(Node):
    """One step applied to a value, or a stage to as many values as its plan takes."""

    step: Step | Stage = field(kw_only=True)

    @property
    def waits(self) -> bool:
        """Whether its step does."""
        return self.step.waits


@dataclass(frozen=True, slots=True, eq=False)
class Instead:
    """What a fan-out puts where a branch failed."""

    value: Any

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Pack(Node):
    """Several values as one dict, keyed by `names`.

    `on_error` says what becomes of a row in which some of them failed: with ``"raise"`` the row fails with the first
    of their errors, with ``"omit"`` its dict has no such keys, and with an `Instead` it has that value there. An
    `InputError` and the row's own deadline fail the row in any case. Without a `name` it is part of a composer.
    """

    names: tuple[str, ...] = field(kw_only=True)
    on_error: Literal["raise", "omit"] | Instead = "raise"
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sub(Node):
    """A part inside a composer: the body's value, with the composer's name in the path of its errors."""

    SUBPLANS: ClassVar = ("body",)

    body: Plan = field(kw_only=True)
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Choose(Node):
    """The plan whose case equals the value of the last input, the key, applied to the other inputs."""

    SUBPLANS: ClassVar = ("cases", "default")

    cases: tuple[tuple[Any, Plan], ...] = field(kw_only=True)
    default: Plan | None = None
    name: str = ""

    @property
    def feeds(self) -> tuple[tuple[Node, ...], ...]:
        """All inputs but the key, for each sub-plan."""
        return (self.inputs[:-1],) * len(self.plans)


@dataclass(frozen=True, slots=True, eq=False)
class Recover(Node):
    """The body's value; the handler's, on the same inputs, where a step of the body failed."""

    SUBPLANS: ClassVar = ("body", "handler")

    body: Plan = field(kw_only=True)
    handler: Plan = field(kw_only=True)
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Join(Node):
    """Several members, decided as soon as `until` can from what has arrived; the rest is cancelled or never started.

    Members run side by side. With `in_turn` they run one after the other, in the order written, each for the rows that
    `until` has left open.

    When `seconds` are over, counted from when the members start and for all rows of a batch together, members that have
    not answered are cancelled, no other one is started, and `until` decides the open rows from what has arrived, with
    nothing in `waiting`. A row that it leaves undecided then fails with `DeadlineExceeded`. A member that does not wait
    can't be interrupted: its answer counts, however late. The request's own deadline, if it is earlier, fails the row.

    Every member takes all inputs, and is a part of this node: its name goes in front of their errors' paths. With
    `own_inputs` the members are the branches of a fan-out instead: each takes one input of its own, an input that has
    failed is what has arrived from its member, and errors keep their paths.
    """

    SUBPLANS: ClassVar = ("members",)

    members: tuple[Plan, ...] = field(kw_only=True)
    names: tuple[str, ...] = field(kw_only=True)
    until: Until | DecideRow = field(kw_only=True)
    in_turn: bool = False
    seconds: float | None = None
    own_inputs: bool = False
    name: str = ""

    @classmethod
    def over(cls, fan_out: Pack, until: Until | DecideRow, *, seconds: float | None = None) -> Join:
        """Return the node that decides from the branches of a fan-out as they arrive."""
        from stretto.plan.plan import Plan

        same = Input()
        members = (Plan((same,), same),) * len(fan_out.names)
        return cls(fan_out.inputs, members=members, names=fan_out.names, until=until, seconds=seconds, own_inputs=True)

    @property
    def feeds(self) -> tuple[tuple[Node, ...], ...]:
        """All inputs for each member, or with `own_inputs` its own."""
        return tuple((each,) for each in self.inputs) if self.own_inputs else (self.inputs,) * len(self.members)

    @property
    def waits(self) -> bool:
        """Whether a member does; with `seconds` it needs an event loop to measure them in."""
        return self.seconds is not None or any(plan.waits for plan in self.members)

    @property
    def one(self) -> DecideRow:
        """What decides one row."""
        return getattr(self.until, "one", self.until)  # type: ignore[return-value]

    @property
    def many(self) -> DecideMany | None:
        """What decides many rows together, if `until` has it."""
        return getattr(self.until, "many", None)


@dataclass(frozen=True, slots=True, eq=False)
class Within(Node):
    """The body, with at most `seconds` for it; what remains of them travels inwards."""

    SUBPLANS: ClassVar = ("body",)

    body: Plan = field(kw_only=True)
    seconds: float = field(kw_only=True)
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Each(Node):
    """The body applied to every element of a list, as a list.

    The list is the first input; the values of other inputs go along with each of its elements.
    """

    SUBPLANS: ClassVar = ("body",)

    body: Plan = field(kw_only=True)
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Aside(Node):
    """The first input's value; the body is started on the other inputs, and neither delays nor fails the request.

    Where there is one input the body takes that. While too much of this is under way the body is not started, and
    `dropped`, if there is one, is called with the number of rows.
    """

    SUBPLANS: ClassVar = ("body",)

    body: Plan = field(kw_only=True)
    dropped: Callable[[int], object] | None = None
    name: str = ""

    @property
    def feeds(self) -> tuple[tuple[Node, ...], ...]:
        """The inputs after the first, or the first where there are no more."""
        return (self.inputs[1:] or self.inputs,)

    @property
    def waits(self) -> bool:
        """It needs an event loop to start the body in."""
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Around(Node):
    """The body's answers, as a list; when and how often the body runs for them is up to the policy.

    The policy sees a row as the input's value, or where there are several inputs as a tuple of their values.
    """

    SUBPLANS: ClassVar = ("body",)

    body: Plan = field(kw_only=True)
    policy: Policy = field(kw_only=True)
    name: str = ""

    @property
    def waits(self) -> bool:
        """A policy may wait."""
        return True

    @property
    def attempts(self) -> tuple[int, int]:
        """The fewest and the most times that the policy runs the body for a row."""
        return getattr(self.policy, "attempts", (1, 1))


def _problem(node: Node) -> str:
    """Return why a node is ill-formed, as far as it shows in the node itself; else the empty string."""
    match node:
        case Input():
            return "it has its value from outside, not from inputs" if node.inputs else ""
        case Call(step=step):
            if not isinstance(cast("object", step), Step | Stage):
                return f"it calls a Step, not {step!r}"
            needed = 1 if isinstance(step, Step) else len(step.plan.inputs)
            return "" if len(node.inputs) == needed else f"{step!r} takes {needed} inputs, and got {len(node.inputs)}"
        case Pack(names=names, on_error=on_error):
            if not isinstance(on_error, Instead) and on_error not in ("raise", "omit"):
                return f"on_error is 'raise', 'omit' or an Instead, not {on_error!r}"
            return _misnamed(names, len(node.inputs), "inputs")
        case Choose():
            return _no_choice(node)
        case Join(inputs=inputs, members=members):
            if node.own_inputs and len(inputs) != len(members):
                return f"it has {len(members)} members with inputs of their own, and {len(inputs)} inputs"
            if not callable(node.one):
                return f"until is a function, or an object with a method `one`, not {node.until!r}"
            return _misnamed(node.names, len(members), "members") or _no_time(node.seconds)
        case Within(seconds=seconds):
            return _no_time(seconds)
        case Around(policy=policy) if not callable(policy):
            return f"policy is an async function of a body, not {policy!r}"
        case _:
            return ""


def _no_choice(node: Choose) -> str:
    if len(node.inputs) < 2:
        return "it needs a value and, as its last input, a key"
    if not node.plans:
        return "it has nothing to choose: give a case, or a default"
    keys: set[Any] = set()
    for key, _ in node.cases:
        if not isinstance(key, Hashable):
            return f"the key of a case must be hashable, and {key!r} is not"
        if key in keys:
            return f"two cases have the key {key!r}"
        keys.add(key)
    return ""


def _misnamed(names: Sequence[str], count: int, what: str) -> str:
    if len(names) != count or not count:
        return f"it needs a name for each of its {what}, at least one: {len(names)} names, {count} {what}"
    twice = [name for name in names if names.count(name) > 1] if len(set(names)) < count else []
    return f"two of its {what} are named {twice[0]!r}" if twice else ""


def _no_time(seconds: float | None) -> str:
    return "" if seconds is None or seconds > 0 else f"seconds is a time above zero, not {seconds!r}"
