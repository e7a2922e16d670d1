"""Who wins where several labels have equal votes."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, cast

from stretto import Pipeline
from stretto.errors import PipelineError

Choice: TypeAlias = Callable[[tuple[Any, ...]], Any]
Rule: TypeAlias = str | Sequence[Any] | Choice
"""A tie as users settle it: ``"first"``, a member's name, labels in order, or a function of the labels that tie."""


@dataclass(frozen=True)
class Tie:
    """Picks the label that `member` answered, or that `choose` returns; else the first in `order`.

    Behind the labels in `order` come all others, sorted.
    """

    order: tuple[Any, ...] = ()
    member: str = ""
    choose: Choice | None = None

    @property
    def settled(self) -> bool:
        """Whether the winner is known before any member has answered."""
        return not self.member and self.choose is None

    def pick(self, tied: Sequence[Any], votes: Mapping[str, Any]) -> Any:
        """Return the winner of these labels; `votes` maps each member to its label."""
        if self.member in votes and votes[self.member] in tied:
            return votes[self.member]
        if self.choose is None:
            return ([label for label in self.order if label in tied] or sorted(tied))[0]
        labels = tuple(self.ranked(tied))
        chosen = self.choose(labels)
        if chosen not in labels:
            raise ValueError(f"tie= chose {chosen!r} of {labels!r}: it gives one of the labels that tie")
        return chosen

    def ranked(self, labels: Sequence[Any]) -> list[Any]:
        """Return the labels, each in front of those it wins against."""
        place = {label: i for i, label in enumerate(self.order)}
        first = sorted((label for label in labels if label in place), key=place.__getitem__)
        return first + sorted(label for label in labels if label not in place)


def tie_of(composer: str, rule: Any, names: tuple[str, ...] | None, classes: tuple[Any, ...] | None) -> Tie:
    """Return the tie of a user's rule; `classes` are those of all the members, in their order, if known."""
    where = f"{composer}(tie={getattr(rule, '__name__', None) or repr(rule)})"
    order = classes or ()
    match rule:
        case "first":
            return Tie(order)
        case str() if names is not None and rule not in names:
            raise PipelineError(f"{where}: no member is named {rule!r}; they are {list(names)}. Or give tie='first'")
        case str():
            return Tie(order, member=rule)
        case list() | tuple():
            return Tie(_in_full(where, list(cast("Sequence[Any]", rule)), classes))
        case Pipeline():
            raise PipelineError(f"{where}: a tie is settled by a function of the labels, not by a part")
        case _ if iscoroutinefunction(rule):
            raise PipelineError(f"{where}: an 'async def' function can't settle a tie; give a plain one")
        case _ if callable(rule):
            return Tie(order, choose=cast("Choice", rule))
        case _:
            raise PipelineError(f"{where}: it is 'first', a member's name, a list of labels in order, or a function")


def _in_full(where: str, labels: list[Any], classes: tuple[Any, ...] | None) -> tuple[Any, ...]:
    if not all(isinstance(label, Hashable) for label in labels) or len(set(labels)) < len(labels):
        raise PipelineError(f"{where}: give each label once, in the order in which they win")
    unknown = [label for label in labels if classes is not None and label not in classes]
    if unknown:
        raise PipelineError(f"{where}: no member says {unknown[0]!r}; they say {list(classes or ())}")
    return tuple(dict.fromkeys([*labels, *(classes or ())]))
