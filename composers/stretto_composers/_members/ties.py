"""Who wins where several labels have equal votes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, cast

from stretto import Pipeline
from stretto.errors import PipelineError

Rule: TypeAlias = str | Sequence[Any] | Callable[[tuple[Any, ...]], Any]
"""A tie as users settle it: ``"first"``, a member's name, labels in order, or a function of the labels that tie."""


@dataclass(frozen=True)
class InOrder:
    """The label that comes first in `order`; behind those that stand there, the one that sorts first."""

    order: tuple[Any, ...] = ()

    def pick(self, tied: Sequence[Any], votes: Mapping[str, Any]) -> Any:
        """Return the winner of these labels; `said` is what each member said."""
        listed = [label for label in self.order if label in tied]
        return listed[0] if listed else min(tied)

    def before(self, label: Any, other: Any) -> bool:
        """Return whether the label surely wins against the other."""
        try:
            return self.pick((label, other), {}) == label != other
        except TypeError:  # labels that can't be compared tie only if they must
            return False

    def ranked(self, labels: Sequence[Any]) -> list[Any]:
        """Return the labels, each in front of those it wins against."""
        place = {label: i for i, label in enumerate(self.order)}
        listed = sorted((label for label in labels if label in place), key=lambda label: place[label])
        return listed + sorted(label for label in labels if label not in place)


@dataclass(frozen=True)
class AsMember(InOrder):
    """The label that the named member said; where that is not among them, the first in order."""

    member: str = ""

    def pick(self, tied: Sequence[Any], votes: Mapping[str, Any]) -> Any:
        """Return the winner of these labels."""
        if self.member in votes and votes[self.member] in tied:
            return votes[self.member]
        return super().pick(tied, votes)


@dataclass(frozen=True)
class Asked(InOrder):
    """The label that a function gives of those that tie."""

    choose: Callable[[tuple[Any, ...]], Any] = min

    def pick(self, tied: Sequence[Any], votes: Mapping[str, Any]) -> Any:
        """Return the winner of these labels."""
        labels = tuple(self.ranked(tied))
        chosen = self.choose(labels)
        if chosen not in labels:
            raise ValueError(f"tie= chose {chosen!r} of {labels!r}: it gives one of the labels that tie")
        return chosen


Tie: TypeAlias = InOrder | AsMember | Asked


def settled(tie: Tie) -> bool:
    """Return whether who wins is known before any member has said anything."""
    return type(tie) is InOrder


def checked_tie(composer: str, tie: Any, names: tuple[str, ...] | None, classes: tuple[Any, ...] | None) -> Tie:
    """Take a rule for ties as users give it; `classes` are those of all the members, in their order, if known.

    Raises:
        PipelineError: it names no member, or a label that no member knows; or is nothing of the kind.
    """
    where = f"{composer}(tie={getattr(tie, '__name__', None) or repr(tie)})"
    order = classes or ()
    match tie:
        case "first":
            return InOrder(order)
        case str():
            if names is not None and tie not in names:
                raise PipelineError(f"{where}: no member is named {tie!r}; they are {list(names)}. Or give tie='first'")
            return AsMember(order, tie)
        case list() | tuple():
            return InOrder(_in_full(where, tuple(cast("Sequence[Any]", tie)), classes))
        case Pipeline() as part:
            raise PipelineError(
                f"{composer}(tie={part!r}): a tie is settled by a function of the labels, not by a part"
            )
        case _ if iscoroutinefunction(tie):
            raise PipelineError(f"{where}: an 'async def' function can't settle a tie; give a plain one")
        case _ if callable(tie):
            return Asked(order, cast("Callable[[tuple[Any, ...]], Any]", tie))
        case _:
            raise PipelineError(f"{where}: it is 'first', a member's name, a list of labels in order, or a function")


def _in_full(where: str, labels: tuple[Any, ...], classes: tuple[Any, ...] | None) -> tuple[Any, ...]:
    odd = [label for label in labels if not isinstance(label, Hashable)]
    if odd or len(set(labels)) < len(labels):
        raise PipelineError(f"{where}: give each label once, in the order in which they win")
    unknown = [label for label in labels if classes is not None and label not in classes]
    if unknown:
        raise PipelineError(f"{where}: no member says {unknown[0]!r}; they say {list(classes or ())}")
    return (*labels, *(label for label in classes or () if label not in labels))
