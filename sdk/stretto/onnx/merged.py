"""Several compiled models as one graph."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np

from stretto.errors import ModelError
from stretto.models.files.once import needed
from stretto.models.input.numeric import Given, Schema, is_tame
from stretto.onnx.compiled import Compiled
from stretto.onnx.convert import WHAT
from stretto.onnx.session import Session
from stretto.onnx.verify import TOLERANCES, differing, probes

ROWS: Final = 64
"""From so many rows on each model is asked by itself: there it is no longer the calls that take the time."""

SIZE: Final = 64_000_000
"""The most bytes that graphs may have to be put together: copies of large forests take longer than they save."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A compiled model, a `ModelFunction`, with the member whose answer it is given; None is the request."""

    fn: Any
    source: int | None = None


@dataclass(frozen=True, slots=True)
class Votes:
    """The label with the largest sum of weights among some members' labels; of several the one that sorts first."""

    places: tuple[int, ...]
    weights: tuple[float, ...]


class Merged:
    """Asks all members at once, for rows that `schema` has read, which is that of those that read the request."""

    __slots__ = ("_content", "_inner", "_known", "_members", "_session", "_votes", "_wanted", "schema")

    def __init__(self, members: Sequence[Member], votes: Sequence[Votes], content: bytes) -> None:
        self._members = tuple(members)
        self._votes = tuple(votes)
        self._content = content
        self._session = Session(content)
        self.schema: Schema = next(each.fn.schema for each in members if each.source is None)
        self._wanted = wanted(members, votes)
        self._inner = [self._wanted.index(each.source) for each in members if each.source is not None]
        self._known = [known(members, each) for each in votes]

    def __reduce__(self) -> tuple[type[Merged], tuple[Any, ...]]:
        return Merged, (self._members, self._votes, self._content)

    def __call__(self, given: Given) -> dict[int, Any] | None:
        """Return the answers of members by place, of votes by its complement; None where each must be asked alone."""
        if not given.tame or not 0 < given.size < ROWS:
            return None
        raw = self._session(given.data)
        if any(not is_tame(raw[at]) for at in self._inner):
            return None
        found: dict[int, Any] = {}
        for at, place in enumerate(self._wanted):
            fn = self._members[place].fn
            found[place] = fn.said(fn.method.read(raw[at]))
        for at, labels in enumerate(self._known):
            found[~at] = labels[raw[len(self._wanted) + at]]
        return found


def merged(members: Sequence[Member], votes: Sequence[Votes] = ()) -> Merged | None:
    """Return the members as one graph, with votes among them, seen to answer as they do; None if they don't fit."""
    methods = [each.fn.method for each in members]
    schemas = {replace(each.fn.schema, model="", missing=False) for each in members if each.source is None}
    content = [each.lowered.content for each in methods]
    if len(schemas) > 1 or sum(map(len, content)) > SIZE or any(each.lowered.precision != "double" for each in methods):
        return None
    try:
        whole = _joined(content, [each.source for each in members], wanted(members, votes))
        for at, each in enumerate(votes):
            _count(whole, at, each, members)
        made = Merged(members, votes, whole.SerializeToString())
    except (ModelError, RuntimeError, ValueError):  # onnx is not installed, or the graphs don't go together
        return None
    return made if _agrees(made, members, votes) else None


def wanted(members: Sequence[Member], votes: Sequence[Votes]) -> list[int]:
    """Return the places of the members whose own answers are looked at: not of those that only vote."""
    voting = {place for each in votes for place in each.places}
    inner = {each.source for each in members}
    return [place for place in range(len(members)) if place in inner or place not in voting]


def known(members: Sequence[Member], votes: Votes) -> np.ndarray:
    """Return the labels that can win, sorted.

    Raises:
        ValueError: they can't be told apart or sorted as Python's are, or weights are not whole.
    """
    labels = [label for place in votes.places for label in members[place].fn.classes or (None,)]
    kinds = set(map(type, labels))
    if kinds not in ({str}, {int}) or not all(weight.is_integer() for weight in votes.weights):
        raise ValueError("only strings, or whole numbers, are counted in a graph, with whole weights")
    distinct: list[Any] = sorted(set(cast("list[Any]", labels)))
    return np.array(distinct, dtype=object if kinds == {str} else np.int64)


