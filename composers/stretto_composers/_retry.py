"""Again where it failed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from stretto import composer
from stretto.errors import Overloaded
from stretto.nodes import Around, Body, Node, Part, plan_of
from stretto_composers._policies.settings import Failures, Forgetful, concerns, failures_of, seconds, whole

LONGEST = 30.0
"""The longest pause that backing off comes to, in seconds."""


@composer
def retry(x: Node, part: Part[Any, Any], times: int = 3, *, backoff: float = 0.1, on: Failures | None = None) -> Node:
    """Return the part's answer, calling it up to `times` times in all where it fails.

    In a batch only the rows that failed go again. Before the second time it waits up to `backoff` seconds, and up to
    twice as long each time after that, at most half a minute: exponential backoff with full jitter (Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015); after `Overloaded` as long as that asks for. `on`
    says which failures are worth it: the name of an exception's class, as in `StepError.kind`, the class, a function
    that is given the error, or a list of these; all where it is left out. Bad input is never asked again. A pause that
    the request's deadline would cut short is not begun; then, and after the last time, the error is that of the latest
    attempt.

    Raises:
        PipelineError: `times` is below 1, `backoff` below 0, or `on` none of these.

    >>> import asyncio
    >>> from stretto import Client
    >>> failures = [ConnectionError("not yet"), ConnectionError("still not")]
    >>> def shaky(x):
    ...     if failures:
    ...         raise failures.pop()
    ...     return 2 * x
    >>> asyncio.run(Client(retry(shaky, 3, backoff=0.01, on=ConnectionError)).predict(21))
    42
    """
    policy = Again(whole("times", times, 1), seconds("backoff", backoff, zero=True), failures_of(on))
    return Around((x,), body=plan_of(part), policy=policy)


@dataclass(eq=False, repr=False)
class Again(Forgetful):
    """Runs the rows that failed again, up to `times` times in all."""

    times: int
    backoff: float
    on: Failures | None = None

    @property
    def attempts(self) -> tuple[int, int]:
        """Once where all goes well."""
        return 1, self.times

    async def __call__(self, body: Body) -> Sequence[Any]:
        """Return the outcomes of the latest attempt at each row."""
        outcomes = list(await body.run())
        for attempt in range(1, self.times):
            failed = [i for i, outcome in enumerate(outcomes) if concerns(self.on, outcome)]
            pauses = [error.retry_after for i in failed if isinstance(error := outcomes[i], Overloaded)]
            pause = max([*pauses, random.uniform(0.0, min(LONGEST, self.backoff * 2.0 ** min(attempt - 1, 60)))])
            left = body.budget
            if not failed or (left is not None and pause >= left):
                break
            await anyio.sleep(pause)
            for i, outcome in zip(failed, await body.run(failed), strict=True):
                outcomes[i] = outcome
        return outcomes
