"""A model over the members' answers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from math import nan
from typing import Any, Literal, cast, get_args

import numpy as np

from stretto import Pipeline, composer
from stretto.errors import PipelineError
from stretto.nodes import Answers, Call, Input, Node, Pack, Part, Step, answering, answers_of, as_pipeline, rows_read
from stretto_composers._members.members import call, fan_out, known

Method = Literal["auto", "predict_proba", "decision_function", "predict"]
OUTPUTS: dict[str, Any] = {"predict_proba": "proba", "decision_function": "decision", "predict": "predict"}
"""The methods of estimators, in the order in which ``"auto"`` prefers them, and the outputs of models they give."""


@composer
def stack(
    x: Node, meta: Part[Any, Any], *members: Part[Any, Any], passthrough: bool = False, method: Method = "auto"
) -> Node:
    """Return the answer of the fitted model `meta` to the members' answers.

    ``stack(meta, a, b)`` and ``parallel(a, b) >> stack(meta)`` mean the same. The answers stand side by side as the
    features of `meta`, in the order of members, as in scikit-learn's ``StackingClassifier`` and ``StackingRegressor``
    with ``cv="prefit"``: a model gives its probabilities, else its decisions, else what it predicts, or all give what
    `method` says; of the two probabilities of a binary classifier the second; and classes are the estimators' own,
    without labels. A model with another `output` than ``"predict"`` keeps it with ``"auto"``. Another member gives a
    number, an array or a dict of numbers. With `passthrough` the row itself comes behind them, in the order of the
    first model's features. A member that fails fails the row.

    Raises:
        PipelineError: a member can't answer by `method`, `meta` was fitted on another number of features, or the
            members are a fan-out that leaves out those that fail.

    >>> import asyncio
    >>> from sklearn.linear_model import LinearRegression
    >>> from stretto import Client
    >>> meta = LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [0, 2, 3])
    >>> answer = asyncio.run(Client(stack(meta, lambda x: x, lambda x: x * x)).predict(2))
    >>> round(answer, 6)
    16.0
    """
    if method not in get_args(Method):
        raise PipelineError(f"stack(method={method!r}): it is {', '.join(map(repr, get_args(Method)))}")
    final, source, x = as_pipeline(meta), x if members else None, fan_out(x, members)
    if not isinstance(x, Pack):
        if passthrough and not isinstance(x, Input):
            raise PipelineError(
                "stack(passthrough=True) needs its members: stack(meta, a, b, passthrough=True), or parallel(a, b) "
                "right before it"
            )
        return final(call(x, Stacked(), "stack"))
    if x.on_error == "omit":
        raise PipelineError(
            "stack() needs every member's answer, and on_error='omit' leaves some out: give a value there"
        )
    x = replace(x, inputs=tuple(_answering_by(method, *each) for each in zip(x.names, x.inputs, strict=True)))
    single = {name: each for name, each in known(x).items() if not each.several_labels}
    seconds = tuple(name for name, each in single.items() if each.output == "proba" and len(each.classes or ()) == 2)
    widths = {name: _width_of(answers) for name, answers in known(x).items()}
    if passthrough:
        name = next(name for i in count() if (name := "rows" + "'" * i) not in x.names)
        rows, widths[name] = _rows(source or _source_of(x), x)
        x = replace(x, inputs=(*x.inputs, rows), names=(*x.names, name))
    _check_widths(final, widths)
    return final(call(x, Stacked(seconds), "stack"))


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
        return np.hstack([_table_of(name, column)[:, name in self.seconds :] for name, column in tables])

    def one(self, row: Any) -> np.ndarray:
        """Return an array of shape (n_features,)."""
        answers = cast("Mapping[str, Any]", row).items() if isinstance(row, Mapping) else None
        return self(row if answers is None else {name: [value] for name, value in answers})[0]


def _table_of(name: str, column: Any) -> np.ndarray:
    """Return a member's answers as an array of shape (n_rows, n_numbers)."""
    if isinstance(column, dict):
        members = cast("dict[str, Any]", column)
        return np.hstack([_table_of(f"{name}: {key}", each) for key, each in members.items()])
    if isinstance(column, list) and column and isinstance(column[0], Mapping):
        rows = cast("list[Mapping[str, Any]]", column)
        if any(row.keys() != rows[0].keys() for row in rows):
            raise ValueError(f"{name!r} gives different keys")
        return _table_of(name, {key: [row[key] for row in rows] for key in rows[0]})
    numbers = np.asarray(column)
    if numbers.dtype.kind not in "fiub" or not 1 <= numbers.ndim <= 2:
        raise TypeError(f"stack() takes numbers, and {name!r} answers {column[0]!r}")
    return numbers.reshape(len(numbers), -1).astype(float, copy=False)


