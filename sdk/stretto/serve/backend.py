"""Deployments of Ray Serve as the place where hosted stages run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TypeAlias

import anyio

from stretto.batch.batch import Batch, scatter
from stretto.engine.batching import Coalescer
from stretto.engine.context import Context, Span, latest
from stretto.engine.inline import InlineBackend
from stretto.errors import Overloaded, StepError, StrettoError
from stretto.plan.steps import Stage, Step
from stretto.serve.calls import TRIES, Handle, by_value, call, is_unsent, translated, unsendable
from stretto.serve.parcel import owned
from stretto.serve.quarantine import Quarantine

LANES = 2
"""The calls of one replica under way at once: while one is answered the next is on its way; more would be smaller."""

MAX_BATCH = 512
"""The rows that one handle call takes from concurrent requests."""

Sent: TypeAlias = tuple[Batch, float | None]
"""The rows of one request for a hosted stage, with their deadline."""


class ServeBackend(InlineBackend):
    """Runs hosted stages in their deployments, and everything else in this process.

    `handles` are the deployments' by host, and `lanes` how many calls of each are under way at once; None means that
    each request makes a call of its own.
    """

    def __init__(self, handles: Mapping[str, Handle], lanes: Mapping[str, int | None]) -> None:
        super().__init__()
        self._hosts = {host: Hosted(host, handle, lanes[host]) for host, handle in handles.items()}

    async def run(self, step: Step | Stage, columns: tuple[Batch, ...], context: Context) -> Batch:
        """Call a hosted stage's deployment, or run what is local here."""
        if isinstance(step, Stage) and step.deployment:
            return await self._hosts[step.deployment].run(columns[0], context)
        return await super().run(step, columns, context)

    async def ready(self) -> bool:
        """Return whether every deployment answers."""
        try:
            await asyncio.gather(*(host.ping() for host in self._hosts.values()))
        except StrettoError:
            return False
        return True

    async def aclose(self) -> None:
        """Cancel calls under way, and let go of threads."""
        await super().aclose()
        for host in self._hosts.values():
            await host.aclose()


class Hosted:
    """A hosted stage seen from the process that took the request: rows of concurrent requests travel together."""

    def __init__(self, name: str, handle: Handle, lanes: int | None) -> None:
        self._name = name
        self._run = by_value(handle, "run")
        self._ping = by_value(handle, "ping")
        self._quarantine = Quarantine[Batch]()
        self._queue: Coalescer[Sent, Batch] | None = None
        if lanes is not None:
            self._queue = Coalescer(self._together, workers=lanes, max_batch=MAX_BATCH, name=f"deployment {name!r}")

    async def run(self, column: Batch, context: Context) -> Batch:
        """Return the outcomes of the rows that have not failed before, by the deadline."""
        fine = column.ok_rows()
        if not fine:
            return column
        sent = column.take(fine) if column.errors else column
        answer = None
        with anyio.move_on_after(context.budget):
            answer = await self._answer(sent, context)
        if answer is None:
            answer = Batch.failed(context.exceeded(f"deployment {self._name!r}") for _ in fine)
        return scatter(column.size, [(fine, answer)], column.errors) if column.errors else answer

    async def ping(self) -> None:
        """Return if a replica answers.

        Raises:
            StrettoError: the deployment is gone.
        """
        try:
            await call(self._ping, deadline=None)
        except Exception as error:
            raise translated(error, self._name) from error

    async def aclose(self) -> None:
        """Withdraw what waits, and cancel the calls under way."""
        if self._queue is not None:
            await self._queue.aclose()

    async def _answer(self, sent: Batch, context: Context) -> Batch:
        if context.spans is not None:
            return await self._traced(sent, context, context.spans)
        if self._queue is None:
            return await self._outcomes(sent, context.deadline)
        try:
            return await self._queue.submit((sent, context.deadline), sent.size)
        except Overloaded as full:
            return Batch.failed(Overloaded(*full.args) for _ in range(sent.size))

    async def _traced(self, sent: Batch, context: Context, spans: list[Span]) -> Batch:
        # A traced request travels alone, so that the spans are its own.
        start = time.time()
        inner: list[Span] = []
        try:
            answer, inner = await self._ask(sent, context.deadline, traced=True, tries=TRIES)
        except Exception as error:
            answer = self._failed(sent.size, error)
        finally:
            place = inner[0].place if inner else ""
            spans += [Span(self._name, "handle", start, time.time(), sent.size, place), *inner]
        return answer

    async def _together(self, items: list[Sent]) -> list[Batch]:
        whole = Batch.concat([column for column, _ in items])
        answer = await self._outcomes(whole, latest(each for _, each in items))
        return _parts(answer, [column.size for column, _ in items])

    async def _outcomes(self, column: Batch, deadline: float | None) -> Batch:
        async def ask(rows: range) -> Batch:
            part = column if len(rows) == column.size else column.slice(rows.start, rows.stop)
            return (await self._ask(part, deadline))[0]

        try:
            answers = await self._quarantine.answers(column.size, ask)
        except Exception as error:
            return self._failed(column.size, error)
        return Batch.concat(
            [self._failed(len(rows), each) if isinstance(each, Exception) else each for rows, each in answers]
        )

    async def _ask(
        self, column: Batch, deadline: float | None, *, traced: bool = False, tries: int = 1
    ) -> tuple[Batch, list[Span]]:
        try:
            answer, spans = await call(self._run, column, traced, False, deadline=deadline, tries=tries)
            return owned(answer), spans
        except Exception as error:
            if not is_unsent(error):
                raise
        errors = {i: StepError.of(self._name, each) for i, each in unsendable(column.rows()).items()}
        fine = [i for i in range(column.size) if i not in errors]
        if not fine:
            return Batch.failed(errors.values()), []
        answer, spans = await call(self._run, column.take(fine), traced, True, deadline=deadline, tries=tries)
        return scatter(column.size, [(fine, owned(answer))], errors), spans

    def _failed(self, size: int, error: Exception) -> Batch:
        return Batch.failed(translated(error, self._name) for _ in range(size))


def _parts(answer: Batch, sizes: list[int]) -> list[Batch]:
    parts: list[Batch] = []
    start = 0
    for size in sizes:
        parts.append(answer.slice(start, start + size))
        start += size
    return parts
