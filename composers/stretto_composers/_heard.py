"""What has arrived from the members of a fan-out, as its policy for failures takes it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from stretto.errors import InputError, StrettoError
from stretto.nodes import Instead

OnError: TypeAlias = Literal["raise", "omit"] | Instead


@dataclass(frozen=True)
class Heard:
    """What each member said, in the order written; the failures that count; and those that are left out."""

    said: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    omitted: dict[str, Exception] = field(default_factory=dict)

    @classmethod
    def of(cls, arrived: Any, names: tuple[str, ...], on_error: OnError, composer: str) -> Heard:
        """Sort what has arrived; without `names` it is in the order written as it is.

        Raises:
            TypeError: it is not what a fan-out gives.
        """
        if not isinstance(arrived, Mapping):
            raise TypeError(
                f"{composer}() takes the answers of a fan-out, as in parallel(a, b) >> {composer}(), not {arrived!r}"
            )
        heard = cls()
        given = cast("Mapping[str, Any]", arrived)
        for name in names or given:
            if name in given:
                heard._add(name, given[name], on_error)
        return heard

    def _add(self, name: str, answer: Any, on_error: OnError) -> None:
        # A request that a member refuses is refused whatever the policy: what it could have said nobody knows.
        if not isinstance(answer, StrettoError):
            self.said[name] = answer
        elif isinstance(answer, InputError) or on_error == "raise":
            self.failed[name] = answer
        elif on_error == "omit":
            self.omitted[name] = answer
        else:
            self.said[name] = on_error.value

    def labels(self) -> None:
        """Count what is no label as a failure."""
        for name, label in list(self.said.items()):
            if not isinstance(label, Hashable):
                self.failed[name] = TypeError(f"{name!r} answers {label!r}, and votes are counted by labels")
                del self.said[name]

    def error(self, names: tuple[str, ...]) -> Exception:
        """Return the first failure in the order written, of those that count if there are any."""
        failures = self.failed or self.omitted
        if not failures:
            return ValueError("no branch of the fan-out has answered")
        return failures[min(failures, key=lambda name: names.index(name) if name in names else 0)]