def _answering_by(method: Method, name: str, node: Node) -> Node:
    """Return the branch with its model's answers by this method, as the estimator's own."""
    answers = answers_of(node)
    if not answers.output or (method == "auto" and answers.output in ("proba", "decision", "transform")):
        return node
    methods = [each for each, output in OUTPUTS.items() if output in answers.outputs]
    preferred = "predict_proba" if answers.output == "label_proba" else methods[0]
    source = answering(node, OUTPUTS[preferred if method == "auto" else method], named=False)
    if source is None:
        raise PipelineError(
            f"stack(method={method!r}): {name!r} has no {method}; it has {', '.join(methods)}: leave method= out to "
            "take what each has"
        )
    return source


def _width_of(answers: Answers) -> float:
    """Return how many numbers a member gives; NaN where that is unknown."""
    if answers.several_labels:
        return nan
    match answers.output, len(answers.classes or ()):
        case _, 0:
            return nan
        case ("predict", _) | ("proba" | "decision", 2):
            return 1
        case "proba", classes:
            return classes
        case _:
            return nan


def _check_widths(final: Pipeline[Any, Any], widths: Mapping[str, float]) -> None:
    plan, total = final.plan(), sum(widths.values())
    takes = answers_of(plan.output).features if len(plan.order) == 1 else None
    if takes is not None and total == total != takes:
        parts = ", ".join(f"{name!r} {width:g}" for name, width in widths.items())
        raise PipelineError(
            f"stack(): {final.label!r} was fitted on {takes} features, and the members give {total:g}: {parts}; "
            "fit it on their answers, in this order, or see passthrough= and method="
        )


def _rows(source: Node | None, x: Pack) -> tuple[Node, float]:
    """Return the rows in the form in which the first model that takes them reads them, and their width."""
    if source is None:
        raise PipelineError(
            "stack(passthrough=True) can't tell what its one member was given: stack(meta, member, ...)"
        )
    for node in [node for branch in x.inputs for node in _above(branch) if node.inputs[:1] == (source,)]:
        rows = rows_read(node)
        if rows is not None:
            return rows, answers_of(node).features or nan
    return Call((source,), step=Step(fn=as_table, name="rows", vectorized=True, named=False, internal=True)), nan


def as_table(column: Any) -> np.ndarray:
    """Return rows that no model reads as an array of shape (n_rows, n_features)."""
    numbers = np.asarray(column) if not isinstance(column, dict) else np.empty(0)
    if numbers.dtype.kind not in "fiub" or numbers.ndim != 2:
        raise TypeError("stack(passthrough=True) takes rows that are sequences of numbers where no member is a model")
    return numbers.astype(float, copy=False)


def _source_of(x: Pack) -> Node | None:
    """Return the value that the fan-out gives to every branch: the last node that all of them are made from.

    None where that can't be told: a single branch of several parts does not say where the fan-out began.
    """
    first, *others = map(_above, x.inputs)
    if not others:
        return first[1] if len(first) == 2 and isinstance(first[1], Input) else None
    shared = [node for node in first if all(node in other for other in others)]
    used = [source for node in shared for source in node.inputs]
    return next((node for node in shared if node not in used), None)


def _above(node: Node) -> list[Node]:
    """Return the node, and all that it is made from."""
    nodes = [node]
    for each in nodes:
        nodes += [source for source in dict.fromkeys(each.inputs) if source not in nodes]
    return nodes
