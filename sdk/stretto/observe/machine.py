"""Cores, and the processes that share them, under one virtual clock."""

from __future__ import annotations

import asyncio
import heapq
import inspect
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, TypeVar

from stretto.engine.context import CLOCK

T = TypeVar("T")

TURN = 0.003
"""Seconds for which a core is kept while others wait for it, as Linux has it (``base_slice_ns`` of its scheduler)."""
ENDING = 100
"""Iterations of an event loop in which what is cancelled must have ended."""


class Work(ABC):
    """What needs a core: it begins when it gets one, and has ended when a core was there for as long as it takes."""

    under_way = False
    left = 0.0
    waits = 0.0
    process: Process

    @abstractmethod
    def begin(self) -> None:
        """Do all of it, which says how long it takes."""

    @abstractmethod
    def end(self, at: float) -> None:
        """Hand over what has come of it, at that time."""

    def is_due(self, when: float) -> bool:
        """Return whether it should begin at a time for which it was set."""
        return True


class Machine:
    """So many cores, and a clock that nothing moves but the work on them.

    This is a discrete-event simulation in one thread. A process that has a core runs one iteration of its event loop,
    in which `spend` moves the clock; the earliest process is next, so nothing arrives before it was sent. What takes
    longer than a `TURN` gives its core to those that wait, and goes on when it is its turn again.
    """

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.time = 0.0
        self.failure: BaseException | None = None
        self._free = [0.0] * cores
        self._events: list[tuple[float, int, Work, bool]] = []
        self._waiting: deque[tuple[float, Work]] = deque()
        self._order = count()
        self._work: Work | None = None
        self._processes: list[Process] = []

    def process(self) -> Process:
        """Start a process."""
        process = Process(self)
        self._processes.append(process)
        return process

    def spend(self, seconds: float, waiting: float = 0.0) -> None:
        """Hold the core of the work at hand for so many seconds, and then wait without one."""
        assert self._work is not None
        self.time += seconds + waiting
        self._work.left += seconds
        self._work.waits += waiting

    def at(self, when: float, work: Work, *, goes_on: bool = False) -> None:
        """Set the time at which some work wants a core, to begin or to go on."""
        heapq.heappush(self._events, (when, next(self._order), work, goes_on))

    def enter(self, work: Work) -> None:
        """Take what is spent from now on as spent by this work."""
        self._work, work.under_way, work.left, work.waits = work, True, 0.0, 0.0

    @contextmanager
    def clock(self) -> Generator[None]:
        """Make this the clock of deadlines and measured costs in the block, and end all processes after it."""
        token = CLOCK.set(lambda: self.time)
        try:
            yield
        finally:
            for _ in range(ENDING):
                ended = [process.cancel() for process in self._processes]
                if all(ended):
                    break
            for process in self._processes:
                process.loop.close()
            CLOCK.reset(token)

    def run(self, until: float, cancelled: Callable[[], bool]) -> None:
        """Run the processes until that time.

        Raises:
            BaseException: a task of a process failed with it.
        """
        while self.failure is None and not cancelled() and self._step(until):
            pass
        if self.failure is not None:
            raise self.failure
        self.time = until

    def _step(self, until: float) -> bool:
        """Assign a core to the work that has waited longest, or let the next one wait; return whether there was any."""
        event = self._events[0][0] if self._events else math.inf
        start = max(self._waiting[0][0], self._free[0]) if self._waiting else math.inf
        if min(event, start) >= until:
            return False
        if event <= start:
            when, _, work, goes_on = heapq.heappop(self._events)
            if goes_on or work.is_due(when):
                self._waiting.append((when, work))
        else:
            _, work = self._waiting.popleft()
            self._turn(work, start, until)
        return True

    def _turn(self, work: Work, start: float, until: float) -> None:
        self.time = start
        if not work.under_way:
            self.enter(work)
            work.begin()
        # Where nobody waits, it keeps the core until somebody may.
        event = self._events[0][0] if self._events and not self._waiting else start
        turn = min(work.left, max(TURN, event - start), until - start)
        work.left -= turn
        work.process.busy += turn
        heapq.heapreplace(self._free, start + turn)
        if work.left > 0:
            self.at(start + turn, work, goes_on=True)
        else:
            work.under_way = False
            work.end(start + turn + work.waits)


