"""Processes that must not outlive this one."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from stretto.serve import reaper


@contextmanager
def guarded() -> Generator[tuple[Mapping[str, str], Callable[[], object]]]:
    """Yield environment variables, and a function to call once the processes started with them have been stopped.

    If it is not called by the end of the block, or this process dies inside it, by whatever signal, the reaper kills
    the processes with these variables in their environment. This works on Linux only.
    """
    if sys.platform != "linux":
        yield {}, lambda: None
        return
    mark = uuid.uuid4().hex
    command = [sys.executable, "-I", "-S", reaper.__file__, mark]
    # A session of its own, so that a Ctrl-C in the terminal does not reach it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as guard:
        assert guard.stdin is not None
        pipe = guard.stdin
        yield {reaper.VARIABLE: mark}, lambda: pipe.write(b"stopped in order")


@contextmanager
def environment(variables: Mapping[str, str]) -> Generator[None]:
    """Set environment variables for the processes that are started in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
