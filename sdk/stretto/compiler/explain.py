"""What the compiler makes of a plan, in the words of the pipeline: its parts, where they run, what they cost."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile

from stretto.compiler.picture import Branch, Explanation
from stretto.models import Plurality
from stretto.plan.nodes import Around, Aside, Call, Choose, Each, Input, Join, Node, Pack, Recover, Within
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step

Place = tuple[tuple[Node, int], ...]
"""Where a node is drawn: the fan-ins, each with the number of the input, that alone need it; outermost first."""


def explain(compiled: Plan, text: str, advice: tuple[str, ...] = ()) -> Explanation:
    """Return the explanation of a compiled plan; `text` is the pipeline as written."""
    stages = [node.step for node in compiled.walk() if isinstance(node, Call) and isinstance(node.step, Stage)]
    deployments = dict.fromkeys(stage.deployment for stage in stages if stage.deployment)
    return Explanation(
        text,
        Branch("plan", text, "", tuple(_Drawing(compiled).branches())),
        tuple(deployments),
        calls(compiled),
        advice,
    )


def calls(plan: Plan) -> tuple[int, int]:
    """Return the fewest and the most handle calls that one row costs: where all goes well, and where nothing does."""
    low = high = 0
    for node in plan.order:
        inner = [calls(each) for each in node.plans]
        match node:
            case Call(step=Stage(deployment=name)):
                least = most = 1 if name else 0
            case Choose():
                least, most = min(each[0] for each in inner), max(each[1] for each in inner)
            case Recover():
                least, most = inner[0][0], inner[0][1] + inner[1][1]
            case Join():
                in_order = [each[0] for each in inner]
                least = sum((in_order if node.in_turn else sorted(in_order))[: _deciding(node)])
                most = sum(each[1] for each in inner)
            case Around(attempts=(seldom, often)):
                least, most = seldom * inner[0][0], often * inner[0][1]
            case Aside():
                least, most = 0, inner[0][1]
            case _:
                least, most = sum(each[0] for each in inner), sum(each[1] for each in inner)
        low, high = low + least, high + most
    return low, high


def _deciding(node: Join) -> int:
    """Return how many members have to answer at least: in a vote those with half of the weight, else one."""
    weights = node.until.plurality(node.names) if isinstance(node.until, Plurality) else None
    if not weights:
        return 1
    counted, total = 0.0, sum(weights.values())
    for count, weight in enumerate(sorted(weights.values(), reverse=True), start=1):
        counted += weight
        if 2 * counted >= total:
            return count
    return len(weights)


_START = Input()
_NOTHING = Plan((_START,), _START)


class _Drawing:
    """Draws one plan: each node once, in the branch of a fan-in that alone needs it, or before the fan-in."""

    def __init__(self, plan: Plan, fed: Mapping[Node, list[Branch]] | None = None) -> None:
        self._fed = fed or {}
        self._nodes: dict[Place, list[Node]] = {}
        places: dict[Node, Place] = {plan.output: ()}
        for node in reversed(plan.order):
            for at, each in enumerate(node.inputs):
                place = (*places[node], (node, at)) if _fans_in(node) else places[node]
                places[each] = _common(places.get(each, place), place)
        for node in (*plan.inputs, *plan.order):
            self._nodes.setdefault(places.get(node, ()), []).append(node)

    def branches(self, place: Place = ()) -> list[Branch]:
        """Return the branches of the nodes at a place, in their order; a loop that is unrolled is drawn once."""
        drawn: list[Branch] = []
        for node in self._nodes.get(place, ()):
            for branch in self._branch(node, place):
                if drawn and drawn[-1].kind == "members" and not branch.branches:
                    # The members of a composer such as average: what it makes of them is its own line.
                    branch = replace(branch, kind="node", branches=drawn.pop().branches)
                drawn.append(branch)
        shortened: list[Branch] = []
        at = 0
        while at < len(drawn):
            length, times = _repeated(drawn, at)
            run = drawn[at : at + length]
            shortened += run if times == 1 else [Branch("node", f"{times} times", "", tuple(run))]
            at += length * times
        return shortened

    def _branch(self, node: Node, place: Place) -> list[Branch]:
        before = [self.branches((*place, (node, at))) for at in range(len(node.inputs))] if _fans_in(node) else []
        match node:
            case Input():
                return self._fed.get(node, [])
            case Call(step=Stage() as stage) if before:
                return _Drawing(stage.plan, dict(zip(stage.plan.inputs, before, strict=True))).branches()
            case Call(step=Stage() as stage):
                return _stage(stage)
            case Call(step=Step() as step):
                return [] if step.internal else [Branch("step", step.name, _about(step))]
            case _:
                parts = [(label, _Drawing(plan).branches()) for label, plan in _parts(node)]
                for (_, part), own in zip(parts, before, strict=False):
                    part[:0] = own
                lines = [line for label, part in parts for line in _part(label, part)]
                kind = "members" if isinstance(node, Pack) and not node.name else "node"
                title = node.title if kind == "node" else "parallel"
                return [_joined(kind, title, _note(node), lines)]


def _fans_in(node: Node) -> bool:
    match node:
        case Pack() | Join(own_inputs=True):
            return True
        case Call(step=Stage(deployment="")):
            return len(node.inputs) > 1
        case _:
            return False


def _common(one: Place, other: Place) -> Place:
    return tuple(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _repeated(drawn: list[Branch], at: int) -> tuple[int, int]:
    """Return how many branches from here on are a group that comes again at once, and how often."""
    for length in (1, 2):
        group = drawn[at : at + length]
        times = 1
        while drawn[at + length * times : at + length * (times + 1)] == group:
            times += 1
        if times > 1 and any(branch.branches for branch in group):
            return length, times
    return 1, 1


def _joined(kind: str, title: str, note: str, branches: list[Branch]) -> Branch:
    """Return a node's branch; with what hangs below it as one, where a composer made two nodes of its name."""
    match branches:
        case [Branch(title=inner)] if inner == title:
            return Branch(kind, title, note or branches[0].note, branches[0].branches)
        case _:
            return Branch(kind, title, note, tuple(branches))


