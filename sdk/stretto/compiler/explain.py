"""What the compiler makes of a plan, for people: stages, deployments, handle calls and reasons."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stretto.plan.nodes import Around, Aside, Call, Choose, Each, Input, Join, Node, Pack, Recover
from stretto.plan.plan import Plan
from stretto.plan.protocols import Plurality
from stretto.plan.steps import Stage, Step


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of the tree, what is said beside it, and what hangs below it."""

    kind: str
    title: str
    note: str = ""
    branches: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A compiled plan as a tree, with the deployments it needs and the handle calls a request costs.

    It prints as a tree in a terminal, in color where rich prints it, and as a picture in a notebook.
    """

    text: str
    tree: Branch
    deployments: tuple[str, ...]
    calls: tuple[int, int]
    advice: tuple[str, ...] = field(default=())

    @property
    def summary(self) -> tuple[str, ...]:
        """The counts, in words."""
        low, high = self.calls
        count = f"{low}" if low == high else f"{low} to {high}"
        names = ", ".join(self.deployments)
        hosts = (
            f"1 for the pipeline, {len(self.deployments)} more: {names}" if self.deployments else "1 for the pipeline"
        )
        return (f"deployments on Ray Serve: {hosts}", f"handle calls inside Serve, a request: {count}", *self.advice)

    def __str__(self) -> str:
        return "\n".join([self.text, *_lines(self.tree.branches, ""), "", *self.summary])

    __repr__ = __str__

    def __rich__(self) -> Any:
        """Return the tree as rich prints it."""
        from rich.console import Group
        from rich.text import Text
        from rich.tree import Tree

        def grow(tree: Tree, branches: tuple[Branch, ...]) -> Tree:
            for branch in branches:
                label = Text.assemble((branch.title, _STYLES.get(branch.kind, "")), ("  " + branch.note, "dim"))
                grow(tree.add(label), branch.branches)
            return tree

        return Group(grow(Tree(Text(self.text, "bold")), self.tree.branches), Text(), *map(Text, self.summary))

    def _repr_html_(self) -> str:
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in self.summary)
        style = "font-family:ui-monospace,monospace;font-size:13px;line-height:1.5"
        body = "".join(map(_box, self.tree.branches))
        title = f"<div><b>{html.escape(self.text)}</b></div>"
        return f'<div style="{style}">{title}{body}<div style="opacity:.7">{lines}</div></div>'


_STYLES = {"stage": "bold green", "deployment": "bold magenta", "node": "cyan", "step": ""}
_COLORS = {"stage": "#2e7d32", "deployment": "#8e24aa", "node": "#0277bd", "step": "#9e9e9e"}


def explain(compiled: Plan, text: str, advice: tuple[str, ...] = ()) -> Explanation:
    """Return the explanation of a compiled plan; `text` is the pipeline as written."""
    hosts = [stage.deployment for stage in _stages(compiled) if stage.deployment]
    tree = Branch("plan", text, "", _branches(compiled))
    return Explanation(text, tree, tuple(dict.fromkeys(hosts)), calls(compiled), advice)


def calls(plan: Plan) -> tuple[int, int]:
    """Return the fewest and the most handle calls that one row costs, where all goes well and where nothing does."""
    low = high = 0
    for node in plan.order:
        inner = [calls(each) for each in node.plans]
        match node:
            case Call(step=Stage(deployment=host)):
                least = most = 1 if host else 0
            case Choose():
                least, most = min(each[0] for each in inner), max(each[1] for each in inner)
            case Recover():
                least, most = inner[0][0], inner[0][1] + inner[1][1]
            case Join():
                least = sum(sorted(each[0] for each in inner)[: _deciding(node)])
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
    """Return how many members have to answer at least: in a vote those that make up half of the weight, else one."""
    weights = node.until.plurality(node.names) if isinstance(node.until, Plurality) else None
    if not weights:
        return 1
    heard, total = 0.0, sum(weights.values())
    for count, weight in enumerate(sorted(weights.values(), reverse=True), start=1):
        heard += weight
        if 2 * heard >= total:
            return count
    return len(weights)


def _stages(plan: Plan) -> Iterator[Stage]:
    for node in plan.walk():
        if isinstance(node, Call) and isinstance(node.step, Stage):
            yield node.step


def _branches(plan: Plan) -> tuple[Branch, ...]:
    nodes = [node for node in plan.order if not isinstance(node, Input)]
    branches: list[Branch] = []
    at = 0
    while at < len(nodes):
        length, times = _repeated(nodes, at)
        run = [_branch(node) for node in nodes[at : at + length]]
        if times > 1:
            run = [Branch("node", f"{times} times", "", tuple(run))]
        branches += run
        at += length * times
    return tuple(branches)


def _repeated(nodes: list[Node], at: int) -> tuple[int, int]:
    """Return how many nodes from here on are a group that comes again at once, and how often: loops are unrolled."""
    for length in (1, 2):
        group = [_shape(node) for node in nodes[at : at + length]]
        times = 1
        while [_shape(node) for node in nodes[at + length * times : at + length * (times + 1)]] == group:
            times += 1
        if times > 1 and any(nodes[at + i].plans for i in range(length)):
            return length, times
    return 1, 1


def _shape(node: Node) -> object:
    # What two nodes have in common that do the same, each to its own input.
    match node:
        case Call(step=Stage() as stage):
            return stage.deployment, stage.plan.text
        case Call(step=Step() as step):
            return step.fn
        case _:
            return type(node), node.label(), node.plans


def _branch(node: Node) -> Branch:
    match node:
        case Call(step=Stage(deployment="") as stage):
            note = stage.reason or "one batch, no hop: nothing in it waits or asks for resources"
            return Branch("stage", f"stage {stage.name}", note, _branches(stage.plan))
        case Call(step=Stage() as stage):
            options = ", ".join(f"{key}={value!r}" for key, value in stage.options.items())
            inner = _branches(stage.plan)
            return Branch(
                "deployment", f"deployment {stage.deployment}", "; ".join(filter(None, [options, stage.reason])), inner
            )
        case Call(step=Step() as step):
            how = "awaited, beside the rest" if step.asynchronous else "blocking, in a thread" if step.blocking else ""
            how = how or ("takes a column" if step.vectorized else "takes a row")
            shown = repr(step.fn) if step.model is not None else ""
            note = f"{shown}, {how}" if shown and "<" not in shown else how
            return Branch("step", step.name, "; ".join(filter(None, [note, step.model.note if step.model else ""])))
        case Pack():
            return Branch("node", "dict of", node.label())
        case _:
            parts = tuple(Branch("node", label, "", _branches(plan)) for label, plan in _parts(node))
            return Branch("node", getattr(node, "name", "") or type(node).__name__.lower(), node.label(), parts)


def _parts(node: Node) -> list[tuple[str, Plan]]:
    match node:
        case Choose(cases=cases, default=default):
            pairs = [(f"where the key is {key!r}", plan) for key, plan in cases]
            return pairs if default is None else [*pairs, ("else", default)]
        case Recover(body=body, handler=handler):
            return [("first", body), ("for rows that fail", handler)]
        case Join(names=names, members=members):
            return list(zip(names, members, strict=True))
        case _:
            what = "for each" if isinstance(node, Each) else "inside"
            return [(what, plan) for plan in node.plans if plan.order]


def _lines(branches: tuple[Branch, ...], indent: str) -> Iterator[str]:
    for index, branch in enumerate(branches):
        last = index == len(branches) - 1
        note = f"  ({branch.note})" if branch.note else ""
        yield f"{indent}{'└── ' if last else '├── '}{branch.title}{note}"
        yield from _lines(branch.branches, indent + ("    " if last else "│   "))


def _box(branch: Branch) -> str:
    color = _COLORS.get(branch.kind, "#9e9e9e")
    note = f'<span style="opacity:.65"> {html.escape(branch.note)}</span>' if branch.note else ""
    inner = "".join(map(_box, branch.branches))
    style = (
        f"border-left:4px solid {color};margin:4px 0 4px 12px;padding:2px 10px;background:{color}14;border-radius:4px"
    )
    return f'<div style="{style}"><b>{html.escape(branch.title)}</b>{note}{inner}</div>'
