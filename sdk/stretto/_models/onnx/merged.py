"""Several compiled models as one graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from stretto._models.once import needed
from stretto._models.onnx.compiled import Compiled
from stretto._models.onnx.lower import WHAT
from stretto._models.onnx.session import Session
from stretto._models.onnx.verify import TOLERANCES, differing, probes
from stretto._models.rows import is_tame
from stretto.errors import BadRows, ModelError

ROWS: Final = 64
"""From so many rows on each model is asked by itself: there it is no longer the calls that take the time."""

SIZE: Final = 64_000_000
"""The most bytes that graphs may have to be put together: copies of large forests take longer than they save."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A compiled model, a `ModelFunction`, with the member whose answer it is given; None is the request."""

    fn: Any
    source: int | None = None


class Merged:
    """Asks all members at once, a column of the same rows for each that reads the request."""

    __slots__ = ("_content", "_inner", "_members", "_schema", "_session")

    def __init__(self, members: Sequence[Member], content: bytes) -> None:
        self._members = tuple(members)
        self._content = content
        self._session = Session(content)
        self._schema = next(each.fn.schema for each in members if each.source is None)
        self._inner = sorted({each.source for each in members if each.source is not None})

    def __reduce__(self) -> tuple[type[Merged], tuple[Any, ...]]:
        return Merged, (self._members, self._content)

    def __call__(self, column: Any) -> list[Any] | None:
        """Give each member's answers for a column of rows, or None where each must be asked by itself."""
        try:
            table = self._schema.table(column)
        except BadRows:
            return None
        if not 0 < len(table) < ROWS or not is_tame(table):
            return None
        raw = self._session(table)
        if any(not is_tame(raw[at]) for at in self._inner):
            return None
        return [each.fn.said(each.fn.method.read(answers)) for each, answers in zip(self._members, raw, strict=True)]


def merged(members: Sequence[Member]) -> Merged | None:
    """Give the members as one graph, seen to answer as they do; None where they don't fit together."""
    methods = [each.fn.method for each in members]
    schemas = {replace(each.fn.schema, model="", missing=False) for each in members if each.source is None}
    contents = [each.lowered.content for each in methods]
    if (
        len(schemas) > 1
        or sum(map(len, contents)) > SIZE
        or any(each.lowered.precision != "double" for each in methods)
    ):
        return None
    try:
        made = Merged(members, _joined(contents, [each.source for each in members]))
    except (ModelError, RuntimeError, ValueError):  # onnx is not installed, or two graphs need different versions of it
        return None
    return made if _agrees(made, members) else None


def _joined(contents: Sequence[bytes], sources: Sequence[int | None]) -> bytes:
    onnx: Any = needed("onnx", "onnx", WHAT)
    compose: Any = needed("onnx.compose", "onnx", WHAT)
    whole: Any = None
    for at, (content, source) in enumerate(zip(contents, sources, strict=True)):
        part = compose.add_prefix(onnx.load_from_string(content), f"m{at}_")
        given = part.graph.input[0]
        feed = "rows" if source is None else whole.graph.output[source].name
        for node in part.graph.node:
            node.input[:] = [feed if name == given.name else name for name in node.input]
        if whole is None:
            given.name = "rows"
            whole = part
            continue
        _know(whole, part)
        whole.graph.node.extend(part.graph.node)
        whole.graph.initializer.extend(part.graph.initializer)
        whole.graph.output.extend(part.graph.output)
    return whole.SerializeToString()


def _know(whole: Any, part: Any) -> None:
    """Have the whole be of the newest versions among its parts; what a node does not mean there, it won't load."""
    known = {each.domain: each for each in whole.opset_import}
    for each in part.opset_import:
        if each.domain not in known:
            whole.opset_import.add(domain=each.domain, version=each.version)
        else:
            known[each.domain].version = max(known[each.domain].version, each.version)


def _agrees(made: Merged, members: Sequence[Member]) -> bool:
    first: Compiled = next(each.fn.method for each in members if each.source is None)
    table = probes(first.method, None)[: ROWS - 1]
    together = made(table)
    if together is None:
        return False
    alone: list[Any] = []
    for each in members:
        alone.append(each.fn(table if each.source is None else alone[each.source]))
    tolerance = TOLERANCES["double"]
    return all(
        not differing(table, np.asarray(a), b, tolerance)
        for x, y in zip(alone, together, strict=True)
        for a, b in (zip(x.values(), y.values(), strict=True) if isinstance(x, dict) else [(x, y)])
    )
