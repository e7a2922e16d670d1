"""What users' functions raise: kept to the row at hand, whatever it is."""

from __future__ import annotations

import asyncio
import threading
from opcode import opmap

from stretto.errors import StepError


class ExitError(Exception):
    """What stands for `raised`, which a user's function raised and is no `Exception`, such as SystemExit.

    Raised on as it is, it would end the event loop or the worker thread (``asyncio.Task``, ``concurrent.futures``).
    `hint` is added to its text.
    """

    def __init__(self, raised: BaseException, hint: str = "") -> None:
        super().__init__(raised)
        self.raised = raised
        self.hint = hint


def failure(path: str, error: Exception) -> StepError:
    """Return the failure of the step at `path`, caused by what it raised.

    >>> failure("svm", ExitError(SystemExit(1)))
    StepError('svm', 'SystemExit', '1')
    """
    if isinstance(error, ExitError):
        return StepError.of(path, error.raised, error.hint)
    return StepError.of(path, error)


def contained(error: BaseException, *, awaited: bool = False) -> Exception:
    """Return what a function raised as an exception that is about its row, and ends nothing else.

    What is no `Exception`, such as SystemExit, becomes an `ExitError`. `awaited` says that the function was awaited, so
    that the task at hand may have been cancelled, or its coroutine closed, from outside.

    Raises:
        BaseException: the error itself, where the function did not raise it: Ctrl-C, or the end of the task at hand.

    >>> contained(ValueError("no"))
    ValueError('no')
    >>> contained(SystemExit(1))
    ExitError(SystemExit(1))
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, KeyboardInterrupt) and _in_main_thread() and not _by_statement(error):
        raise error
    if awaited and isinstance(error, GeneratorExit) and not _by_statement(error):
        raise error
    if isinstance(error, asyncio.CancelledError):
        if awaited and _is_cancelled():
            raise error
        return ExitError(error, "something the function waited for was cancelled")
    return ExitError(error)


def _in_main_thread() -> bool:
    # Python runs handlers of signals there and nowhere else (the documentation of `signal`).
    return threading.current_thread() is threading.main_thread()


def _is_cancelled() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a stage in a worker thread: nobody cancels it
        return False
    return task is None or task.cancelling() > 0


def _by_statement(error: BaseException) -> bool:
    """Return whether a ``raise`` statement raised it: Ctrl-C and ``close()`` strike at any other instruction."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"]
