"""What the scenarios found, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from tests.chaos.load import Load

HEADS = ("scenario", "way", "sent", "wrong", "failed", "p50 / p99 before", "during", "after", "longest silence")


@dataclass(frozen=True, slots=True)
class Found:
    """What became of the calls of one way in one scenario."""

    scenario: str
    way: str
    load: Load

    def cells(self) -> list[str]:
        """Return the cells of its row in the table."""
        failed = self.load.failed
        why = ", ".join(f"{name} {count:,}" for name, count in failed.most_common(3))
        spans = [_milliseconds(self.load, phase) for phase in ("before", "during", "after")]
        return [
            self.scenario,
            self.way,
            f"{len(self.load.calls):,}",
            f"{self.load.count('wrong'):,}",
            f"{failed.total():,} ({why})" if failed else "0",
            *spans,
            f"{self.load.silence:.1f} s",
        ]


def _milliseconds(load: Load, phase: str) -> str:
    if phase not in dict(load.phases) or not load.of(phase):
        return ""
    median, late = load.quantiles(phase)
    return f"{median * 1e3:,.1f} / {late * 1e3:,.0f} ms"


def table(found: list[Found]) -> Table:
    """Return the table for a terminal."""
    made = Table(*HEADS, box=None, header_style="bold", pad_edge=False)
    for each in found:
        made.add_row(*each.cells())
    return made


def markdown(found: list[Found]) -> str:
    """Return the table for a page."""
    rows = [list(HEADS), ["---"] * len(HEADS), *(each.cells() for each in found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
