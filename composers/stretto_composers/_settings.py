"""What composers are told in numbers, refused while the pipeline is built; and policies, which are those numbers."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, ClassVar, cast

from stretto.errors import PipelineError
from stretto_composers._numbers import number


class Forgetful:
    """A dataclass that is printed and pickled by what it was made with: what it remembers stays in its process."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, each.name) for each in fields(self) if each.init)

    def __repr__(self) -> str:
        told = (f"{each.name}={_told(getattr(self, each.name))}" for each in fields(self) if each.init and each.repr)
        return f"{type(self).__name__}({', '.join(told)})"


def whole(name: str, value: Any, least: int) -> int:
    """Return the whole number, which is at least `least`.

    Raises:
        PipelineError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PipelineError(f"{name}={value!r}: it takes a whole number, at least {least}")
    return value


def seconds(name: str, value: Any, *, least: float = 0.0) -> float:
    """Return the seconds, which are finite and at least `least`.

    Raises:
        PipelineError: they are not.
    """
    given = number(value)
    if given is None or given < least:
        raise PipelineError(f"{name}={value!r}: it takes seconds, at least {least:g}")
    return given


def positive(name: str, value: Any) -> float:
    """Return the seconds, which are finite and more than none.

    Raises:
        PipelineError: they are not.
    """
    given = number(value)
    if given is None or given <= 0:
        raise PipelineError(f"{name}={value!r}: it takes seconds, more than 0")
    return given


def share(name: str, value: Any, *, none: bool = False) -> float:
    """Return the share, above 0 and up to 1; with `none` it may be 0 too.

    Raises:
        PipelineError: it is not.
    """
    given = number(value)
    if given is None or not 0 <= given <= 1 or (given == 0 and not none):
        raise PipelineError(f"{name}={value!r}: it takes a share, {'from 0' if none else 'above 0 and up'} to 1")
    return given


def _told(value: Any) -> str:
    # A function's own repr says where it lies in memory, which is another place in each process.
    if isinstance(value, tuple):
        return f"({', '.join(map(_told, cast('tuple[Any, ...]', value)))})"
    return getattr(value, "__name__", "") or repr(value)
