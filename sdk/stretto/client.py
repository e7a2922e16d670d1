"""One awaitable call, whatever answers it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeAlias, TypeVar, cast, overload

import numpy as np

from stretto.batch.arrays import SparseTable, is_array, size
from stretto.batch.frames import Frame, as_row, as_rows, is_plain
from stretto.engine.context import Context
from stretto.engine.per_loop import PerLoop
from stretto.engine.results import Metadata, Trace
from stretto.errors import InputError, PipelineError, StrettoError
from stretto.pipeline import Estimator, Pipeline
from stretto.transports.base import Token, Transport
from stretto.transports.connect import connect

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
X = TypeVar("X")
_log = logging.getLogger("stretto")
OnError: TypeAlias = Literal["raise", "return", "skip"]


class Handle(Protocol):
    """A Ray Serve handle, as type checkers see it: Ray need not be installed."""

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the deployment."""
        ...


class Submission(Generic[Out]):
    """A prediction under way: await it for the answer, or `cancel` it."""

    def __init__(self, task: asyncio.Task[Out], where: str) -> None:
        self._task = task
        self._where = where

    def __await__(self) -> Generator[Any, None, Out]:
        return self._task.__await__()

    def cancel(self) -> bool:
        """Withdraw the request; return false if it is answered already."""
        return self._task.cancel()

    def done(self) -> bool:
        """Return whether there is an answer or an error."""
        return self._task.done()

    def __repr__(self) -> str:
        state = "cancelled" if self._task.cancelled() else "done" if self._task.done() else "pending"
        return f"<Submission to {self._where}: {state}>"


