"""The settings of policies: how they are checked, printed and pickled, and which failures they are about."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, fields
from math import inf, isfinite
from numbers import Real
from typing import Any, ClassVar, TypeAlias, cast

from stretto.errors import InputError, PipelineError, StepError, StrettoError

Failure: TypeAlias = str | type[Exception] | Callable[[StrettoError], bool]
"""A kind such as ``"ConnectionError"``, an exception's class, or a function that is given the error."""
Failures: TypeAlias = Failure | Sequence[Failure]


def failures_of(on: Any) -> Any:
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


def number(value: object) -> float | None:
    """Return the value if it is a finite number; a truth value is none.

    >>> number(0.5), number(True), number("0.5")
    (0.5, None, None)
    """
    try:
        real = inf if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:
        return None
    return real if isfinite(real) else None


def whole(name: str, value: Any, least: int) -> int:
    """Return the value, a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PipelineError(f"{name}={value!r}: it takes a whole number, at least {least}")
    return value


def seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """Return the value, seconds that are finite and more than 0; with `zero` they may be 0."""
    return _positive(name, value, f"seconds, {'at least' if zero else 'more than'} 0", inf, zero)


def fraction(name: str, value: Any, *, zero: bool = False) -> float:
    """Return the value, a fraction above 0 and up to 1; with `zero` it may be 0."""
    return _positive(name, value, f"a fraction, {'from 0' if zero else 'above 0 and up'} to 1", 1.0, zero)


def _positive(name: str, value: Any, takes: str, most: float, zero: bool) -> float:
    real = number(value)
    if real is None or not 0 <= real <= most or (real == 0 and not zero):
        raise PipelineError(f"{name}={value!r}: it takes {takes}")
    return real


class Forgetful:
    """A dataclass that prints and pickles by the arguments it was made with; its other state stays in its process."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, each.name) for each in fields(self) if each.init)

    def __repr__(self) -> str:
        shown = [f"{each.name}={_shown(getattr(self, each.name))}" for each in fields(self) if each.repr]
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    # A function's own repr holds its address in memory, which differs from process to process.
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, cast('tuple[Any, ...]', value)))})"
    return getattr(value, "__name__", "") or repr(value)
