"""What a forked process has to forget: the threads and sockets of its parent."""

from __future__ import annotations

import os
from typing import Any, Final, Protocol
from weakref import WeakSet


class Forgetting(Protocol):
    """Holds what belongs to the process that made it."""

    def forget(self) -> object:
        """Drop it, in a child of that process, and return it."""
        ...


def forget_after_fork(holder: Forgetting) -> None:
    """Make `holder` forget what is its parent's in each process forked from this one, as long as it is there.

    Of a parent's threads a child has none, though a pool counts them, and an event loop's selector is shared by both.
    """
    _HOLDERS.add(holder)


_HOLDERS: Final[WeakSet[Any]] = WeakSet()
_INHERITED: Final[list[object]] = []
"""What was forgotten, kept: a connection that is collected is closed, which the parent's selector would notice."""


def _forget() -> None:
    _INHERITED.extend(holder.forget() for holder in list(_HOLDERS))


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forget)