class Client(Generic[In, Out]):
    """Sends rows to a pipeline, wherever it runs, and returns its answers.

    It works as it is, and as ``async with``, which closes it. One client serves many threads that each run an event
    loop, as in Flask or Django: requests of one loop share batches, and the models and threads are shared by all. In a
    process that is forked after the first request it starts anew.

    Args:
        target: A pipeline or a part of one, which then runs in this process; ``"serve://APP"`` or a Ray Serve handle;
            ``"http://..."`` or ``"https://..."``, or a list of such URLs of one pipeline, of which the first that
            answers is asked; or a configured `stretto.transports.Transport`.
        headers: Headers for every HTTP request.
        token: The bearer token of an HTTP server, or a function that returns it. The function may be ``async``; it is
            called for every request, so that it can refresh a token that expires.
        retries: How often an HTTP call is made again at most, after failures that pass; 12 by default, and 0 is never.
            A pipeline with a step of ``step(..., idempotent=False)`` is asked again only where it has not been reached.
        timeout: The limit, in seconds, on HTTP calls that name none: 60 by default, and ``math.inf`` is no limit.
        max_batch: The most rows that a stage in this process, or an HTTP request, takes at a time.

    Raises:
        PipelineError: `target` is none of these, it can't use an option, or the pipeline is built wrong.

    >>> import asyncio
    >>> async def main():
    ...     async with Client(lambda x: 2 * x) as client:
    ...         return await client.predict(21), await client.predict_many([1, 2])
    >>> asyncio.run(main())
    (42, [2, 4])
    """

    @overload
    def __init__(self, target: Pipeline[In, Out], /, *, max_batch: int | None = None) -> None: ...
    @overload
    def __init__(self, target: Callable[[In], Awaitable[Out]], /, *, max_batch: int | None = None) -> None: ...
    @overload
    def __init__(self, target: Callable[[In], Out], /, *, max_batch: int | None = None) -> None: ...
    @overload
    def __init__(
        self: Client[Any, Any],
        target: str | list[str] | Transport | Estimator | Handle,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        retries: int | None = None,
        timeout: float | None = None,
        max_batch: int | None = None,
    ) -> None: ...
    def __init__(
        self,
        target: Any,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        retries: int | None = None,
        timeout: float | None = None,
        max_batch: int | None = None,
    ) -> None:
        self.transport: Transport = connect(
            target, headers=headers, token=token, retries=retries, timeout=timeout, max_batch=max_batch
        )
        self._submitted = PerLoop(set[asyncio.Task[Any]])
        self._closed = False

    async def predict(self, x: In, *, timeout: float | None = None) -> Out:
        """Return the answer for one row.

        `timeout` is the limit, in seconds, on everything that happens on the way.

        Raises:
            InputError: the row is not what the pipeline takes.
            StepError: a step failed on it.
            DeadlineExceeded: it was not answered within `timeout`.
            Overloaded: the queue in front of the models is full.
            ConnectionFailed: the server can't be reached.
        """
        return await self._open().predict(x if is_plain(x) else as_row(x), Context.starting(timeout))

    async def predict_many(
        self,
        rows: Sequence[In] | np.ndarray | IntoDataFrame,
        *,
        timeout: float | None = None,
        on_error: OnError = "raise",
        step: str | None = None,
    ) -> list[Out]:
        """Return the answers for a list of rows, an array of shape (n_rows, n_features) or a data frame, in order.

        With ``on_error="raise"`` the first error is raised, with its row; with ``"return"`` errors stand in the places
        of their answers; with ``"skip"`` they are left out. With `step`, that named step alone answers.

        Raises:
            StrettoError: as in `predict`, for the first failing row, with ``on_error="raise"``.
        """
        answers = list(await self._open().outcomes(_listed(rows), Context.starting(timeout), step))
        if not any(issubclass(kind, StrettoError) for kind in set(map(type, answers))):  # a third of the time of a loop
            return answers
        for i, answer in enumerate(answers):
            if isinstance(answer, StrettoError):
                answers[i] = answer.at(i)
                if on_error == "raise":
                    raise answers[i]
        return [each for each in answers if not isinstance(each, StrettoError)] if on_error == "skip" else answers

    def submit(self, x: In, *, timeout: float | None = None) -> Submission[Out]:
        """Start a prediction at once, and return something to await later.

        >>> import asyncio
        >>> async def main():
        ...     async with Client(lambda x: 2 * x) as client:
        ...         later = client.submit(21)
        ...         return await later
        >>> asyncio.run(main())
        42
        """
        task = asyncio.get_running_loop().create_task(self.predict(x, timeout=timeout))
        submitted = self._submitted.here()
        submitted.add(task)
        task.add_done_callback(submitted.discard)
        return Submission(task, self.transport.where)

    async def map(
        self,
        rows: Iterable[In] | AsyncIterable[In] | IntoDataFrame,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        on_error: OnError = "raise",
        timeout: float | None = None,
    ) -> AsyncIterator[Out]:
        """Return the answers for a stream of rows as they come, with at most `concurrency` requests under way.

        They come in the order of the rows, or as they are ready if not `ordered`. Leaving the loop early cancels the
        requests under way. `timeout` is the limit on each row, in seconds.
        """
        self._open()
        if concurrency < 1:
            raise PipelineError(f"concurrency={concurrency}: at least 1 request must be under way")
        places = asyncio.Semaphore(concurrency)
        arrived: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
        positions = count()
        tasks: dict[asyncio.Task[Any], int] = {}

        async def read() -> None:
            # A task of its own: rows may come slowly, and answers to earlier ones must not wait for them.
            async for row in _stream(rows):
                await places.acquire()
                task = asyncio.create_task(self.predict(row, timeout=timeout))
                tasks[task] = next(positions)
                if ordered:
                    arrived.put_nowait(task)
                else:
                    task.add_done_callback(arrived.put_nowait)

        reader = asyncio.create_task(read())
        reader.add_done_callback(arrived.put_nowait)
        tasks[reader] = -1
        try:
            while tasks:
                task = await arrived.get()
                await asyncio.wait([task])
                position = tasks.pop(task)
                if task is reader:
                    await task  # raises the error of `rows`, if there was one
                    continue
                places.release()
                match task.exception():
                    case None:
                        yield task.result()
                    case StrettoError() as error if on_error == "raise":
                        raise error.at(position)
                    case StrettoError() as error:
                        if on_error == "return":
                            yield cast("Out", error.at(position))
                    case error:
                        raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def trace(self, x: In, *, timeout: float | None = None) -> Trace:
        """Return the outcome of one row, run alone, with its spans: which step ran where, when and how long."""
        return await self._open().trace(as_row(x), Context.starting(timeout))

    async def metadata(self) -> Metadata:
        """Return the pipeline's metadata: its text, its steps, the features a row must have."""
        return await self._open().metadata()

    async def ready(self) -> bool:
        """Return whether a prediction would be answered now; the logger ``stretto`` has the reason why not."""
        try:
            return not self._closed and await self.transport.ready()
        except StrettoError as error:
            _log.warning("%r is not ready: %s", self, error)
            return False

    async def aclose(self) -> None:
        """Cancel requests under way in this event loop, and release its connections, and threads."""
        self._closed = True
        submitted = list(self._submitted.here())
        for task in submitted:
            task.cancel()
        await asyncio.gather(*submitted, return_exceptions=True)
        await self.transport.aclose()

    def _open(self) -> Transport:
        if self._closed:
            raise PipelineError(f"{self!r} is closed; make a new Client")
        return self.transport

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

    @property
    def direct_url(self) -> str:
        """Where the replicas of a deployed pipeline answer HTTP themselves, many times faster than Serve's proxy.

        It is the empty string where they do not.
        """
        return getattr(self.transport, "direct_url", "")

    def __repr__(self) -> str:
        return f"Client({self.transport.where})"


def _listed(rows: Any) -> Sequence[Any]:
    rows = as_rows(rows)
    if isinstance(rows, Frame) or (is_array(rows) and rows.ndim):
        return cast("Sequence[Any]", rows)
    if isinstance(rows, str | bytes | Mapping | np.ndarray) or not hasattr(rows, "__iter__"):
        what = "a list of rows, an array with a row each, or a data frame"
        raise InputError(f"predict_many() takes {what}, and got a {type(rows).__name__}", expected=what)
    return cast("list[Any]", rows) if isinstance(rows, list) else list(rows)


async def _stream(rows: Any) -> AsyncIterator[Any]:
    if isinstance(rows, AsyncIterable):
        async for row in cast("AsyncIterable[Any]", rows):
            yield row
        return
    listed = as_rows(rows)
    if isinstance(listed, SparseTable) or (isinstance(listed, Frame) and not listed.numeric):
        for at in range(size(listed)):
            yield listed[at : at + 1]  # a table of one row, whose columns keep their types
        return
    for row in listed:
        yield row
