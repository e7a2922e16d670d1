"""An estimator that ONNX Runtime computes, verified beside itself."""

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
from stretto.onnx.convert import Lowered, lowered
from stretto.onnx.session import Session
from stretto.onnx.verify import TOLERANCES, differing, probes

BATCHES: Final = (64, 256, 1024)
"""The sizes at which it is measured whether the estimator itself is faster."""

CLEARLY: Final = 1.25
"""How many times faster a graph must be for large batches. The rows that are drawn to verify lie further apart than
those of users, which costs the estimator's trees more than the graph's: what is equal here is slower there."""

SHOWN: Final = 10
"""How many rows at fault an error shows."""


class Compiled:
    """Asks a graph what its `method` would answer; rows that are not plain finite numbers go to the method itself.

    So do batches of `bulk` rows or more, if the graph was not measured to be clearly faster there.
    """

    __slots__ = ("_classes", "_session", "bulk", "checked", "faster", "flat", "lowered", "method")

    def __init__(
        self, method: Method, lowered: Lowered, checked: int = 0, bulk: int | None = None, *, flat: bool = True
    ) -> None:
        self.method = method
        self.lowered = lowered
        self.checked = checked
        self.bulk = bulk
        self.flat = flat
        self.faster = True
        self._classes = lowered.classes
        self._session = Session(lowered.content)

    def __reduce__(self) -> tuple[Callable[..., Compiled], tuple[Any, ...]]:
        return partial(Compiled, flat=self.flat), (self.method, self.lowered, self.checked, self.bulk)

    @property
    def estimator(self) -> Any:
        """The fitted estimator."""
        return self.method.estimator

    @property
    def output(self) -> Output:
        """What it answers with."""
        return self.method.output

    @property
    def engine(self) -> str:
        """What computes it, in words."""
        large = "" if self.bulk is None else f", scikit-learn from {self.bulk} rows"
        return (
            f"ONNX Runtime in {self.lowered.precision}{large}; verified on {self.checked} rows, "
            f"numbers within {TOLERANCES[self.lowered.precision]:g}"
        )

    def __call__(self, given: Given) -> Any:
        """Return what the estimator answers for rows that a schema has read, an entry a row."""
        if not given.tame or (self.bulk is not None and given.size >= self.bulk):
            return self.method(given)
        return self.read(self._session(given.data)[0])

    def read(self, answers: np.ndarray) -> np.ndarray:
        """Return the estimator's answers from those of the graph."""
        if self._classes is not None:
            return self._classes[answers]
        if answers.dtype == np.float32:
            answers = answers.astype(np.float64)
        # A regressor's graph gives a column of numbers, and the estimator one number a row.
        return answers.ravel() if self.flat else answers


def compiled(method: Method, given: np.ndarray | None) -> Compiled:
    """Return the method compiled, once it is seen to answer as the estimator does: on the rows `given`, or on probes.

    Labels must be equal, and numbers within `TOLERANCES` of the largest one.

    Raises:
        Disagreement: it answers otherwise; the error holds the rows.
        ModelError: skl2onnx or ONNX Runtime can't compute the estimator, or they are not installed.
    """
    table = probes(method, given)
    expected = np.asarray(method(Given(table, len(table), is_tame(table))))
    refusals: list[Exception] = []
    for each in lowered(method.estimator, method.output):
        if isinstance(each, Exception):
            refusals.append(each)
            continue
        try:
            made = Compiled(method, each, len(table), flat=expected.ndim == 1)
            answers = made(Given(table, len(table), tame=True))
        except Exception as error:  # the runtime's own errors share no class
            refusals.append(error)
            continue
        wrong = differing(table, expected, answers, TOLERANCES[each.precision])
        if not wrong:
            made.faster = _time(made, table, 1) < _time(method, table, 1)
            made.bulk = _crossing(method, made, table)
            return made
        refusals.append(_disagreement(method, each.precision, wrong, len(table)))
    raise _refusal(method, refusals)


def _refusal(method: Method, refusals: list[Exception]) -> Exception:
    for each in refusals:
        if isinstance(each, Disagreement | ModelError):
            return each
    said = "; ".join(dict.fromkeys(" ".join(str(each).split())[:160] for each in refusals))
    name = type(method.estimator).__name__
    error = ModelError(f"{name} can't be compiled to ONNX for output={method.output!r}: {said}. Leave engine= out")
    error.__cause__ = refusals[0] if refusals else None
    return error


def _disagreement(method: Method, precision: str, wrong: list[str], checked: int) -> Disagreement:
    return Disagreement(
        f"{type(method.estimator).__name__} compiled to ONNX in {precision} answers otherwise than scikit-learn on "
        f"{len(wrong)} of {checked} rows: leave engine= out for this model",
        "\n".join(wrong[:SHOWN]),
    )


def _crossing(method: Method, made: Compiled, table: np.ndarray) -> int | None:
    """Return the least of `BATCHES` from which the graph is not clearly faster than the estimator itself, or None."""
    found = None
    for size in reversed(BATCHES):
        if _time(method, table, size) > CLEARLY * _time(made, table, size):
            break
        found = size
    return found


def _time(ask: Method | Compiled, table: np.ndarray, size: int) -> float:
    """Return the seconds that so many rows take: the median of a few runs, after one that is not counted."""
    rows = table[np.arange(size) % len(table)]
    took: list[float] = []
    while len(took) < 8 and sum(took) < 0.2:
        start = time.perf_counter()
        ask(Given(rows, size, tame=True))
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:] or took)
