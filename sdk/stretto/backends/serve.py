"""Deployments of Ray Serve as the place where hosted stages run, and the boundary where Ray's errors become ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import anyio

from stretto._coalesce import Coalescer
from stretto._column import Column, scatter
from stretto._ir import Stage, Step
from stretto._ray import ray_errors, serve_errors
from stretto._scope import Scope, Span, late
from stretto.backends.inline import InlineBackend
from stretto.backends.parcel import owned
from stretto.errors import ConnectionFailed, NotFound, Overloaded, StepError, StrettoError

TRIES = 3
"""How many replicas a call is given to before it counts as failed: predictions are idempotent."""

LANES = 2
"""The calls of one replica under way at once: while one is answered the next is on its way; more would be smaller."""

MAX_BATCH = 512
"""The rows that one handle call takes from concurrent requests."""

Handle: TypeAlias = Any
"""A ``ray.serve.handle.DeploymentHandle``; Ray ships no types for it."""

Sent: TypeAlias = tuple[Column, float | None]
"""The rows of one request for a hosted stage, with their deadline."""


DIED = (ray_errors.RayActorError, ray_errors.ObjectLostError)
"""What a call ends in whose replica died, or is out of reach."""

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        self._run = handle.options(method_name="run")
        self._ping = handle.options(method_name="ping")
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
            return await self._alone(sent, scope.deadline)
        try:
            return await self._queue.submit((sent, scope.deadline), sent.size)
        except Overloaded as full:
            return Column.failed(Overloaded(*full.args) for _ in range(sent.size))

    async def _traced(self, sent: Column, scope: Scope, spans: list[Span]) -> Column:
        # A traced request travels alone, so that the spans are its own.
        start = time.time()
        inner: list[Span] = []
        try:
            answer, inner = await self._ask(sent, scope.deadline, traced=True)
        except Exception as error:
            answer = self._failed(sent, error)
        finally:
            place = inner[0].place if inner else ""
            spans += [Span(self._name, "handle", start, time.time(), sent.size, place), *inner]
        return answer

    async def _together(self, items: list[Sent]) -> list[Column]:
        if len(items) > 1:
            whole = Column.concat([column for column, _ in items])
            # One request's rows may be what brings the call down: the others must not go down with them.
            with suppress(Exception):
                answer, _ = await self._ask(whole, latest([each for _, each in items]), tries=1)
                return _parts(answer, [column.size for column, _ in items])
        found = await apart(items, lambda item, tries: self._ask(*item, tries=tries))
        return [
            self._failed(item[0], each) if isinstance(each, Exception) else each[0]
            for item, each in zip(items, found, strict=True)
        ]

    async def _alone(self, column: Column, deadline: float | None) -> Column:
        try:
            return (await self._ask(column, deadline))[0]
        except Exception as error:
            return self._failed(column, error)

    async def _ask(
        self, column: Column, deadline: float | None, *, traced: bool = False, tries: int = TRIES
    ) -> tuple[Column, list[Span]]:
        answer, spans = await call(self._run, column, traced, deadline=deadline, tries=tries)
        return owned(answer), spans

    def _failed(self, column: Column, error: Exception) -> Column:
        return Column.failed(translated(error, self._name) for _ in range(column.size))


async def call(method: Handle, *args: Any, deadline: float | None, tries: int = TRIES) -> Any:
    """Give what a replica answers; where one dies under the call, ask another.

    The replica is told the seconds that are left, as the last argument: Serve itself carries no deadline. Cancelling
    this cancels the replica's work.
    """
    for left in range(tries - 1, -1, -1):
        response = method.remote(*args, Scope(deadline).budget)
        try:
            return await response
        except (asyncio.CancelledError, serve_errors.RequestCancelledError) as error:
            # Serve 2.60 lets the replica go on when only the await is cancelled (DeploymentResponse.__await__), and
            # says so by one or the other exception, as it happens to be far with the call.
            response.cancel()
            task = asyncio.current_task()
            if task is None or task.cancelling():
                # The one that came in goes out: AnyIO knows its own cancellation by that object.
                inner = error.__context__
                raise (inner if isinstance(inner, asyncio.CancelledError) else error) from None
            # Nobody cancelled this task: a replica that is shutting down has cancelled the call.
            if not left:
                raise ray_errors.RayActorError from None
        except DIED:
            if not left or Scope(deadline).expired:
                raise
    raise AssertionError("the last try returns or raises")


async def apart(items: Sequence[Item], ask: Callable[[Item, int], Awaitable[Result]]) -> list[Result | Exception]:
    """Give what comes of each item by itself, where together they brought a call down; `ask` is told how often to try.

    Those whose replica dies once more, under them or under another of them, take their turns one after the other.
    """
    found: list[Any] = await asyncio.gather(*(ask(item, 1) for item in items), return_exceptions=True)
    for i, each in enumerate(found):
        if isinstance(each, DIED):
            try:
                found[i] = await ask(items[i], TRIES)
            except Exception as error:
                found[i] = error
    return found


def translated(error: Exception, where: str) -> StrettoError:
    """Give the error of ours that says what Ray's did; `where` names the deployment."""
    failure = _translation(error, where)
    failure.__cause__ = error
    return failure


def latest(deadlines: list[float | None]) -> float | None:
    """Give the deadline of the most patient of requests that travel together; each watches its own."""
    known = [each for each in deadlines if each is not None]
    return max(known) if known and len(known) == len(deadlines) else None


def _translation(error: Exception, where: str) -> StrettoError:
    match error:
        case serve_errors.BackPressureError():
            return Overloaded(f"the queue in front of {where!r} is full; try again later", error.retry_after_s or 1.0)
        case ray_errors.RayTaskError(cause=StrettoError() as cause):
            return type(cause)(*cause.args)
        case ray_errors.RayTaskError(cause=Exception() as cause):
            return StepError(where, type(cause).__name__, str(cause))
        case serve_errors.DeploymentUnavailableError():
            return NotFound(f"deployment {where!r} is not there: it failed to come up, or was deleted")
        case _ if isinstance(error, DIED):
            return StepError(where, "ReplicaDied", "the replicas that were asked died or were out of reach")
        case ray_errors.RayError() | serve_errors.RayServeException() | ConnectionError():
            return ConnectionFailed(f"Ray Serve can't be asked for {where!r}: {error}")
        case _:
            return StepError(where, type(error).__name__, str(error))


def _parts(answer: Column, sizes: list[int]) -> list[Column]:
    parts: list[Column] = []
    start = 0
    for size in sizes:
        parts.append(answer.part(start, start + size))
        start += size
    return parts