def _count(whole: Any, at: int, votes: Votes, members: Sequence[Member]) -> None:
    """Have the graph give a vote's winner, as its place among the labels known."""
    helper: Any = needed("onnx.helper", "onnx", WHAT)
    arrays: Any = needed("onnx.numpy_helper", "onnx", WHAT)
    labels = {label: i for i, label in enumerate(known(members, votes).tolist())}
    sums: list[str] = []
    for i, (place, weight) in enumerate(zip(votes.places, votes.weights, strict=True)):
        fn = members[place].fn
        if fn.method.lowered.classes is None or fn.output != "predict":
            raise ValueError("a member of the vote gives no class")
        table = np.zeros((len(fn.classes), len(labels)))
        table[np.arange(len(fn.classes)), [labels[each] for each in fn.classes]] = weight
        name = f"v{at}_{i}"
        whole.graph.initializer.append(arrays.from_array(table, f"{name}_weights"))
        whole.graph.node.append(helper.make_node("Gather", [f"{name}_weights", f"out{place}"], [name]))
        sums.append(name)
    whole.graph.node.append(helper.make_node("Sum", sums, [f"v{at}_sum"]))
    whole.graph.node.append(helper.make_node("ArgMax", [f"v{at}_sum"], [f"v{at}"], axis=1, keepdims=0))
    whole.graph.output.append(helper.make_tensor_value_info(f"v{at}", 7, [None]))


def _joined(content: Sequence[bytes], sources: Sequence[int | None], outputs: Sequence[int]) -> Any:
    """Return the graph of all members; what the member at a place gives is named ``outPLACE``."""
    onnx: Any = needed("onnx", "onnx", WHAT)
    compose: Any = needed("onnx.compose", "onnx", WHAT)
    whole: Any = None
    for at, (each, source) in enumerate(zip(content, sources, strict=True)):
        part = compose.add_prefix(onnx.load_from_string(each), f"m{at}_")
        given, gives = part.graph.input[0].name, part.graph.output[0].name
        names = {given: "rows" if source is None else f"out{source}", gives: f"out{at}"}
        for node in part.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        part.graph.output[0].name = f"out{at}"
        if whole is None:
            part.graph.input[0].name = "rows"
            whole = part
            continue
        _know(whole, part)
        whole.graph.node.extend(part.graph.node)
        whole.graph.initializer.extend(part.graph.initializer)
        whole.graph.output.extend(part.graph.output)
    shown = [whole.graph.output[at] for at in outputs]
    kept = [copy.deepcopy(each) for each in shown]
    del whole.graph.output[:]
    whole.graph.output.extend(kept)
    return whole


def _know(whole: Any, part: Any) -> None:
    """Have the whole be of the newest versions among its parts; what a node does not mean there, it won't load."""
    known = {each.domain: each for each in whole.opset_import}
    for each in part.opset_import:
        if each.domain not in known:
            whole.opset_import.add(domain=each.domain, version=each.version)
        else:
            known[each.domain].version = max(known[each.domain].version, each.version)


def _agrees(made: Merged, members: Sequence[Member], votes: Sequence[Votes]) -> bool:
    first: Compiled = next(each.fn.method for each in members if each.source is None)
    table = probes(first, None)[: ROWS - 1]
    together = made(made.schema.given(table))
    if together is None:
        return False
    alone: dict[int, Any] = {}
    for at, each in enumerate(members):
        alone[at] = each.fn(table if each.source is None else alone[each.source])
    for at, each in enumerate(votes):
        alone[~at] = np.array(
            [_winner(row, each.weights) for row in zip(*(alone[i] for i in each.places), strict=True)]
        )
    return all(_same(table, alone[key], answers) for key, answers in together.items())


def _winner(labels: Sequence[Any], weights: Sequence[float]) -> Any:
    votes: dict[Any, float] = {}
    for label, weight in zip(labels, weights, strict=True):
        votes[label] = votes.get(label, 0.0) + weight
    return min(label for label, count in votes.items() if count == max(votes.values()))


def _same(table: np.ndarray, alone: Any, together: Any) -> bool:
    if isinstance(alone, dict):
        return all(_same(table, alone[key], together[key]) for key in cast("dict[str, Any]", alone))
    return not differing(table, np.asarray(alone), together, TOLERANCES["double"])
