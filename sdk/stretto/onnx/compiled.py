"""An estimator that ONNX Runtime computes, verified against the estimator itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from stretto.errors import Disagreement, ModelError
from stretto.models.estimator import Output
from stretto.models.input.numeric import Given, is_tame
from stretto.models.method import Method
from stretto.onnx.convert import Graph, graphs
from stretto.onnx.session import Session
from stretto.onnx.verify import TOLERANCES, differing, probes

BATCHES: Final = (64, 256, 1024)
"""The numbers of rows at which graph and estimator are timed."""

CLEARLY: Final = 1.25
"""How many times faster a graph must be for large batches. Rows drawn for verification are further apart than those of
users, which costs the estimator's trees more than the graph's: equal times here mean a slower graph there."""

SHOWN: Final = 10
"""The most differing rows that an error shows."""


class Compiled:
    """Computes by a graph what its `method` returns; rows that are not plain finite numbers go to the method itself.

    So do batches of `bulk` rows or more, where the graph was not measured to be clearly faster.
    """

    __slots__ = ("_classes", "_session", "bulk", "checked", "faster", "flat", "graph", "method")

    def __init__(
        self, method: Method, graph: Graph, checked: int = 0, bulk: int | None = None, *, flat: bool = True
    ) -> None:
        self.method = method
        self.graph = graph
        self.checked = checked
        self.bulk = bulk
        self.flat = flat
        self.faster = True
        self._classes = graph.classes
        self._session = Session(graph.content)

    def __reduce__(self) -> tuple[Callable[..., Compiled], tuple[Any, ...]]:
        return partial(Compiled, flat=self.flat), (self.method, self.graph, self.checked, self.bulk)

    @property
    def estimator(self) -> Any:
        """The fitted estimator."""
        return self.method.estimator

    @property
    def output(self) -> Output:
        """The output it computes."""
        return self.method.output

    @property
    def note(self) -> str:
        """The runtime, the precision, and how it was verified."""
        large = "" if self.bulk is None else f", scikit-learn from {self.bulk} rows"
        return (
            f"ONNX Runtime in {self.graph.precision}{large}; verified on {self.checked} rows, "
            f"numbers within {TOLERANCES[self.graph.precision]:g}"
        )

    def __call__(self, given: Given) -> Any:
        """Return the estimator's answers to rows that a schema has read, one for each."""
        if not given.tame or (self.bulk is not None and given.size >= self.bulk):
            return self.method(given)
        return self.read(self._session(given.data)[0])

    def read(self, output: np.ndarray) -> np.ndarray:
        """Return the estimator's answers from the output of the graph."""
        if self._classes is not None:
            return self._classes[output]
        if output.dtype == np.float32:
            output = output.astype(np.float64)
        # A regressor's graph returns a column of numbers, and the estimator one number for each row.
        return output.ravel() if self.flat else output


def compile_method(method: Method, rows: np.ndarray | None) -> Compiled:
    """Return the method compiled, after it was verified on `rows`, or on probes: see `probes`.

    Labels must be equal, and numbers within `TOLERANCES` of the largest one.

    Raises:
        Disagreement: its answers differ; the error holds the rows.
        ModelError: skl2onnx or ONNX Runtime can't compute the estimator, or they are not installed.
    """
    table = probes(method, rows)
    expected = np.asarray(method(Given(table, len(table), is_tame(table))))
    reasons: list[Exception] = []
    for graph in graphs(method.estimator, method.output):
        if isinstance(graph, Exception):
            reasons.append(graph)
            continue
        try:
            candidate = Compiled(method, graph, len(table), flat=expected.ndim == 1)
            answers = candidate(Given(table, len(table), tame=True))
        except Exception as error:  # ONNX Runtime's errors have no class in common
            reasons.append(error)
            continue
        rows_differing = differing(table, expected, answers, TOLERANCES[graph.precision])
        if not rows_differing:
            candidate.faster = _time(candidate, table, 1) < _time(method, table, 1)
            candidate.bulk = _crossing(method, candidate, table)
            return candidate
        reasons.append(_disagreement(method, graph.precision, rows_differing, len(table)))
    raise _error(method, reasons)


def _error(method: Method, reasons: list[Exception]) -> Exception:
    for each in reasons:
        if isinstance(each, Disagreement | ModelError):
            return each
    texts = "; ".join(dict.fromkeys(" ".join(str(each).split())[:160] for each in reasons))
    name = type(method.estimator).__name__
    error = ModelError(f"{name} can't be compiled to ONNX for output={method.output!r}: {texts}. Leave engine= out")
    error.__cause__ = reasons[0] if reasons else None
    return error


def _disagreement(method: Method, precision: str, rows_differing: list[str], checked: int) -> Disagreement:
    return Disagreement(
        f"{type(method.estimator).__name__} compiled to ONNX in {precision} differs from scikit-learn on "
        f"{len(rows_differing)} of {checked} rows: leave engine= out for this model",
        "\n".join(rows_differing[:SHOWN]),
    )


def _crossing(method: Method, candidate: Compiled, table: np.ndarray) -> int | None:
    """Return the least of `BATCHES` from which on the graph is not clearly faster than the estimator, or None."""
    crossing = None
    for size in reversed(BATCHES):
        if _time(method, table, size) > CLEARLY * _time(candidate, table, size):
            break
        crossing = size
    return crossing


def _time(predict: Method | Compiled, table: np.ndarray, size: int) -> float:
    """Return the seconds for this many rows: the median of a few runs, after a first one that does not count."""
    rows = table[np.arange(size) % len(table)]
    seconds: list[float] = []
    while len(seconds) < 8 and sum(seconds) < 0.2:
        start = time.perf_counter()
        predict(Given(rows, size, tame=True))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:] or seconds)
