"""The members of a composer: their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stretto import Pipeline


def labels_of(members: Sequence[Pipeline[Any, Any]]) -> tuple[str, ...]:
    """Give each member's name; where two have one, they are numbered in the order written."""
    labels = [member.label for member in members]
    return tuple(f"{label}-{i}" if labels.count(label) > 1 else label for i, label in enumerate(labels, 1))
