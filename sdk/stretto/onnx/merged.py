"""Several compiled models as one graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from stretto.batch.batch import Batch
from stretto.engine.apply import shaped
from stretto.errors import BadRows, ModelError
from stretto.models.extras import import_extra
from stretto.models.input.numeric import is_finite
from stretto.onnx.convert import WHAT
from stretto.onnx.session import Session

ROWS: Final = 64
"""From this number of rows on each model runs by itself: a call then costs little next to the work."""

SIZE: Final = 64_000_000
"""The most bytes of graphs to put together: copying large forests takes longer than one call saves."""


@dataclass(frozen=True, slots=True)
class Model:
    """The answer of a compiled model, a `ModelFunction`, to the rows, or to the answer of `source`."""

    fn: Any
    source: Model | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """The label with the largest sum of weights among the models' labels; of equal ones the first in sort order."""

    models: tuple[Model, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """A dict of answers."""

    names: tuple[str, ...]
    answers: tuple[Answer, ...]


Answer: TypeAlias = Model | Vote | Fields


def models_of(answer: Answer) -> list[Model]:
    """Return the models that make an answer, each once, and after its source."""

    def chain(model: Model) -> list[Model]:
        models = [model]
        while models[-1].source is not None:
            models.append(models[-1].source)
        return models[::-1]

    def found(answer: Answer) -> Iterator[Model]:
        match answer:
            case Model():
                yield from chain(answer)
            case Vote(models=models):
                for each in models:
                    yield from chain(each)
            case Fields(answers=answers):
                for each in answers:
                    yield from found(each)

    return list(dict.fromkeys(found(answer)))


class Merged:
    """Computes an answer by one call of a graph of all its models."""

    __slots__ = ("_answer", "_content", "_read", "_session", "_sources", "reader")

    def __init__(self, answer: Answer, content: bytes) -> None:
        self._answer = answer
        self._content = content
        self._session = Session(content)
        place = {model: at for at, model in enumerate(models_of(answer))}
        self._sources = {place[model.source] for model in place if model.source is not None}
        self._read = _reader(answer, place)
        self.reader = next(model.fn.reader for model in place if model.source is None)

    def __reduce__(self) -> tuple[type[Merged], tuple[Any, ...]]:
        return Merged, (self._answer, self._content)

    def __call__(self, batch: Batch) -> Batch | None:
        """Return the answers to the rows; None where each model must run by itself."""
        if isinstance(batch.values, tuple):
            return None
        try:
            rows = batch.read(self.reader)
        except BadRows:
            return None
        if not rows.finite or not 0 < rows.size < ROWS:
            return None
        raw = self._session(rows.data)
        return self._read(raw, rows.size) if all(is_finite(raw[at]) for at in self._sources) else None


Reader: TypeAlias = Callable[[Sequence[np.ndarray], int], Batch]


def _reader(answer: Answer, place: Mapping[Model, int]) -> Reader:
    """Return the function from the outputs of the graph, by the places of their models, and their length to an answer.

    Raises:
        ValueError: the votes can't be counted here.
    """
    match answer:
        case Model(fn=fn):
            at = place[answer]
            return lambda raw, size: shaped(fn.labelled(fn.method.shaped(fn.method.kernel.read(raw[at]))), size)
        case Vote(models=models):
            labels, tables = _counting(answer)
            ballots = [(place[model], table) for model, table in zip(models, tables, strict=True)]
            return lambda raw, size: Batch(labels[np.sum([table[raw[at]] for at, table in ballots], 0).argmax(1)], size)
        case Fields(names=names, answers=answers):
            readers = [_reader(each, place) for each in answers]
            return lambda raw, size: Batch.pack(names, [each(raw, size) for each in readers], size)


def _counting(vote: Vote) -> tuple[Any, list[np.ndarray]]:
    """Return the labels that can win, sorted, and for each model what each of its classes adds to each of them.

    Raises:
        ValueError: the labels do not sort as Python's do, weights are not whole, or a model answers without classes.
    """
    classes = [each.fn.classes if each.fn.method.kernel.classes is not None else (None,) for each in vote.models]
    kinds = {type(label) for each in classes for label in each}
    if kinds not in ({str}, {int}) or not all(weight.is_integer() for weight in vote.weights):
        raise ValueError("votes are counted of strings, or of whole numbers, and with whole weights")
    labels: list[Any] = sorted({label for each in classes for label in each})
    tables = [
        np.array([[weight * (label == own) for label in labels] for own in each])
        for each, weight in zip(classes, vote.weights, strict=True)
    ]
    return np.array(labels, dtype=object if kinds == {str} else np.int64), tables


def merged(answer: Answer, models: Sequence[Model]) -> Merged | None:
    """Return what computes an answer by one graph of its models; None where they do not go together."""
    kernels = [each.fn.method.kernel for each in models]
    readers = {each.fn.reader.key for each in models if each.source is None}
    content = [each.content for each in kernels]
    if len(readers) > 1 or sum(map(len, content)) > SIZE or any(each.precision != "double" for each in kernels):
        return None
    place = {model: i for i, model in enumerate(models)}
    try:
        whole = _joined(content, [None if each.source is None else place[each.source] for each in models])
        return Merged(answer, whole.SerializeToString())
    except (ModelError, RuntimeError, ValueError):  # onnx is not installed, or the graphs don't go together
        return None


def _joined(content: Sequence[bytes], sources: Sequence[int | None]) -> Any:
    """Return the graph of all models; the output of the model at a place is named ``outPLACE``."""
    onnx: Any = import_extra("onnx", "onnx", WHAT)
    compose: Any = import_extra("onnx.compose", "onnx", WHAT)
    whole: Any = None
    for at, (each, source) in enumerate(zip(content, sources, strict=True)):
        part = compose.add_prefix(onnx.load_from_string(each), f"m{at}_")
        names = {
            part.graph.input[0].name: "rows" if source is None else f"out{source}",
            part.graph.output[0].name: f"out{at}",
        }
        for node in part.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        part.graph.output[0].name = f"out{at}"
        if whole is None:
            part.graph.input[0].name = "rows"
            whole = part
            continue
        _use_newest_opsets(whole, part)
        whole.graph.node.extend(part.graph.node)
        whole.graph.initializer.extend(part.graph.initializer)
        whole.graph.output.extend(part.graph.output)
    return whole


def _use_newest_opsets(whole: Any, part: Any) -> None:
    # A node that has another meaning in the newer version fails to load, and each model then runs by itself.
    domains = {each.domain: each for each in whole.opset_import}
    for each in part.opset_import:
        if each.domain not in domains:
            whole.opset_import.add(domain=each.domain, version=each.version)
        else:
            domains[each.domain].version = max(domains[each.domain].version, each.version)
