"""Things that a process makes once, however often it is asked for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from importlib import import_module
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from stretto.errors import ModelError

T = TypeVar("T")


class Once(Generic[T]):
    """Values by key, each made when it is first asked for and gone with the last who holds it.

    Plans are pickled and read again in pieces, and a file may stand in ten pipelines: only the process as a whole can
    know that it has a model already.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._made: WeakValueDictionary[Hashable, T] = WeakValueDictionary()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of `key`; whoever asks while it is made waits."""
        with self._lock:
            found = self._made.get(key)
            if found is None:
                found = self._made[key] = make()
            return found


def needed(module: str, extra: str, what: str) -> Any:
    """Return a module that an extra installs.

    Raises:
        ModelError: it is not installed; the message says what needs it and names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ModelError(f"{what} needs {error.name or module}: pip install 'stretto[{extra}]'") from error
