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
    """Have the collector leave alone what is there for the length of the block; not where somebody else saw to that.

    For what serves, once models are loaded. Ray Serve does it in its replicas. See ``gc.freeze`` in Python's
    documentation.
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
