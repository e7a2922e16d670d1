"""What travels with a request while its plan is evaluated."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio

from stretto.errors import DeadlineExceeded

CLOCK: Final[ContextVar[Callable[[], float]]] = ContextVar("stretto_clock", default=time.monotonic)
"""What deadlines are read from, in seconds. Not the event loop's own time: uvloop's stands still while a step holds the
loop, and a thread has none. Threads that work for a request are given its context, and with it a test's clock."""


def now() -> float:
    """Return the time that deadlines are measured in."""
    return CLOCK.get()()


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of work in one request: which step, where, when and over how many rows.

    `start` and `end` are seconds since the epoch, so that spans of different processes on one machine compare.
    `kind` is ``"step"``, ``"stage"``, ``"handle"`` (a call of a Serve deployment) or ``"case"`` (a choice, named by the
    composer and the case the row took: ``split/candidate``); `place` names the process.
    """

    name: str
    kind: str
    start: float
    end: float
    rows: int = 1
    place: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Context:
    """The deadline of the rows at hand, on the clock of `now`, and the spans of a traced request.

    `seconds` is the time limit that the deadline comes from, for messages. `spans` is None where no trace is wanted.
    """

    deadline: float | None = None
    spans: list[Span] | None = None
    seconds: float | None = None

    @property
    def budget(self) -> float | None:
        """The seconds left, not below zero, or None where there is no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - now())

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now() >= self.deadline

    def within(self, seconds: float) -> Context:
        """Return the context of a part that has at most `seconds`."""
        deadline = now() + seconds
        if self.deadline is not None and self.deadline <= deadline:
            return self
        return replace(self, deadline=deadline, seconds=seconds)

    def traced(self) -> Context:
        """Return the same context with a list for spans."""
        return replace(self, spans=[])

    def exceeded(self, where: str = "") -> DeadlineExceeded:
        """Return the error for a deadline that passed in `where`, such as ``"step 'svm'"``."""
        return DeadlineExceeded(where, self.seconds)

    def span(self, name: str, kind: str, rows: int, place: str = "") -> AbstractContextManager[Any]:
        """Record the time that the block takes, if this is a traced request."""
        return nullcontext() if self.spans is None else _measured(self.spans, name, kind, rows, place)

    @staticmethod
    def starting(timeout: float | None) -> Context:
        """Return the context of a request that has `timeout` seconds."""
        return UNLIMITED if timeout is None else Context(now() + timeout, seconds=timeout)


@contextmanager
def _measured(spans: list[Span], name: str, kind: str, rows: int, place: str) -> Generator[None]:
    start = time.time()
    try:
        yield
    finally:
        spans.append(Span(name, kind, start, time.time(), rows, place))


UNLIMITED: Final = Context()
"""The context of requests without a deadline."""


def latest(deadlines: Iterable[float | None]) -> float | None:
    """Return the latest deadline of requests that travel together, or None where one has none; each watches its own."""
    last = -math.inf
    for deadline in deadlines:
        if deadline is None:
            return None
        last = max(last, deadline)
    return last


def limit(seconds: float | None) -> AbstractContextManager[Any]:
    """Return the block that is cancelled, and left, after so many seconds: nothing where there is no limit."""
    return nullcontext() if seconds is None else anyio.move_on_after(seconds)
