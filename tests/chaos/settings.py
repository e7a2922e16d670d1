"""How long the scenarios take, and on which ways rows are sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """`seconds` is how long things break, `calm` and `after` the time before and after that.

    `share` is that of the requests which are sent where a scenario has a number of them.
    """

    seconds: float = 30.0
    calm: float = 3.0
    after: float = 5.0
    versions: int = 10
    only_ways: tuple[str, ...] = ()
    share: float = 1.0

    def of(self, count: int) -> int:
        """Return the share of a number of requests that is sent."""
        return max(1, int(count * self.share))

    def ways(self, *ways: str) -> list[str]:
        """Return those that are wanted of some ways."""
        return [way for way in ways if not self.only_ways or way in self.only_ways]
