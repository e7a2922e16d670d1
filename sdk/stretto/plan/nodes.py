"""The kinds of node: what a composition is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from stretto.plan.protocols import Policy, Until
from stretto.plan.steps import Stage, Step

if TYPE_CHECKING:
    from stretto.plan.plan import Plan


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
        """Return this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs)

    def label(self) -> str:
        """Return a few words on what it does, next to its kind."""
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
        """Return this node over other inputs and sub-plans."""
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
        """Return this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, body=plans[0], handler=plans[1])


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
        """Return this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, members=plans)

    @classmethod
    def over(cls, fan_out: Pack, until: Until) -> Join:
        """Return the node that decides from the branches of a fan-out as they arrive."""
        from stretto.plan.plan import Plan

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
        """Return this node over other inputs and sub-plans."""
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
        """Return this node over other inputs and sub-plans."""
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
        """Return this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, body=plans[0])


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
        """Return this node over other inputs and sub-plans."""
        return replace(self, inputs=inputs, body=plans[0])

    def label(self) -> str:
        """The policy, where it says something of itself."""
        return "" if type(self.policy).__repr__ is object.__repr__ else repr(self.policy)
