"""A compiled plan as a picture: text for a terminal, rich's tree in color, HTML for a notebook."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

WIDTH: Final = 100
"""The columns of a terminal that a picture fits."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of the tree: its kind, which decides its color, its title, a note next to it, and what hangs below."""

    kind: str
    title: str
    note: str = ""
    branches: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A compiled plan as a tree, with the deployments it needs and the handle calls a request costs.

    It prints as a tree of at most 100 columns in a terminal, in color where rich prints it, and as a picture in a
    notebook. `calls` are the fewest and the most handle calls of a request.
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
        more = f", {len(self.deployments)} more: {', '.join(self.deployments)}" if self.deployments else ""
        return (
            f"deployments on Ray Serve: 1 for the pipeline{more}",
            f"handle calls inside Serve, a request: {low if low == high else f'{low} to {high}'}",
            *self.advice,
        )

    def __str__(self) -> str:
        summary = [line for each in self.summary for line in _wrapped(each)]
        return "\n".join([*_wrapped(self.text), *_lines(self.tree.branches, ""), "", *summary])

    __repr__ = __str__

    def __rich__(self) -> Any:
        """Return the tree as rich prints it."""
        from rich.console import Group
        from rich.text import Text
        from rich.tree import Tree

        def grow(tree: Tree, branches: tuple[Branch, ...]) -> Tree:
            for branch in branches:
                label = Text.assemble((branch.title, _STYLES.get(branch.kind, "")), ("  " + branch.note, "dim"))
                label.no_wrap, label.overflow = True, "ellipsis"
                grow(tree.add(label), branch.branches)
            return tree

        return Group(grow(Tree(Text(self.text, "bold")), self.tree.branches), Text(), *map(Text, self.summary))

    def _repr_html_(self) -> str:
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in self.summary)
        style = "font-family:ui-monospace,monospace;font-size:13px;line-height:1.5"
        body = "".join(map(_box, self.tree.branches))
        title = f"<div><b>{html.escape(self.text)}</b></div>"
        return f'<div style="{style}">{title}{body}<div style="opacity:.7">{lines}</div></div>'


_STYLES: Final = {"stage": "bold green", "deployment": "bold magenta", "node": "cyan", "step": ""}
_COLORS: Final = {"stage": "#2e7d32", "deployment": "#8e24aa", "node": "#0277bd", "step": "#9e9e9e"}


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ") or [""]


def _fitted(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _lines(branches: tuple[Branch, ...], indent: str) -> Iterator[str]:
    for branch in branches:
        last = branch is branches[-1]
        line = _fitted(f"{indent}{'└── ' if last else '├── '}{branch.title}", WIDTH)
        room = WIDTH - len(line) - len("  ()")
        yield f"{line}  ({_fitted(branch.note, room)})" if branch.note and room > len("...") else line
        yield from _lines(branch.branches, indent + ("    " if last else "│   "))


def _box(branch: Branch) -> str:
    color = _COLORS.get(branch.kind, "#9e9e9e")
    note = f'<span style="opacity:.65"> {html.escape(branch.note)}</span>' if branch.note else ""
    style = (
        f"border-left:4px solid {color};margin:4px 0 4px 12px;padding:2px 10px;background:{color}14;border-radius:4px"
    )
    return f'<div style="{style}"><b>{html.escape(branch.title)}</b>{note}{"".join(map(_box, branch.branches))}</div>'
