"""One awaitable call, whatever answers it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Sequence
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar, cast, overload

import numpy as np

from stretto._connect import connect
from stretto._pipeline import Part
from stretto.errors import PipelineError, StrettoError
from stretto.transports.base import Metadata, Trace, Transport

In = TypeVar("In")
Out = TypeVar("Out")
OnError: TypeAlias = Literal["raise", "return", "skip"]


class Submission(Generic[Out]):
    """A prediction under way: await it whenever the answer is needed, or `cancel` it."""

    def __init__(self, task: asyncio.Task[Out], where: str) -> None:
        self._task = task
        self._where = where

    def __await__(self) -> Generator[Any, None, Out]:
        return self._task.__await__()

    def cancel(self) -> bool:
        """Withdraw the request; false if it is answered already."""
        return self._task.cancel()

    def done(self) -> bool:
        """Say whether there is an answer or an error."""
        return self._task.done()

    def __repr__(self) -> str:
        state = "cancelled" if self._task.cancelled() else "done" if self._task.done() else "pending"
        return f"<Submission to {self._where}: {state}>"


class Client(Generic[In, Out]):
    """Asks a pipeline, wherever it runs.

    `target` is a pipeline or a part of one (it runs in this process), ``"serve://APP"`` or a Ray Serve handle, ``"http://..."`` or
    ``"https://..."``. `token` is the bearer token of a server that asks for one. It works as it is, and as ``async with``,
    which closes it.

    Raises:
        PipelineError: the target is none of these, or the pipeline is built wrong.

    >>> import asyncio
    >>> async def main():
    ...     async with Client(lambda x: 2 * x) as client:
    ...         return await client.predict(21), await client.predict_many([1, 2])
    >>> asyncio.run(main())
    (42, [2, 4])
    """

    @overload
    def __init__(self: Client[Any, Any], target: str | Transport, /, *, token: str | None = None) -> None: ...
    @overload
    def __init__(self, target: Part[In, Out], /) -> None: ...
    def __init__(self, target: Any, /, *, token: str | None = None) -> None:
        self.transport: Transport = connect(target, token)
        self._submitted: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def predict(self, x: In, *, timeout: float | None = None) -> Out:
        """Give the answer for one row.

        `timeout` is the budget in seconds for all that happens on the way.

        Raises:
            InputError: the row is not what the pipeline takes.
            StepError: a step failed on it.
            DeadlineExceeded: the time given was used up.
            Overloaded: the queue in front of the models is full.
            ConnectionFailed: the server is not there.
        """
        if self._closed:
            raise PipelineError(f"{self!r} is closed; make a new Client")
        return await self.transport.predict(x, timeout)

    async def predict_many(
        self,
        rows: Sequence[In] | np.ndarray,
        *,
        timeout: float | None = None,
        on_error: OnError = "raise",
        step: str = "",
    ) -> list[Out]:
        """Give the answers for a list of rows, or an array of shape (n_rows, n_features), in order.

        With ``on_error="raise"`` the first error is raised and says its row; with ``"return"`` errors stand where their answers
        would; with ``"skip"`` they are left out. `step` asks that named step alone.

        Raises:
            StrettoError: as in `predict`, for the first row that failed, unless `on_error` says otherwise.
        """
        if self._closed:
            raise PipelineError(f"{self!r} is closed; make a new Client")
        given = rows if isinstance(rows, np.ndarray | list) else list(rows)
        answers = list(await self.transport.outcomes(given, timeout, step))
        failed = [(i, each.at(i)) for i, each in enumerate(answers) if isinstance(each, StrettoError)]
        if failed and on_error == "raise":
            raise failed[0][1]
        for i, error in failed:
            answers[i] = error
        return [each for each in answers if not isinstance(each, StrettoError)] if on_error == "skip" else answers

    def submit(self, x: In, *, timeout: float | None = None) -> Submission[Out]:
        """Start a prediction at once, and give something to await later.

        >>> import asyncio
        >>> async def main():
        ...     async with Client(lambda x: 2 * x) as client:
        ...         later = client.submit(21)
        ...         return await later
        >>> asyncio.run(main())
        42
        """
        task = asyncio.get_running_loop().create_task(self.predict(x, timeout=timeout))
        self._submitted.add(task)
        task.add_done_callback(self._submitted.discard)
        return Submission(task, self.transport.where)

    async def map(
        self,
        rows: Iterable[In] | AsyncIterable[In],
        *,
        concurrency: int = 64,
        ordered: bool = True,
        on_error: OnError = "raise",
        timeout: float | None = None,
    ) -> AsyncIterator[Out]:
        """Give the answers for a stream of rows as they come, with at most `concurrency` requests under way.

        `ordered` gives them in the order of the rows, else as they are answered. Leaving the loop early cancels what
        is under way. `timeout` is each row's.
        """
        if concurrency < 1:
            raise PipelineError(f"concurrency={concurrency}: it takes at least 1")
        running: deque[asyncio.Task[Out]] = deque()
        source = _stream(rows)
        position = 0
        try:
            more = True
            while more or running:
                while more and len(running) < concurrency:
                    try:
                        row = await anext(source)
                    except StopAsyncIteration:
                        more = False
                        break
                    running.append(asyncio.create_task(self._numbered(row, position, timeout)))
                    position += 1
                if not running:
                    break
                if ordered:
                    await asyncio.wait([running[0]])
                else:
                    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    running = deque(sorted(running, key=lambda task: task not in done))
                task = running.popleft()
                error = task.exception()
                if error is None:
                    yield task.result()
                elif not isinstance(error, StrettoError) or on_error == "raise":
                    raise error
                elif on_error == "return":
                    yield cast("Out", error)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _numbered(self, row: In, position: int, timeout: float | None) -> Out:
        try:
            return await self.predict(row, timeout=timeout)
        except StrettoError as error:
            error.row = position
            raise

    async def trace(self, x: In, *, timeout: float | None = None) -> Trace:
        """Answer one row alone, and tell what happened on the way: which step ran where, when and how long."""
        return await self.transport.trace(x, timeout)

    async def metadata(self) -> Metadata:
        """Say what is at the other end: its pipeline, its steps, the features a row must have."""
        return await self.transport.metadata()

    async def ready(self) -> bool:
        """Say whether a prediction would be answered now."""
        return not self._closed and await self.transport.ready()

    async def aclose(self) -> None:
        """Cancel what is under way, and let go of connections and threads."""
        self._closed = True
        for task in self._submitted:
            task.cancel()
        await asyncio.gather(*self._submitted, return_exceptions=True)
        await self.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def url(self) -> str:
        """Where it is reached over HTTP.

        Raises:
            PipelineError: the pipeline runs in this process, or the address is not known.
        """
        if not self.transport.url:
            raise PipelineError(f"{self!r} has no URL: deploy() the pipeline, or serve it with asgi()")
        return self.transport.url

    def __repr__(self) -> str:
        return f"Client({self.transport.where})"


async def _stream(rows: Iterable[In] | AsyncIterable[In]) -> AsyncIterator[In]:
    if isinstance(rows, AsyncIterable):
        async for row in cast("AsyncIterable[In]", rows):
            yield row
        return
    for row in rows:
        yield row
