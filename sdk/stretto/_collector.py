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


def freeze() -> bool:
    """Have the collector leave alone what is there from now on, and say so; not where somebody else has seen to that.

    To be called by what serves, once models are loaded. See ``gc.freeze`` in Python's documentation.
    """
    if gc.get_freeze_count():
        return False
    gc.collect()
    gc.freeze()
    return True


@contextmanager
def frozen() -> Generator[None]:
    """Have the collector leave alone what is there for the length of the block."""
    ours = freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
