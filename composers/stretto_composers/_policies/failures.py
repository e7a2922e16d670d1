"""Which failures a composer is about: kinds, classes of exceptions, or what a function says."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, cast

from stretto.errors import InputError, PipelineError, StepError, StrettoError

Failure: TypeAlias = str | type[Exception] | Callable[[StrettoError], bool]
"""A kind such as ``"ConnectionError"``, an exception's class, or a function that is given the error."""
Failures: TypeAlias = Failure | Sequence[Failure]


def checked(on: Any) -> Any:
    """Return `on`, which is about some failures, or about all if it is None."""
    each = tuple(cast("list[Any]", on)) if isinstance(on, list | tuple) else (on,)
    if on is not None and not (each and all(map(_is_one, each))):
        raise PipelineError(
            f"on={on!r}: it takes the name of an exception's class, such as 'ConnectionError', the class itself, "
            "a function that is given the error, or a list of these"
        )
    return each if isinstance(on, list) else on


def _is_one(on: Any) -> bool:
    if isinstance(on, type):
        return issubclass(on, Exception)
    return on.isidentifier() if isinstance(on, str) else callable(on)


def concerns(on: Failures | None, outcome: Any) -> bool:
    """Return whether a row's outcome is a failure that `on` is about (None: any); bad input is none."""
    if not isinstance(outcome, StrettoError) or isinstance(outcome, InputError):
        return False
    kind = outcome.kind if isinstance(outcome, StepError) else type(outcome).__name__
    match on:
        case None:
            return True
        case str():
            return kind == on
        case type():
            # A failure from another process has nothing of its cause but the name.
            return isinstance(outcome, on) or isinstance(outcome.__cause__, on) or kind in set(_names(on))
        case list() | tuple():
            return any(concerns(each, outcome) for each in cast("Sequence[Failure]", on))
        case _:
            return bool(cast("Callable[[StrettoError], bool]", on)(outcome))


def _names(cls: type) -> Iterator[str]:
    yield cls.__name__
    for each in type.__subclasses__(cls):
        yield from _names(each)
