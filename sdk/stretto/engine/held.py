"""Steps that hold the event loop: nobody else is answered meanwhile, so each is named once in a warning."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from types import FrameType
from typing import Final

from stretto.engine.per_loop import PerLoop
from stretto.plan.steps import Step

HELD: Final = 0.1
"""Seconds for which a step may hold the event loop without a word."""
LOOKS: Final = 0.05
"""Seconds between two looks at a loop, while steps run in it."""
IDLE: Final = 20
"""The looks after which a loop in which nothing began is not looked at any more."""

_named: set[str] = set()


class _Watch:
    """Looks at an event loop from a thread, which ends when no step has begun for a while."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._of = threading.get_ident()
        self._begun = False
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._begun = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stretto-watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        idle = 0
        try:
            while idle < IDLE:
                idle = 0 if self._begun else idle + 1
                self._begun = False
                self._look()
                time.sleep(LOOKS)
        except RuntimeError:
            pass  # the loop is closed
        finally:
            self._thread = None

    def _look(self) -> None:
        there = threading.Event()
        self._loop.call_soon_threadsafe(there.set)
        if there.wait(HELD):
            return
        before = _step_in(self._of)
        if not there.wait(HELD / 4):
            # In the same call still: the loop is not merely late because the machine is busy.
            after = _step_in(self._of)
            if before and after and before[:2] == after[:2]:
                warn(after[0].name, f"it is at {after[2]}", asynchronous=after[0].asynchronous)
        while not there.wait(1.0) and not self._loop.is_closed():
            pass


_watches = PerLoop(_Watch)


def watched() -> None:
    """Look at the running event loop for a while: a step begins in it that may hold it."""
    _watches.here().begin()


def in_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def warn(name: str, how: str, *, asynchronous: bool) -> None:
    """Warn, once, that a step holds the event loop; `how` is the line that it is at, or how long it took."""
    if name in _named:
        return
    _named.add(name)
    instead = (
        "await what waits, or make it a plain function with step(fn, blocking=True)"
        if asynchronous
        else "mark it step(fn, blocking=True), so that it runs in a thread"
    )
    logging.getLogger("stretto").warning(
        "step %r holds the event loop for more than %d ms (%s), and no other row is answered meanwhile: %s",
        name,
        HELD * 1000,
        how,
        instead,
    )


def _step_in(thread: int) -> tuple[Step, int, str] | None:
    """Return the step that a thread is in, which call of it, and the line that it is at; None where it is in none."""
    frame: FrameType | None = sys._current_frames().get(thread)
    inner: FrameType | None = None
    while frame is not None:
        if frame.f_globals.get("__name__") != "stretto.engine.apply":
            inner = frame
        elif inner is not None and isinstance(step := frame.f_locals.get("step"), Step):
            # The frame that is called from there is the user's own function.
            code = inner.f_code
            return step, id(inner), f"{code.co_filename}:{inner.f_lineno} in {code.co_name}"
        frame = frame.f_back
    return None
