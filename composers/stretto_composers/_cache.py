"""An answer once given is given again."""

import asyncio
import copy
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, TypeAlias

import anyio
import cachetools
import numpy as np
from anyio.lowlevel import RunVar

from stretto import composer
from stretto.errors import DeadlineExceeded, PipelineError, StepError, StrettoError
from stretto.nodes import Around, Body, Node, Part, plan_of
from stretto_composers._policies.keys import bytes_of, key_of
from stretto_composers._policies.settings import Forgetful, seconds, whole

MISSING: Final = object()
MOST_BYTES: Final = 2**16
"""The most bytes of a row with its answer that are kept: rows are as large as a stranger makes them."""
Flights: TypeAlias = dict[Hashable, asyncio.Future[Any]]


@composer
def cache(
    x: Node,
    part: Part[Any, Any],
    *,
    ttl: float | None = None,
    size: int = 1024,
    key: Callable[[Any], Hashable] | None = None,
) -> Node:
    """Return the part's answer, computed once for equal rows and kept for later ones.

    It keeps the `size` answers that were last asked for, each for `ttl` seconds, or for good where that is left out,
    and in its process alone. A row that takes more than 64 KiB with its answer is not kept. Equal rows that come while
    the part is at work wait for that one answer; should the request that asked be cancelled or run out of time, one of
    the others asks. A row that fails is not kept. Dicts are equal whatever the order of their keys; 1 and 1.0 are not
    equal. `key` gives something hashable for a row, where rows are not or where only some of a row matters. Lists,
    dicts and arrays are copied for each caller. The part is to give the same answer to equal rows: for one that draws
    or counts, a cache is no speed-up but a change.

    Raises:
        PipelineError: `ttl` is not above 0, `size` below 1, or `key` no function.

    >>> import asyncio
    >>> from stretto import Client
    >>> calls = []
    >>> pipeline = cache(lambda x: calls.append(x) or 2 * x, ttl=60)
    >>> asyncio.run(Client(pipeline).predict_many([1, 2, 1])), calls
    ([2, 4, 2], [1, 2])
    """
    if key is not None and not callable(key):
        raise PipelineError(f"key={key!r}: it takes a function that gives something hashable for a row")
    policy = Remember(None if ttl is None else seconds("ttl", ttl), whole("size", size, 1), key)
    return Around((x,), body=plan_of(part), policy=policy)


@dataclass(eq=False, repr=False)
class Remember(Forgetful):
    """Runs the rows whose answers are not known, each once; `flights` are those that are running.

    Event loops of several threads share the answers, which are read and changed under a lock, and have flights each.
    """

    ttl: float | None
    size: int
    key: Callable[[Any], Hashable] | None = None
    answers: MutableMapping[Hashable, Any] = field(init=False, repr=False)
    flights: RunVar[Flights] = field(init=False, repr=False)
    lock: Lock = field(init=False, repr=False, default_factory=Lock)

    attempts = (0, 1)

    def __post_init__(self) -> None:
        self.flights = RunVar("flights")
        if self.ttl is None:
            self.answers = cachetools.LRUCache(self.size)
        else:
            self.answers = cachetools.TTLCache(self.size, self.ttl, timer=anyio.current_time)

    async def __call__(self, body: Body) -> Sequence[Any]:
        """Return the known answers, and run or wait for the others."""
        outcomes: list[Any] = [None] * len(body.rows)
        left = self._places(body.rows, outcomes)
        flights = self.flights.get(None)
        if flights is None:
            self.flights.set(flights := {})
        while left:
            with self.lock:
                kept = {key: answer for key in left if (answer := self.answers.get(key, MISSING)) is not MISSING}
            others = {key: flights[key] for key in left if key not in kept and key in flights}
            mine = {key: places[0] for key, places in left.items() if key not in kept and key not in others}
            if mine:
                kept |= await self._run(body, mine, flights)
            for key, flight in others.items():
                kept[key] = await _landed(flight, body)
            for key, outcome in kept.items():
                # MISSING: the request that ran the row has gone, so this one runs it, or the next to come.
                if outcome is not MISSING:
                    for i in left.pop(key):
                        outcomes[i] = _copied(outcome)
        return outcomes

    def _places(self, rows: Sequence[Any], outcomes: list[Any]) -> dict[Hashable, list[int]]:
        """Return the positions of rows by their keys; a row without one has failed."""
        places: dict[Hashable, list[int]] = {}
        for i, row in enumerate(rows):
            try:
                places.setdefault((self.key or key_of)(row), []).append(i)
            except (Exception, SystemExit) as error:
                hint = "give cache(key=...) a function that makes something hashable of a row"
                outcomes[i] = StepError.of("cache", error, hint)
        return places

    async def _run(self, body: Body, rows: dict[Hashable, int], flights: Flights) -> dict[Hashable, Any]:
        """Run the body for the rows, while other requests wait for their outcomes."""
        mine: Flights = {key: asyncio.get_running_loop().create_future() for key in rows}
        flights.update(mine)
        kept: dict[Hashable, Any] = {}
        try:
            kept.update(zip(rows, await body.run(list(rows.values())), strict=True))
            small = {
                key: each
                for key, each in kept.items()
                if not isinstance(each, StrettoError) and bytes_of(key, each, most=MOST_BYTES) <= MOST_BYTES
            }
            with self.lock:
                self.answers.update(small)
            return kept
        finally:
            for key, flight in mine.items():
                del flights[key]
                outcome = kept.get(key, MISSING)
                # That this request's deadline has passed says nothing of the others'.
                late = isinstance(outcome, DeadlineExceeded) and body.budget == 0
                flight.set_result(MISSING if late else outcome)


async def _landed(flight: asyncio.Future[Any], body: Body) -> Any:
    """Return the outcome of another request's work, if it is there before this one's deadline."""
    with anyio.move_on_after(body.budget):
        return await asyncio.shield(flight)
    return DeadlineExceeded("cache, while another request ran an equal row")


def _copied(outcome: Any) -> Any:
    if isinstance(outcome, StrettoError):
        return outcome.copy()
    return copy.deepcopy(outcome) if isinstance(outcome, list | dict | set | tuple | np.ndarray) else outcome
