"""Processes that must not outlive this one."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from stretto.serve import reaper

KEEP_ENVIRONMENT = {"SPT_NOENV": "1"}
"""Has Ray's processes not write their titles over their environments, as its agents do, which would wipe the mark."""


@contextmanager
def guarded() -> Generator[tuple[Mapping[str, str], Callable[[], object]]]:
    """Give variables, and a function to call where what was started with them was ended in order.

    Where it was not called by the end of the block, or this process dies inside it, however that may be, the processes
    that have the variables in their environment, and their descendants, are killed. This works on Linux.
    """
    if sys.platform != "linux":
        yield {}, lambda: None
        return
    mark = uuid.uuid4().hex
    command = [sys.executable, "-I", "-S", reaper.__file__, mark]
    # A session of its own, so that a Ctrl-C in the terminal does not reach it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as guard:
        assert guard.stdin is not None
        words = guard.stdin
        yield {reaper.VARIABLE: mark, **KEEP_ENVIRONMENT}, lambda: words.write(b"ended in order")


@contextmanager
def environment(variables: Mapping[str, str]) -> Generator[None]:
    """Have the variables set for the processes that are started in the block."""
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
