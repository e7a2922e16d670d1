"""A method that an engine computes, verified against the estimator itself."""

from __future__ import annotations

import statistics
import time
from typing import Any, Final

import numpy as np

from stretto.errors import Disagreement, ModelError
from stretto.models.engines import Kernel, find_engine
from stretto.models.estimator import Output
from stretto.models.input.numeric import Given, is_tame
from stretto.models.method import Method
from stretto.models.verify import differing, probes

BATCHES: Final = (64, 256, 1024)
"""The numbers of rows at which kernel and estimator are timed."""

CLEARLY: Final = 1.25
"""How many times faster a kernel must be for large batches. Rows drawn for verification are further apart than those of
users, which costs the estimator's trees more than a graph's: equal times here mean a slower kernel there."""

SHOWN: Final = 10
"""The most differing rows that an error shows."""


class Compiled:
    """Computes by a kernel what `method` returns; rows that are not plain finite numbers go to the method itself.

    So do batches of `bulk` rows or more, where the kernel was not measured to be clearly faster.
    """

    __slots__ = ("bulk", "checked", "engine", "faster", "flat", "kernel", "method")

    def __init__(
        self, method: Method, engine: str, kernel: Kernel, checked: int, flat: bool, bulk: int | None = None
    ) -> None:
        self.method = method
        self.engine = engine
        self.kernel = kernel
        self.checked = checked
        self.flat = flat
        self.bulk = bulk
        self.faster = True

    def __reduce__(self) -> tuple[type[Compiled], tuple[Any, ...]]:
        return Compiled, (self.method, self.engine, self.kernel, self.checked, self.flat, self.bulk)

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
        """What computes it, and how it was verified."""
        large = "" if self.bulk is None else f", the estimator from {self.bulk} rows"
        equal = f"numbers within {self.kernel.tolerance:g}" if self.kernel.tolerance else "all numbers equal"
        return f"{self.kernel}{large}; verified on {self.checked} rows, {equal}"

    def __call__(self, given: Given) -> Any:
        """Return the estimator's answers to rows that a schema has read, one for each."""
        if not given.tame or (self.bulk is not None and given.size >= self.bulk):
            return self.method(given)
        return self.shaped(self.kernel(given.data))

    def shaped(self, answers: np.ndarray) -> np.ndarray:
        """Return a kernel's answers in the shape of the estimator's: not in a column, where that returns numbers."""
        return answers.ravel() if self.flat else answers


def compile_method(method: Method, engine: str, rows: np.ndarray | None) -> Compiled:
    """Return the method compiled, after it was verified on `rows`, or on drawn ones: see `probes`.

    Raises:
        Disagreement: its answers differ from the estimator's; the error holds the rows.
        ModelError: there is no such engine, it is not installed, or it can't compute the estimator.
    """
    computing = find_engine(engine)
    table = probes(method.estimator, rows, computing.splits(method.estimator))
    expected = np.asarray(method(Given(table, len(table), is_tame(table))))
    reasons: list[Exception] = []
    for kernel in computing.kernels(method.estimator, method.output):
        if isinstance(kernel, Exception):
            reasons.append(kernel)
            continue
        candidate = Compiled(method, engine, kernel, len(table), expected.ndim == 1)
        try:
            answers = candidate(Given(table, len(table), tame=True))
        except Exception as error:  # the exceptions of runtimes have no class in common
            reasons.append(error)
            continue
        rows_differing = differing(table, expected, answers, kernel.tolerance)
        if not rows_differing:
            candidate.faster = _time(candidate, table, 1) < _time(method, table, 1)
            candidate.bulk = _crossing(method, candidate, table)
            return candidate
        reasons.append(_disagreement(candidate, rows_differing))
    raise _error(method, engine, reasons)


def _error(method: Method, engine: str, reasons: list[Exception]) -> Exception:
    for each in reasons:
        if isinstance(each, Disagreement | ModelError):
            return each
    texts = "; ".join(dict.fromkeys(" ".join(str(each).split())[:160] for each in reasons))
    error = ModelError(
        f"engine={engine!r} can't compile {type(method.estimator).__name__} for output={method.output!r}: {texts}. "
        "Leave engine= out"
    )
    error.__cause__ = reasons[0] if reasons else None
    return error


def _disagreement(candidate: Compiled, rows_differing: list[str]) -> Disagreement:
    return Disagreement(
        f"{type(candidate.estimator).__name__} on engine={candidate.engine!r} ({candidate.kernel}) differs from the "
        f"estimator on {len(rows_differing)} of {candidate.checked} rows: leave engine= out for this model",
        "\n".join(rows_differing[:SHOWN]),
    )


def _crossing(method: Method, candidate: Compiled, table: np.ndarray) -> int | None:
    """Return the least of `BATCHES` from which on the kernel is not clearly faster than the estimator, or None."""
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
