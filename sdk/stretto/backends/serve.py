"""Deployments of Ray Serve as the place where hosted stages run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TypeAlias

import anyio

from stretto._coalesce import Coalescer
from stretto._column import Column, scatter
from stretto._ir import Stage, Step
from stretto._scope import Scope, Span, late
from stretto.backends.base import step_error
from stretto.backends.calls import TRIES, Handle, by_value, call, is_unsent, translated, unsendable
from stretto.backends.inline import InlineBackend
from stretto.backends.parcel import owned
from stretto.backends.quarantine import Quarantine
from stretto.errors import Overloaded, StrettoError

LANES = 2
"""The calls of one replica under way at once: while one is answered the next is on its way; more would be smaller."""

MAX_BATCH = 512
"""The rows that one handle call takes from concurrent requests."""

Sent: TypeAlias = tuple[Column, float | None]
"""The rows of one request for a hosted stage, with their deadline."""


class ServeBackend(InlineBackend):
    """Runs hosted stages in their deployments, and everything else in this process.

    `handles` are the deployments' by host, and `lanes` how many calls of each are under way at once; None means that
    each request makes a call of its own.
    """

    def __init__(self, handles: Mapping[str, Handle], lanes: Mapping[str, int | None]) -> None:
        super().__init__()
        self._hosts = {host: Hosted(host, handle, lanes[host]) for host, handle in handles.items()}

    async def run(self, step: Step | Stage, columns: tuple[Column, ...], scope: Scope) -> Column:
        """Call a hosted stage's deployment, or run what is local here."""
        if isinstance(step, Stage) and step.host:
            return await self._hosts[step.host].run(columns[0], scope)
        return await super().run(step, columns, scope)

    async def ready(self) -> bool:
        """Say whether every deployment answers."""
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
        self._quarantine = Quarantine[Column]()
        self._queue: Coalescer[Sent, Column] | None = None
        if lanes is not None:
            self._queue = Coalescer(self._together, lanes=lanes, max_batch=MAX_BATCH, name=f"deployment {name!r}")

    async def run(self, column: Column, scope: Scope) -> Column:
        """Give the outcomes of the rows that have not failed before, by the deadline."""
        fine = column.fine()
        if not fine:
            return column
        sent = column.take(fine) if column.errors else column
        answer = None
        with anyio.move_on_after(scope.budget):
            answer = await self._answer(sent, scope)
        if answer is None:
            answer = Column.failed(late(f"in deployment {self._name!r}") for _ in fine)
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

    async def _answer(self, sent: Column, scope: Scope) -> Column:
        if scope.spans is not None:
            return await self._traced(sent, scope, scope.spans)
        if self._queue is None:
            return await self._outcomes(sent, scope.deadline)
        try:
            return await self._queue.submit((sent, scope.deadline), sent.size)
        except Overloaded as full:
            return Column.failed(Overloaded(*full.args) for _ in range(sent.size))

    async def _traced(self, sent: Column, scope: Scope, spans: list[Span]) -> Column:
        # A traced request travels alone, so that the spans are its own.
        start = time.time()
        inner: list[Span] = []
        try:
            answer, inner = await self._ask(sent, scope.deadline, traced=True, tries=TRIES)
        except Exception as error:
            answer = self._failed(sent.size, error)
        finally:
            place = inner[0].place if inner else ""
            spans += [Span(self._name, "handle", start, time.time(), sent.size, place), *inner]
        return answer

    async def _together(self, items: list[Sent]) -> list[Column]:
        whole = Column.concat([column for column, _ in items])
        answer = await self._outcomes(whole, latest([each for _, each in items]))
        return _parts(answer, [column.size for column, _ in items])

    async def _outcomes(self, column: Column, deadline: float | None) -> Column:
        async def ask(rows: range) -> Column:
            part = column if len(rows) == column.size else column.part(rows.start, rows.stop)
            return (await self._ask(part, deadline))[0]

        try:
            answers = await self._quarantine.answers(column.size, ask)
        except Exception as error:
            return self._failed(column.size, error)
        return Column.concat(
            [self._failed(len(rows), each) if isinstance(each, Exception) else each for rows, each in answers]
        )

    async def _ask(
        self, column: Column, deadline: float | None, *, traced: bool = False, tries: int = 1
    ) -> tuple[Column, list[Span]]:
        try:
            answer, spans = await call(self._run, column, traced, False, deadline=deadline, tries=tries)
            return owned(answer), spans
        except Exception as error:
            if not is_unsent(error):
                raise
        errors = {i: step_error(self._name, each) for i, each in unsendable(column.rows()).items()}
        fine = [i for i in range(column.size) if i not in errors]
        if not fine:
            return Column.failed(errors.values()), []
        answer, spans = await call(self._run, column.take(fine), traced, True, deadline=deadline, tries=tries)
        return scatter(column.size, [(fine, owned(answer))], errors), spans

    def _failed(self, size: int, error: Exception) -> Column:
        return Column.failed(translated(error, self._name) for _ in range(size))


def latest(deadlines: list[float | None]) -> float | None:
    """Give the deadline of the most patient of requests that travel together; each watches its own."""
    known = [each for each in deadlines if each is not None]
    return max(known) if known and len(known) == len(deadlines) else None


def _parts(answer: Column, sizes: list[int]) -> list[Column]:
    parts: list[Column] = []
    start = 0
    for size in sizes:
        parts.append(answer.part(start, start + size))
        start += size
    return parts
