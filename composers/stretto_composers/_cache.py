"""An answer once given is given again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import cachetools
import numpy as np
from anyio.lowlevel import RunVar

from stretto import composer
from stretto.errors import DeadlineExceeded, PipelineError, StepError, StrettoError
from stretto.nodes import Around, Body, Node, Part, plan_of
from stretto_composers._policies.keys import key_of
from stretto_composers._policies.numbers import seconds, whole
from stretto_composers._policies.policy import Forgetful

MISSING: Final = object()


@composer
def cache(
    x: Node,
    part: Part[Any, Any],
    *,
    ttl: float | None = None,
    size: int = 1024,
    key: Callable[[Any], Hashable] | None = None,
) -> Node:
    """Answer with the part, asked once for equal rows; later ones get the answer that it gave.

    It keeps the `size` answers that were last asked for, each for `ttl` seconds, or for good where that is left out,
    and in its process alone. Equal rows that come while the part is at work wait for that one answer; should the
    request that asked be cancelled or run out of time, one of the others asks. A row that fails is not kept. Dicts are
    equal whatever the order of their keys; 1 and 1.0 are not equal. `key` gives something hashable for a row, where
    rows are not or where only some of a row matters. Lists, dicts and arrays are copied for whoever gets them. The
    part is to give the same answer to equal rows: for one that draws or counts, a cache is no speed-up but a change.

    Raises:
        PipelineError: `ttl` is not above 0, `size` below 1, or `key` no function.

    >>> import asyncio
    >>> from stretto import Client
    >>> asked = []
    >>> def double(x):
    ...     asked.append(x)
    ...     return 2 * x
    >>> async def main():
    ...     async with Client(cache(double, ttl=60)) as client:
    ...         return await client.predict_many([1, 2, 1]), await client.predict(2)
    >>> asyncio.run(main()), asked
    (([2, 4, 2], 4), [1, 2])
    """
    if key is not None and not callable(key):
        raise PipelineError(f"key={key!r}: it takes a function that gives something hashable for a row")
    policy = Remember(None if ttl is None else seconds("ttl", ttl), whole("size", size, 1), key)
    return Around((x,), body=plan_of(part), policy=policy)


class _Flight:
    """The work on a key that is under way."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.outcome: Any = MISSING


@dataclass(eq=False, repr=False)
class Remember(Forgetful):
    """Runs the rows that it knows no answer to, each once."""

    ttl: float | None
    size: int
    key: Callable[[Any], Hashable] | None = None
    answers: MutableMapping[Hashable, Any] = field(init=False, repr=False)
    flights: RunVar[dict[Hashable, _Flight]] = field(init=False, repr=False)

    attempts = (0, 1)

    def __post_init__(self) -> None:
        self.answers = (
            cachetools.LRUCache(self.size)
            if self.ttl is None
            else cachetools.TTLCache(self.size, self.ttl, timer=anyio.current_time)
        )
        self.flights = RunVar("flights")

    async def __call__(self, body: Body) -> Sequence[Any]:
        """Return what is known, and ask or wait for the rest."""
        rows = body.rows
        outcomes: list[Any] = [None] * len(rows)
        left = self._keys(rows, outcomes)
        flights = self._under_way()
        while left:
            found: dict[Hashable, Any] = {}
            mine: dict[Hashable, _Flight] = {}
            others: dict[Hashable, _Flight] = {}
            for key in left:
                answer = self.answers.get(key, MISSING)
                if answer is not MISSING:
                    found[key] = answer
                elif key in flights:
                    others[key] = flights[key]
                else:
                    mine[key] = flights[key] = _Flight()
            if mine:
                found |= await self._ask(body, {key: left[key][0] for key in mine}, mine)
            for key, flight in others.items():
                found[key] = await _arrival(flight, body)
            for key, outcome in found.items():
                # Where whoever asked has gone, this row is still to be asked: by this request, or by the next to see.
                if outcome is not MISSING:
                    for i in left.pop(key):
                        outcomes[i] = _copied(outcome)
        return outcomes

    def _keys(self, rows: Sequence[Any], outcomes: list[Any]) -> dict[Hashable, list[int]]:
        places: dict[Hashable, list[int]] = {}
        for i, row in enumerate(rows):
            try:
                places.setdefault((self.key or key_of)(row), []).append(i)
            except Exception as error:
                says = f"{error}; give cache(key=...) a function that makes something hashable of a row"
                outcomes[i] = StepError("cache", type(error).__name__, says)
        return places

    def _under_way(self) -> dict[Hashable, _Flight]:
        flights = self.flights.get(None)
        if flights is None:
            self.flights.set(flights := {})
        return flights

    async def _ask(
        self, body: Body, rows: dict[Hashable, int], flights: dict[Hashable, _Flight]
    ) -> dict[Hashable, Any]:
        """Run the body for the rows, and tell who waits for them."""
        under_way = self._under_way()
        try:
            found = dict(zip(rows, await body.run(list(rows.values())), strict=True))
            for key, outcome in found.items():
                if not isinstance(outcome, StrettoError):
                    self.answers[key] = outcome
                # That this request's time is up says nothing of the others'.
                if not isinstance(outcome, DeadlineExceeded) or body.budget != 0:
                    flights[key].outcome = outcome
            return found
        finally:
            for key, flight in flights.items():
                del under_way[key]
                flight.ended.set()


async def _arrival(flight: _Flight, body: Body) -> Any:
    """Return what comes of another request's work in this one's time."""
    with anyio.move_on_after(body.budget):
        await flight.ended.wait()
        return flight.outcome
    return DeadlineExceeded("the cache, while an equal row was asked")


def _copied(outcome: Any) -> Any:
    match outcome:
        case StrettoError():
            twin = type(outcome)(*outcome.args)
            twin.__cause__ = outcome.__cause__
            return twin
        case list() | dict() | set() | tuple() | np.ndarray():
            return copy.deepcopy(outcome)
        case _:
            return outcome
