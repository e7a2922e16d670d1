"""The seam between a client and whatever answers it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from stretto.batch.batch import Batch
from stretto.engine.as_ready import Ready
from stretto.engine.context import Context
from stretto.engine.results import Metadata, Trace
from stretto.errors import StrettoError

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or a function that returns the one to use now."""


class Transport(ABC):
    """How a client reaches a plan: rows go in, outcomes come out, in order.

    A transport needs `outcomes` and `metadata`; the other methods have defaults over these two. An outcome is the row's
    answer, or the `StrettoError` that it failed with. `outcomes` raises only what concerns the call as a whole, such as
    `ConnectionFailed`. `context` has the deadline of the call, and its `budget` is what is left of it in seconds.

    >>> import asyncio
    >>> from stretto import Client, Metadata
    >>> class Doubling(Transport):
    ...     async def outcomes(self, rows, context, step=None):
    ...         return [2 * row for row in rows]
    ...     async def metadata(self):
    ...         return Metadata("doubling", "", "")
    >>> asyncio.run(Client(Doubling()).predict(21))
    42
    """

    @property
    def where(self) -> str:
        """What it reaches, for messages."""
        return self.url or type(self).__name__

    @property
    def url(self) -> str:
        """The URL at which HTTP clients reach the same plan, or the empty string."""
        return ""

    @abstractmethod
    async def outcomes(self, rows: Sequence[Any], context: Context, step: str | None = None) -> Sequence[Any]:
        """Return an outcome for each of `rows`, a list or an array with a row each; of one `step` alone if named."""

    @abstractmethod
    async def metadata(self) -> Metadata:
        """Return the plan's name, text, steps and features."""

    def predict(self, row: Any, context: Context) -> Awaitable[Any]:
        """Return the answer for one row, or raise its error; concurrent calls may be batched."""
        return self._predict(row, context)

    async def _predict(self, row: Any, context: Context) -> Any:
        (outcome,) = await self.outcomes([row], context)
        if isinstance(outcome, StrettoError):
            raise outcome
        return outcome

    async def batch(self, rows: Sequence[Any], context: Context) -> Batch:
        """Return the same outcomes as a batch, which may hold them as arrays."""
        return Batch.of_outcomes(await self.outcomes(rows, context))

    async def parts(self, rows: Sequence[Any], context: Context) -> AsyncGenerator[Ready]:
        """Yield the outcomes as they are ready, with the rows' positions.

        By default, where rows may well be computed together, all of them are ready at once.
        """
        yield list(enumerate(await self.outcomes(rows, context)))

    async def trace(self, row: Any, context: Context) -> Trace:
        """Return the outcome of one row with the spans of its steps; by default there are none."""
        (outcome,) = await self.outcomes([row], context)
        return Trace.of(outcome, ())

    async def ready(self) -> bool:
        """Return whether a prediction would be answered now, or raise why not; by default, whether `metadata` is."""
        try:
            await self.metadata()
        except StrettoError:
            return False
        return True

    async def aclose(self) -> None:  # noqa: B027  a transport may well hold nothing
        """Cancel calls under way and release connections and threads."""