class Process(Work):
    """A process: one event loop, which has a core while it runs, and threads, each with a core of its own.

    `busy` is how long it has had cores, in seconds.
    """

    def __init__(self, machine: Machine) -> None:
        self.process = self
        self.machine = machine
        self.busy = 0.0
        self.loop = _Loop(self)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waits_for_core = False
        self._due = math.inf
        self._free_at = 0.0
        self._alarms: set[float] = set()

    def post(self, at: float, callback: Callable[[], object]) -> None:
        """Call that in the event loop at a time to come."""
        self.loop.call_at(at, callback)
        self._wake(at)

    def start(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Start a task; the machine stops if it fails."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._wake(self.machine.time)
        return task

    def thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Return the future of what a thread of the process computes from now on."""
        thread = _Thread(self, work)
        self.machine.at(self.machine.time, thread)
        return thread.future

    def begin(self) -> None:
        """Run an iteration of the event loop."""
        self._due = self.loop.iterate()

    def end(self, at: float) -> None:
        """Set the time of the next iteration."""
        self._waits_for_core, self._free_at = False, at
        if self._due < math.inf:
            self._wake(self._due)

    def is_due(self, when: float) -> bool:
        """Return whether there is something to do by then that no other alarm has seen to."""
        self._alarms.discard(when)
        if self._waits_for_core or when < max(self._due, self._free_at):
            return False
        self._waits_for_core = True
        return True

    def cancel(self) -> bool:
        """Cancel what is under way, and return whether nothing was."""
        self.machine.enter(self)
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            # One that has not begun would never await the work it was made for: it begins now, and is cancelled next.
            work = task.get_coro()
            if not (inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED):
                task.cancel()
        self.loop.iterate()
        return not tasks

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.machine.failure = self.machine.failure or error

    def _wake(self, at: float) -> None:
        self._due = min(self._due, at)
        when = max(at, self._free_at)
        if not self._waits_for_core and when not in self._alarms:
            self._alarms.add(when)
            self.machine.at(when, self)


class _Thread(Work):
    def __init__(self, process: Process, work: Callable[[], Any]) -> None:
        self.process = process
        self.future: asyncio.Future[Any] = process.loop.create_future()
        self._work = work
        self._error: Exception | None = None
        self._result: Any = None

    def begin(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:
            self._error = error

    def end(self, at: float) -> None:
        self.process.post(at, self._settle)

    def _settle(self) -> None:
        if self.future.done():
            return
        if self._error is None:
            self.future.set_result(self._result)
        else:
            self.future.set_exception(self._error)


class _WaitsForNextError(BaseException):
    """The event loop has run an iteration, and would wait for the next."""


class _Turns:
    """The selector of an event loop: it ends the loop's run after an iteration, and knows when the next is due."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.fresh = True
        self.due = math.inf

    def select(self, timeout: float | None) -> list[Any]:
        if self.fresh:
            self.fresh = False
            return []
        self.due = math.inf if timeout is None else self._machine.time + max(0.0, timeout)
        raise _WaitsForNextError


class _Loop(asyncio.BaseEventLoop):
    """An event loop without sockets and threads, run by its machine, an iteration at a time."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
        self._selector = _Turns(process.machine)

    def iterate(self) -> float:
        """Run an iteration, and return the time at which the next is due."""
        self._selector.fresh = True
        with suppress(_WaitsForNextError):
            self.run_forever()
        return self._selector.due

    def time(self) -> float:
        return self._process.machine.time

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return self._process.thread(lambda: func(*args))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Stay silent of what ends with the simulation."""

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
