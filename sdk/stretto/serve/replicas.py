"""Rows to the replicas of a deployment: shared between requests, isolated where they fail, and called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from math import inf
from typing import Any

import anyio

from stretto.batch.batch import Batch, scatter
from stretto.batch.isolate import isolate
from stretto.engine.batching import Coalescer
from stretto.engine.context import Context, latest, now
from stretto.engine.cost import Cost
from stretto.engine.per_loop import PerLoop
from stretto.engine.stage_queue import Columns, Item, together
from stretto.errors import StrettoError
from stretto.plan.nodes import Call, Input, Pack
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage
from stretto.serve.calls import DIED, OUTDATED, TRIES, OutdatedError, Stored, call, translated, translating
from stretto.serve.pickling import pack_batch, sendable, unpack_batch
from stretto.serve.ray import Handle, by_reference, by_value, fetched

LANES = 2
"""The calls of one replica under way at once: while one is answered the next is on its way; more would be smaller."""

MAX_BATCH = 512
"""The rows that one call takes from concurrent requests."""

PARTS = 16
"""How many parts rows are split into, again and again, to find those that kill their replica."""

VALUE_BYTES = 2**20
"""The most bytes of a call, or of an answer, that travel by value; large ones are no slower by reference."""

CALL_BYTES = 2**26
"""The bytes of a call at which its rows are sent in two."""

LARGE_FOR = 10.0
"""Seconds for which calls go by reference after an answer was large."""


def lanes_of(stage: Stage) -> int | None:
    """Return how many calls of a deployed stage may be under way, or None where each request makes its own.

    Rows travel together only to where they are computed together: one that waits for something would delay the others.
    """
    if stage.plan.waits:
        return None
    replicas: Any = stage.options.get("num_replicas")
    if not isinstance(replicas, int):
        scaling: Any = stage.options.get("autoscaling_config") or {}
        most = scaling.get("max_replicas") if isinstance(scaling, Mapping) else getattr(scaling, "max_replicas", None)
        # Serve's own bound for "auto" is 100.
        replicas = most or (100 if replicas == "auto" else 1)
    return LANES * replicas


def lanes_to(plan: Plan, lanes: Collection[int | None], replicas: int) -> int:
    """Return how many calls of an application's ingress may be under way; 0 where rows do not travel together.

    They do where every row needs all of the plan, and no row waits for work that only another one needs. `lanes` are
    those of its deployments: rows that come in one call go on in one, so with fewer calls some replicas would be idle.
    """
    calls = [node for node in plan.order if not isinstance(node, Input | Pack)]
    even = all(isinstance(node, Call) and isinstance(node.step, Stage) for node in calls)
    several = [each for each in lanes if each is not None]
    return max([LANES * max(1, replicas), *several]) if even and len(several) == len(lanes) else 0


class Replicas:
    """The replicas of a deployment, as one that answers rows.

    `name` is the deployment's, or the application's, for errors, and `where` for messages. At most `lanes` calls are
    under way at once, and rows of concurrent requests share them, up to `max_batch`; without lanes, and with more rows
    than that, a request makes a call of its own. Calls that fail with their replica are made again where they are
    `idempotent`. With `version` others than replicas of that version raise `OutdatedError`; see `StageReplica`.
    """

    def __init__(
        self,
        handle: Handle,
        name: str,
        where: str,
        lanes: int | None,
        *,
        max_batch: int = MAX_BATCH,
        idempotent: bool = True,
        version: str = "",
    ) -> None:
        self._handle = handle
        self._version = version
        self._run, self._run_large = by_value(handle, "run"), by_reference(handle, "run_large")
        self._large_until = -inf
        self._name = name
        self._where = where
        # A lock belongs to the event loop that first waits for it.
        self._alone = PerLoop(asyncio.Lock)
        self._max_batch = max_batch
        self._cost = Cost()
        self._idempotent = idempotent
        self._queue: Coalescer[Item, Any] | None = None
        if lanes:
            self._queue = Coalescer(self._share, workers=lanes, max_batch=max_batch, name=where, cost=self._cost)

    def predict(self, row: Any, context: Context) -> Awaitable[Any]:
        """Return the answer to one row, or raise its error."""
        if self._queue is not None and context.deadline is None:
            return self._queue.ask((row, None))  # the usual case, on the hot path
        return self._predict(row, context)

    async def _predict(self, row: Any, context: Context) -> Any:
        (outcome,) = (await self.outcomes(Batch([row], 1, request=True), context)).outcomes()
        if isinstance(outcome, StrettoError):
            raise outcome
        return outcome

    async def outcomes(self, batch: Batch, context: Context, step: str | None = None) -> Batch:
        """Return the outcomes of the rows by the deadline, from one step alone if it is named.

        Raises:
            StrettoError: the call failed as a whole.
        """
        with anyio.move_on_after(context.budget):
            # A traced request travels alone, so that the spans are its own.
            if self._queue is None or step is not None or context.spans is not None or batch.size > self._max_batch:
                return await self._isolate(batch, context, step)
            return await self._queue.ask((Columns((batch,)), context.deadline), batch.size, context.deadline)
        return Batch.failed(context.exceeded(self._where) for _ in range(batch.size))

    async def call(self, method: str) -> Any:
        """Return what one replica answers to a method without arguments.

        Raises:
            StrettoError: none answers.
        """
        with translating(self._name):
            return await call(by_reference(self._handle, method), deadline=None)

    async def aclose(self) -> None:
        """Withdraw what waits, and cancel the calls under way."""
        if self._queue is not None:
            await self._queue.aclose()

    async def _share(self, items: list[Item]) -> Sequence[Any]:
        """Return what each of several requests gets, in one call."""
        values, deadlines = zip(*items, strict=True)
        (batch,), answers = together(values)
        start = now()
        try:
            outcomes = await self._isolate(batch, Context(latest(deadlines)))
            self._cost.note(batch.size, now() - start)
            return answers(outcomes)
        except StrettoError as error:
            return [error.copy() for _ in items]

    async def _isolate(self, batch: Batch, context: Context, step: str | None = None) -> Batch:
        """Return the outcomes of the rows; if their replica dies, only those that kill it fail.

        A row that crashes its replica also fails the calls next to it. All of these are made again, one after the
        other, and split until the crashing rows are isolated.
        """

        async def ask(rows: Sequence[int]) -> Batch:
            # A single row has had one try before, with others.
            return await self._send(batch.take(rows), context, step, tries=TRIES - 1 if len(rows) == 1 else 1)

        with translating(self._name):
            try:
                return await self._send(batch, context, step)
            except DIED:
                if not self._idempotent:
                    raise
                async with self._alone.here():
                    answers = await isolate(batch.size, ask, DIED, parts=PARTS)
        return Batch.concat(
            [
                Batch.failed([translated(answer, self._name)] * len(rows)) if isinstance(answer, Exception) else answer
                for rows, answer in answers
            ]
        )

    async def _send(self, batch: Batch, context: Context, step: str | None, tries: int = 1) -> Batch:
        """Return the outcomes of the rows; those that can't be pickled fail, and the others are sent without them.

        More than `CALL_BYTES` are sent in several calls. Where a call or its answer is large it goes by reference: an
        answer that is known to be so too late, `stored` by its replica, says that the next ones may be as well.
        """
        try:
            content = pack_batch(batch)
        except Exception:
            rest, rows, errors = sendable(batch, self._name)
            done = [(rows, await self._send(rest, context, step, tries))] if rows else []
            return scatter(batch.size, done, errors)
        if len(content) > CALL_BYTES and batch.size > 1:
            middle = batch.size // 2
            parts = batch.slice(0, middle), batch.slice(middle, batch.size)
            return Batch.concat([await self._send(part, context, step, tries) for part in parts])
        traced, large = context.spans is not None, len(content) > VALUE_BYTES or now() < self._large_until
        method = self._run_large if large else self._run
        arguments = content, step, traced, self._version
        reply = await call(method, *arguments, deadline=context.deadline, tries=tries)
        if reply == OUTDATED:
            raise OutdatedError
        if isinstance(reply, StrettoError):
            raise reply
        answer, spans = reply
        if isinstance(answer, Stored):
            answer = await fetched(answer.where)
        if len(answer) > VALUE_BYTES:
            self._large_until = now() + LARGE_FOR
        if context.spans is not None:
            context.spans.extend(spans)
        return unpack_batch(answer)
