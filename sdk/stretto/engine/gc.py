"""Python's garbage collector, kept from going through all that a process holds when that is in the way.

It does so whenever enough objects are new, however many are old: with scikit-learn imported that takes 70 ms each time,
in which nobody is answered.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def paused() -> Generator[None]:
    """Pause the collector during the block, which should be short and make little garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def frozen() -> Generator[None]:
    """Freeze existing objects (`gc.freeze`) while the block runs, unless some are frozen already.

    For servers, once models are loaded. Ray Serve does the same in its replicas.
    """
    ours = not gc.get_freeze_count()
    if ours:
        gc.collect()
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
