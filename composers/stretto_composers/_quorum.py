"""The answer that enough members agree on, or the best there is by a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, ClassVar, Literal, get_args

from stretto import composer
from stretto.errors import DeadlineExceeded, InputError, PipelineError
from stretto.nodes import Input, Node, Pack, Part
from stretto_composers._members.members import fan_out
from stretto_composers._members.ties import Rule
from stretto_composers._members.votes import Arrived, Count, Labels, elected
from stretto_composers._policies.settings import number, seconds

Answer = Literal["label", "report"]


@composer
def quorum(
    x: Node,
    k: float,
    *members: Part[Any, Any],
    by: float | None = None,
    weights: Mapping[str, float] | Sequence[float] | None = None,
    tie: Rule = "first",
    answer: Answer = "label",
) -> Node:
    """Return the label that `k` members agree on, as soon as they do; the others are cancelled or never started.

    ``quorum(2, a, b, c)`` and ``parallel(a, b, c) >> quorum(2)`` mean the same. With `weights` each member has as many
    votes as it weighs, and `k` is how many votes it takes. A member that fails has no vote. A row for which too few
    agree fails once all are in, as a ``NoQuorum``.

    With `by`, in seconds from when the members start, it is answered all the same: with the majority of those that have
    arrived by then, or before that if all have; `tie` says who wins of equal ones, as in `vote`. Where none has
    answered by then, the row fails with `DeadlineExceeded`. Of a batch, it is the time for all rows together.

    With ``answer="report"`` the answer is a dict: the ``"answer"``, its ``"share"`` of the votes that are in, and the
    names of those that ``"agree"``, ``"differ"``, ``"failed"`` or are ``"missing"``.

    Raises:
        PipelineError: `k` is below one or above the votes there are, `by` is no time, a weight does not belong to a
            member, or members tell different classes apart.

    >>> import asyncio
    >>> from stretto import Client
    >>> async def slow(x):
    ...     await asyncio.sleep(60)
    >>> asyncio.run(Client(quorum(2, slow, lambda x: "yes", lambda x: "yes")).predict(1))
    'yes'
    """
    if answer not in get_args(Answer):
        raise PipelineError(f"quorum(answer={answer!r}): it is 'label' or 'report'")
    within, x = None if by is None else seconds("by", by), fan_out(x, members)
    if within is not None and not isinstance(x, Pack | Input):
        raise PipelineError("quorum(by=...) needs its members: quorum(2, a, b), or parallel(a, b) right before it")
    ends = within if isinstance(x, Pack) else None
    return elected(x, Quorum, weights, tie, seconds=ends, k=k, by=ends, report=answer == "report")


class NoQuorum(Exception):
    """Too few members agree."""


@dataclass(eq=False)
class Quorum(Labels):
    """Decides for the label with `k` votes; with `by`, once all are in or the seconds are over, for that with most."""

    composer: ClassVar[str] = "quorum"

    k: float = 1.0
    report: bool = False
    by: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        needed, even = number(self.k), self.weights.values is None
        if needed is None or needed <= 0 or (even and not needed.is_integer()):
            hint = "; members go behind it, as in quorum(2, a, b, c)" if needed is None else ""
            raise PipelineError(f"quorum({self.k!r}): k is how many members must agree, a whole number from 1 on{hint}")
        if self.names and needed > self._every:
            what = f"{len(self.names)} members" if even else f"{self._every:g} votes"
            raise PipelineError(
                f"quorum({self.k!r}): there are {what}, {list(self.names)}, so it could never be reached"
            )

    def may_decide(self, arrived: Iterable[str], out: float) -> bool:
        return True

    def decides(self, count: Count, out: float | None, every: float, early: bool) -> Any:
        enough = count.most >= self.k * (1 - count.rounding)
        return enough if early or self.by is None else enough | True

    def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...] = ()) -> tuple[Any, Any] | None:
        return None if self.report else super().many(columns, waiting)

    def answer(self, winner: Any, arrived: Arrived, weigh: Mapping[str, float]) -> Any:
        if not self.report:
            return winner
        labels, failed = arrived.answers, {**arrived.failed, **arrived.omitted}
        everyone = self.names or tuple(labels)
        agree = [name for name, label in labels.items() if label == winner]
        return {
            "answer": winner,
            "share": fsum(weigh[name] for name in agree) / (fsum(weigh[name] for name in labels) or 1.0),
            "agree": agree,
            "differ": [name for name in labels if name not in agree],
            "failed": [name for name in everyone if name in failed],
            "missing": [name for name in everyone if name not in labels and name not in failed],
        }

    def failure(self, arrived: Arrived, everyone: Sequence[str]) -> Exception:
        """Return the error of a row without an answer: bad input stays bad input."""
        failed = {**arrived.failed, **arrived.omitted}
        refused = [error for error in arrived.failed.values() if isinstance(error, InputError)]
        missing = [name for name in everyone if name not in arrived.answers and name not in failed]
        if refused:
            return refused[0]
        if missing:
            return DeadlineExceeded(f"quorum, without an answer of {', '.join(missing)}", self.by)
        if not arrived.answers:
            return super().failure(arrived, everyone)
        answers = [f"{name} said {label!r}" for name, label in arrived.answers.items()]
        answers += [f"{name} failed: {error}" for name, error in failed.items()]
        return NoQuorum(f"it takes {self.k:g} that agree; {', '.join(answers)}")
