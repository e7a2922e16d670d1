"""What policies are made of: they print and pickle by their settings."""

from dataclasses import Field, fields
from typing import Any, ClassVar, cast


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
