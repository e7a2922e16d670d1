"""The answers of members as features of another model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any, Literal, cast

import numpy as np

from stretto.errors import PipelineError
from stretto.nodes import Answers, Call, Input, Node, Pack, Step, answering, answers_of, rows_read
from stretto_composers._members.table import as_table, table_of

Method = Literal["auto", "predict_proba", "decision_function", "predict"]
OUTPUTS: dict[str, Any] = {"predict_proba": "proba", "decision_function": "decision", "predict": "predict"}
"""The methods of estimators, in the order in which ``"auto"`` prefers them, and the outputs of models they give."""


@dataclass(frozen=True)
class Stacked:
    """The members' numbers in one table; for those in `seconds`, with two that add up to one, the second alone."""

    seconds: tuple[str, ...] = ()

    def __call__(self, columns: Any) -> np.ndarray:
        """Return an array of shape (n_rows, n_features)."""
        if not isinstance(columns, dict):
            raise TypeError(
                f"stack() takes the answers of a fan-out, as in parallel(a, b) >> stack(meta), not {columns!r}"
            )
        if not columns:
            raise ValueError("no branch of the fan-out has answered")
        tables = cast("dict[str, Any]", columns).items()
        return np.hstack([table_of(name, column)[:, name in self.seconds :] for name, column in tables])

    def one(self, row: Any) -> np.ndarray:
        """Return an array of shape (n_features,)."""
        answers = cast("Mapping[str, Any]", row).items() if isinstance(row, Mapping) else None
        return self(row if answers is None else {name: [value] for name, value in answers})[0]


def answering_by(method: Method, name: str, node: Node) -> Node:
    """Return the branch with its model's answers by this method, as the estimator's own.

    Raises:
        PipelineError: the model has no such method.
    """
    answers = answers_of(node)
    if not answers.output or (method == "auto" and answers.output in ("proba", "decision", "transform")):
        return node
    if method == "auto":
        wanted = (
            "proba" if answers.output == "label_proba" else next(x for x in OUTPUTS.values() if x in answers.outputs)
        )
    else:
        wanted = OUTPUTS[method]
    source = answering(node, wanted, named=False)
    if source is None:
        raise PipelineError(
            f"stack(method={method!r}): {name!r} has no {method}; it has {', '.join(_methods_of(answers))}: "
            "leave method= out to take what each has"
        )
    return source


def _methods_of(answers: Answers) -> list[str]:
    return [method for method, output in OUTPUTS.items() if output in answers.outputs]


def is_binary(answers: Answers) -> bool:
    """Return whether an answer is two probabilities."""
    return answers.output == "proba" and answers.classes is not None and len(answers.classes) == 2


def width_of(answers: Answers) -> float:
    """Return how many numbers a member's answer has; NaN where that is unknown."""
    match answers:
        case Answers(output="proba", classes=tuple() as classes):
            return len(classes)
        case Answers(output="predict", kind="classifier", classes=tuple()):
            return 1
        case Answers(output="decision", classes=(_, _)):
            return 1
        case _:
            return nan


def with_rows(x: Pack, source: Node | None) -> tuple[Pack, float]:
    """Return the fan-out with the rows themselves behind its branches, and how many numbers a row has.

    They are in the form in which the first model that takes them reads them. `source` is their node, where it is known.

    Raises:
        PipelineError: it is not, and can't be told.
    """
    source = source or _source_of(x)
    if source is None:
        raise PipelineError(
            "stack(passthrough=True) can't tell what its one member was given: stack(meta, member, ...)"
        )
    rows, width = _rows(source, x)
    name = "rows"
    while name in x.names:
        name += "'"
    return Pack((*x.inputs, rows), names=(*x.names, name), on_error=x.on_error, name=x.name), width


def _rows(source: Node, x: Pack) -> tuple[Node, float]:
    for branch in x.inputs:
        for node in _up_to(branch):
            rows = rows_read(node) if node.inputs[:1] == (source,) else None
            if rows is not None:
                return rows, answers_of(node).features or nan
    step = Step(fn=as_table, name="rows", vectorized=True, named=False, internal=True)
    return Call((source,), step=step), nan


def _source_of(x: Pack) -> Node | None:
    """Return the value that the fan-out gives to every branch; None where that can't be told.

    It is the last of the nodes that all branches are made from. A single branch of several parts does not say where the
    fan-out began.
    """
    first, *others = (_up_to(node) for node in x.inputs)
    if not others:
        above = x.inputs[0].inputs
        return above[0] if len(above) == 1 and isinstance(above[0], Input) else None
    shared = set(first).intersection(*others)
    return next((node for node in reversed(first) if node in shared), None)


def _up_to(node: Node) -> list[Node]:
    """Return the nodes that `node` is made from and itself, each after those it is made from."""
    order: dict[Node, None] = {}
    left: list[tuple[Node, bool]] = [(node, False)]
    while left:
        each, ready = left.pop()
        if ready:
            order[each] = None
        elif each not in order:
            left.append((each, True))
            left += [(above, False) for above in each.inputs if above not in order]
    return list(order)