def _part(label: str, branches: list[Branch]) -> list[Branch]:
    """Return a part under its label: on one line with it, where it is one; as it is, where it needs none."""
    if not label or [branch.title for branch in branches] == [label]:
        return branches
    match branches:
        case [only]:
            return [Branch(only.kind, f"{label}: {only.title}", only.note, only.branches)]
        case _:
            return [Branch("node", label, "", tuple(branches))]


def _parts(node: Node) -> list[tuple[str, Plan]]:
    match node:
        case Choose(cases=cases, default=default):
            pairs = [(f"{key!r}", plan) for key, plan in cases]
            return pairs if default is None else [*pairs, ("else", default)]
        case Recover(body=body, handler=handler):
            return [("", body), ("on failure", handler)]
        case Join(names=names, members=members):
            return list(zip(names, members, strict=True))
        case Pack(names=names):
            return [(name, _NOTHING) for name in names]
        case Each():
            return [("each element", plan) for plan in node.plans]
        case _:
            return [("", plan) for plan in node.plans]


def _stage(stage: Stage) -> list[Branch]:
    inner = tuple(_Drawing(stage.plan).branches())
    if stage.deployment:
        options = ", ".join(f"{key}={value!r}" for key, value in stage.options.items())
        note = "; ".join(filter(None, [options, stage.reason]))
        return [Branch("deployment", f"deployment {stage.deployment}", note, inner)]
    if not stage.reason and [branch.kind for branch in inner] in ([], ["step"]):
        return [Branch("stage", branch.title, branch.note) for branch in inner]
    note = stage.reason or "one batch, in this process: nothing in it waits"
    return [Branch("stage", f"stage {stage.name}", note, inner)]


def _about(step: Step) -> str:
    """Return what a step is: a model's estimator and engine, or how a function is called."""
    if step.model is not None:
        return "; ".join(filter(None, [step.model.note, repr(step.fn)]))
    how = "awaited" if step.asynchronous else "blocking, in a thread" if step.blocking else ""
    return ", ".join(filter(None, ["many rows at once" if step.vectorized else "", how]))


def _note(node: Node) -> str:
    """Return what a node does that its title and its parts do not say."""
    match node:
        case Pack(on_error=on_error):
            return "" if on_error == "raise" else f"on error {on_error!r}"
        case Join(until=until, in_turn=in_turn, seconds=seconds):
            limit = "" if seconds is None else f"at most {seconds:g} s"
            return ", ".join(filter(None, ["in turn" if in_turn else "", _shown(until), limit]))
        case Around(policy=policy):
            return _shown(policy)
        case Within():
            return node.label()
        case _:
            return ""


def _shown(value: object) -> str:
    """Return a decision or a policy as its author prints it; empty where only Python does, or a dataclass."""
    written = type(value).__repr__
    return (
        "" if written is object.__repr__ or hasattr(written, "__wrapped__") or inspect.isroutine(value) else repr(value)
    )
