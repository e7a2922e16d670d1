"""The answers of a fan-out's members, sorted by its policy for failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from stretto.errors import InputError, StrettoError
from stretto.nodes import Instead

OnError: TypeAlias = Literal["raise", "omit"] | Instead


@dataclass(frozen=True)
class Arrived:
    """The members' answers, in the order written; the failures that count; and those that are left out."""

    answers: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    omitted: dict[str, Exception] = field(default_factory=dict)

    @classmethod
    def of(cls, outcomes: Any, names: tuple[str, ...], on_error: OnError, composer: str) -> Arrived:
        """Sort the members' outcomes; without `names` they are in the order written as they are.

        Raises:
            TypeError: `outcomes` is not the dict of a fan-out.
        """
        if not isinstance(outcomes, Mapping):
            raise TypeError(
                f"{composer}() takes the answers of a fan-out, as in parallel(a, b) >> {composer}(), not {outcomes!r}"
            )
        arrived = cls()
        by_name = cast("Mapping[str, Any]", outcomes)
        for name in names or by_name:
            if name in by_name:
                arrived._add(name, by_name[name], on_error)
        return arrived

    def _add(self, name: str, outcome: Any, on_error: OnError) -> None:
        # An InputError fails the row whatever the policy: the member's answer is unknown.
        if not isinstance(outcome, StrettoError):
            self.answers[name] = outcome
        elif isinstance(outcome, InputError) or on_error == "raise":
            self.failed[name] = outcome
        elif on_error == "omit":
            self.omitted[name] = outcome
        else:
            self.answers[name] = on_error.value

    def fail(self, name: str, error: Exception) -> None:
        """Count a member whose answer can't be counted as failed."""
        del self.answers[name]
        self.failed[name] = error

    def error(self, names: tuple[str, ...]) -> Exception:
        """Return the first failure in the order written, of those that count if there are any."""
        failures = self.failed or self.omitted
        if not failures:
            return ValueError("no branch of the fan-out has answered")
        return failures[min(failures, key=lambda name: names.index(name) if name in names else 0)]
