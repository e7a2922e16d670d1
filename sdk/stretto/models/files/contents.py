"""Every object that an estimator holds, as pickle reaches them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from stretto.errors import ModelError

_PLAIN: Final = frozenset({str, int, float, bool, type(None), bytes})


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


class _Visitor(pickle.Pickler):
    def __init__(self, look: Callable[[Any], None]) -> None:
        # Arrays go out of band: none is copied.
        super().__init__(_Nowhere(), protocol=5, buffer_callback=lambda _: None)
        self._look = look

    def persistent_id(self, obj: Any) -> None:
        if type(obj) not in _PLAIN:
            self._look(obj)


def visit(estimator: Any, look: Callable[[Any], None]) -> None:
    """Call `look` with every object that an estimator holds, itself first; an object may come several times.

    Raises:
        Exception: what `look` raises, or pickle where an object can't be pickled.
    """
    _Visitor(look).dump(estimator)


def check_importable(estimator: Any) -> None:
    """Check that another process can import each class and function that an estimator holds.

    Raises:
        ModelError: one is a lambda, is defined inside a function, or in the script that runs; pickles and ``.skops``
            files hold only the names of classes and functions.
    """
    try:
        visit(estimator, _look)
    except ModelError:
        raise
    except Exception:
        # What pickle can't hold skops may: reading the file back decides.
        return


def _look(obj: Any) -> None:
    if not isinstance(obj, type | FunctionType):
        return
    module, name = getattr(obj, "__module__", None), obj.__qualname__
    what = "class" if isinstance(obj, type) else "function"
    if "<lambda>" in name:
        raise ModelError(
            f"it holds a lambda ({name}), which no file can: write a function with a name, in a module that both "
            "this process and the one that reads the file import"
        )
    if "<locals>" in name:
        raise ModelError(
            f"it holds the {what} {name}, which is defined inside a function and can't be imported: move it to the top "
            "of a module"
        )
    if module in ("__main__", "__mp_main__"):
        raise ModelError(
            f"it holds the {what} {name}, which is defined in the script or notebook that runs (__main__), where no "
            f"other process finds it: put {name} into a module that both import"
        )
