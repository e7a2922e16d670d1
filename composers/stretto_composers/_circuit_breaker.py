"""A part that fails too often is left alone for a while."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Literal, TypeAlias

import anyio

from stretto import composer
from stretto.errors import InputError, Overloaded
from stretto.nodes import Around, Body, Node, Part, as_pipeline
from stretto_composers._policies.settings import Forgetful, concerns, fraction, seconds, whole

LOG = logging.getLogger("stretto.circuit_breaker")
SLICES = 10
"""How many slices the window is kept in: what is older leaves it a slice at a time."""
State: TypeAlias = Literal["closed", "open", "half-open"]


class Circuit:
    """The state of a `circuit_breaker`: ``"closed"`` (its part runs), ``"open"`` (it does not) or ``"half-open"``.

    Make one to look at the state, or to share it among circuit breakers of parts that fail together. It is that of its
    process, and of all its threads, which look at it and change it under `lock`: a pickled one is a new one.

    >>> Circuit()
    Circuit('closed')
    """

    def __init__(self) -> None:
        self.turn("closed")
        self.trying = False
        self.lock = RLock()

    def note(self, window: float, rows: int, failed: int) -> tuple[int, int]:
        """Add what has come of some rows; return how many rows of the last `window` seconds failed, and of how many."""
        now = int(anyio.current_time() / window * SLICES)
        rows_before, failed_before = self._slices.pop(now, (0, 0))
        self._slices[now] = rows + rows_before, failed + failed_before
        self._slices = {each: counts for each, counts in self._slices.items() if now - SLICES < each <= now}
        every, bad = zip(*self._slices.values(), strict=True)
        return sum(bad), sum(every)

    def turn(self, state: State, reopens: float = 0.0) -> None:
        """Go over to another state, with nothing seen."""
        self.state, self.reopens = state, reopens
        self._slices: dict[int, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"Circuit({self.state!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Circuit, ()


@composer
def circuit_breaker(
    x: Node,
    part: Part[Any, Any],
    *,
    errors: int = 5,
    window: float = 10.0,
    cooldown: float = 5.0,
    ratio: float = 0.5,
    circuit: Circuit | None = None,
) -> Node:
    """Return the part's answer; once too many rows of it fail, stop calling it for `cooldown` seconds.

    Too many are `errors` rows within `window` seconds, if they are also that `ratio` of the rows of that time. While
    the circuit is open, rows are `Overloaded` at once, with the seconds left as `retry_after`: a circuit breaker
    (Nygard, "Release It!", 2007). Then it is half open: one request is let through, and by what comes of it the circuit
    closes or opens again. Bad input is no failure. `circuit`, if given, is where its state can be seen; each change is
    logged, too, by the logger ``stretto.circuit_breaker``.

    Raises:
        PipelineError: `errors` is below 1, `window` or `cooldown` not above 0, or `ratio` not above 0 and up to 1.

    >>> import asyncio
    >>> from stretto import Client
    >>> circuit = Circuit()
    >>> client = Client(circuit_breaker(lambda x: 1 / x, errors=2, circuit=circuit))
    >>> asyncio.run(client.predict_many([0, 0], on_error="skip"))
    []
    >>> circuit
    Circuit('open')
    """
    main = as_pipeline(part)
    counts = whole("errors", errors, 1), seconds("window", window), seconds("cooldown", cooldown)
    policy = Breaker(main.label, *counts, fraction("ratio", ratio), circuit or Circuit())
    return Around((x,), body=main.plan(), policy=policy)


@dataclass(eq=False, repr=False)
class Breaker(Forgetful):
    """Runs the body while its circuit is not open."""

    part: str
    errors: int
    window: float
    cooldown: float
    ratio: float
    circuit: Circuit = field(repr=False)

    attempts = (0, 1)

    async def __call__(self, body: Body) -> Sequence[Any]:
        """Return the body's outcomes, or at once that it is left alone."""
        circuit, now = self.circuit, anyio.current_time()
        if circuit.state == "closed":
            outcomes = await body.run()
            self._judge(outcomes)
            return outcomes
        with circuit.lock:
            if now < circuit.reopens or circuit.trying:
                wait = max(circuit.reopens - now, 0.0) or self.cooldown
                says = f"circuit_breaker of {self.part!r}: the circuit is {circuit.state}; try again in {wait:.3g} s"
                return [Overloaded(says, wait) for _ in body.rows]
            circuit.turn("half-open")
            circuit.trying = True
        try:
            outcomes = await body.run()
        finally:
            circuit.trying = False
        self._judge(outcomes, trial=True)
        return outcomes

    def _judge(self, outcomes: Sequence[Any], trial: bool = False) -> None:
        """Open or close the circuit by what has come of some rows; of those with bad input nothing has."""
        failures = [concerns(None, each) for each in outcomes if not isinstance(each, InputError)]
        with self.circuit.lock:
            self._count(failures, trial)

    def _count(self, failures: Sequence[bool], trial: bool) -> None:
        # What comes of rows that were asked before the circuit opened says nothing new.
        if not failures or (not trial and self.circuit.state != "closed"):
            return
        failed, rows = sum(failures), len(failures)
        if not trial:
            failed, rows = self.circuit.note(self.window, rows, failed)
        if failed >= self.ratio * rows and (trial or failed >= self.errors):
            self.circuit.turn("open", anyio.current_time() + self.cooldown)
            says = "circuit_breaker of %r: %d of %d rows failed; the circuit is open for %g s"
            LOG.warning(says, self.part, failed, rows, self.cooldown)
        elif trial:
            self.circuit.turn("closed")
            LOG.warning("circuit_breaker of %r: the circuit is closed again", self.part)
