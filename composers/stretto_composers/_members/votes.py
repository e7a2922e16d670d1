"""Counting votes: who leads, and whether the members still out can change that."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, cast

import numpy as np

from stretto.errors import InputError, PipelineError, StrettoError
from stretto.nodes import UNDECIDED, Instead, Join, Node, Pack
from stretto_composers._members.members import SEVERAL, call, classes_of, common_classes, known
from stretto_composers._members.ties import Rule, Tie, tie_of
from stretto_composers._members.weights import Given, Weights, weights_of

SLACK = 1e-9
"""The fraction of all votes that a lead must be ahead by to be certain, where sums of weights are rounded."""
FEW = 500
"""So many numbers are looked up sooner than NumPy sorts them."""


@dataclass(slots=True)
class Count:
    """The votes for each label, of one row or of many.

    For one row `labels` and `votes` are lists; for many they are arrays of shape (n_labels,) and (n_labels, n_rows).
    Where labels are `ordered`, of those with equal votes the first wins. `unseen` is the votes of labels that are not
    among these: 0 where there may be one. Sums of votes are rounded by at most the fraction `rounding` of all votes,
    one vote is at most `largest`, and `votes` are the votes divided by `scale`.

    >>> count = Count(["low", "high"], [2, 1])
    >>> count.tied, count.certain(1, every=4), count.certain(2, every=5)
    (['low'], True, False)
    """

    labels: Any
    votes: Any
    ordered: bool = True
    unseen: float = -np.inf
    rounding: float = 0.0
    largest: float = 1.0
    scale: float = 1.0

    @property
    def best(self) -> np.ndarray:
        """The label with most votes in each of many rows, the first of equal ones."""
        return self.labels[self.votes.argmax(axis=0)]

    @property
    def most(self) -> Any:
        """The most votes that a label has; for many rows an array."""
        return self.votes.max(axis=0) if isinstance(self.votes, np.ndarray) else max(self.votes)

    @property
    def tied(self) -> Any:
        """The labels with most votes, in order; for many rows an array that tells whether there are several."""
        if isinstance(self.votes, np.ndarray):
            return (self.votes == self.most).sum(axis=0) > 1
        most = self.most
        return [label for label, votes in zip(self.labels, self.votes, strict=True) if votes == most]

    def certain(self, outstanding: float, *, every: float, early: bool = True) -> Any:
        """Return whether the lead wins whatever the outstanding ones of `every` vote are for; of many rows an array.

        While members are out it must be ahead by twice what rounding does: so it still is once they are in.
        """
        votes, unseen = self.votes, self.unseen
        if self.ordered and not self.rounding:
            # Whole votes differ by one or not at all: a fraction of one for the place in the order settles ties.
            votes = [each + 0.4 - 0.4 * at / len(self.labels) for at, each in enumerate(votes)]
            unseen += 0.5
        larger, smaller = (np.maximum, np.minimum) if isinstance(self.votes, np.ndarray) else (max, min)
        # Label by label: NumPy is slow over short rows.
        most, second = votes[0], unseen
        for each in votes[1:]:
            second = larger(second, smaller(most, each))
            most = larger(most, each)
        slack = self.rounding * (1 + early) * every
        return most > second + (outstanding * self.largest + slack) / self.scale


class Arrived(NamedTuple):
    """The answers of the members that are in, in the order written; and the failures, counted or `omitted`."""

    answers: dict[str, Any]
    failed: dict[str, Exception]
    omitted: dict[str, Exception]


@dataclass(eq=False)
class Election(ABC):
    """Decides a vote from the answers of a fan-out's members, all at once or as they arrive.

    With the `names` of members it is the `until` of a `Join`; without, the function of a vectorised step. The order of
    arrival does not matter: sums are taken in the order written, and a label is certain early only if it would win in
    the end. `classes` are those of all members that are models, and `columns` those of each, by its name.
    """

    weights: Weights
    tie: Tie
    names: tuple[str, ...] = ()
    on_error: Literal["raise", "omit"] | Instead = "raise"
    classes: tuple[Any, ...] | None = None
    columns: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    early_stop: bool = True
    composer: ClassVar[str] = "vote"
    below: ClassVar[float] = -1.0  # no label wins with so many votes

    def __post_init__(self) -> None:
        self._weigh = self.weights.by(self.names) if self.names else {}
        self._every = sum(self._weigh.values())

    @classmethod
    @abstractmethod
    def over(cls, x: Pack) -> Pack:
        """Return the fan-out with the answers that are counted; raise for a member that has none."""

    @abstractmethod
    def count(self, arrived: Arrived, weigh: Mapping[str, float]) -> Count | None:
        """Return the votes of one row, None if there are none; an answer that can't be counted becomes a failure."""

    @abstractmethod
    def count_many(self, columns: Mapping[str, Any], weigh: Mapping[str, float]) -> Count | None:
        """Return the votes of many rows; None where each must be counted by itself."""

    def favourites(self, arrived: Arrived, labels: Sequence[Any]) -> Mapping[str, Any]:
        """Return which of these labels, which tie, each member is for."""
        return arrived.answers

    def may_decide(self, arrived: Iterable[str], out: float) -> bool:
        """Return whether it is worth counting while members with `out` votes are out."""
        return self.early_stop and sum([self._weigh[name] for name in arrived]) >= out

    def decides(self, count: Count, out: float | None, every: float, early: bool) -> Any:
        """Return whether the label with most votes wins; of many rows an array.

        `out` of `every` vote are out or have failed, or None of them; `early` is whether some are out.
        """
        if out is not None:
            return count.certain(out, every=every, early=early)
        return count.most > self.below if isinstance(count.votes, list) else np.ones(count.votes.shape[1], dtype=bool)

    def answer(self, winner: Any, arrived: Arrived, weigh: Mapping[str, float]) -> Any:
        """Return the answer for one row, from the label that wins."""
        return winner

    def failure(self, arrived: Arrived, everyone: Sequence[str]) -> Exception:
        """Return the error of a row that has no winner: the first failure in the order written."""
        failures = arrived.failed or arrived.omitted
        unanswered = ValueError("no branch of the fan-out has answered")
        return next(filter(None, map(failures.get, everyone)), unanswered)

    def one(self, outcomes: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Return the answer for one row, or `UNDECIDED` while the members still out could change it."""
        out = sum([self._weigh[name] for name in waiting])
        if waiting and not self.may_decide(outcomes, out):
            return UNDECIDED
        arrived = self._arrived(outcomes)
        weigh = self._weigh or self.weights.by(list(outcomes))
        count = self.count(arrived, weigh)
        out = out + sum([weigh[name] for name in arrived.failed]) if waiting or arrived.failed else None
        if count is not None and self.decides(count, out, self._every or sum(weigh.values()), bool(waiting)):
            tied = count.tied
            settled = len(tied) == 1 or count.ordered
            winner = tied[0] if settled else self.tie.pick(tied, self.favourites(arrived, tied))
            return self.answer(winner, arrived, weigh)
        if waiting:
            return UNDECIDED
        raise self.failure(arrived, self.names or tuple(outcomes))

    def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...] = ()) -> tuple[Any, Any] | None:
        """Return the winners of many rows, and which of them are decided; None where each must be seen by itself."""
        columns = {name: columns[name] for name in self.names or columns if name in columns}
        if not columns or len(columns) + len(waiting) < len(self.names):
            return None  # a member has failed
        weigh = self._weigh or self.weights.by(list(columns))
        out = sum([weigh[name] for name in waiting])
        if waiting and not self.may_decide(columns, out):
            undecided = np.zeros(_size(columns), dtype=bool)
            return undecided, undecided
        count = self.count_many(columns, weigh)
        if count is None:
            return None
        decided = self.decides(count, out if waiting else None, sum(weigh.values()), bool(waiting))
        return count.best, decided if self.tie.settled else decided & ~count.tied

    def __call__(self, columns: Any) -> Any:
        """Return the winners of a fan-out's columns; None where each row must be seen by itself."""
        decision = self.many(columns) if isinstance(columns, dict) else None
        return decision[0] if decision is not None and decision[1].all() else None

    def _arrived(self, outcomes: Any) -> Arrived:
        if not isinstance(outcomes, Mapping):
            name = self.composer
            raise TypeError(
                f"{name}() takes the answers of a fan-out, as in parallel(a, b) >> {name}(), not {outcomes!r}"
            )
        arrived, by_name = Arrived({}, {}, {}), cast("Mapping[str, Any]", outcomes)
        for name in [name for name in self.names or by_name if name in by_name]:
            outcome = by_name[name]
            # An InputError fails the row whatever the policy: the member's answer is unknown.
            if not isinstance(outcome, StrettoError):
                arrived.answers[name] = outcome
            elif isinstance(outcome, InputError) or self.on_error == "raise":
                arrived.failed[name] = outcome
            elif self.on_error == "omit":
                arrived.omitted[name] = outcome
            else:
                arrived.answers[name] = self.on_error.value
        return arrived


def _size(column: Any) -> int:
    return _size(next(iter(column.values()))) if isinstance(column, dict) else len(column)


class Labels(Election):
    """Counts labels, each member's as many times as it weighs."""

    below: ClassVar[float] = 0.0

    @classmethod
    def over(cls, x: Pack) -> Pack:
        for name, answers in known(x).items():
            where = f"{cls.composer}(): {name!r}"
            if answers.kind == "regressor":
                raise PipelineError(f"{where} is a regressor, whose numbers are no labels: use average() or median()")
            if answers.several_labels:
                raise PipelineError(f"{where} {SEVERAL}")
            if answers.output not in ("", "predict"):
                raise PipelineError(
                    f"{where} answers with output={answers.output!r}, and votes are counted by labels: leave output= "
                    "out, or write vote(..., voting='soft')"
                )
        return x

    def __post_init__(self) -> None:
        super().__post_init__()
        # A function may answer any label.
        self.classes = self.classes if len(self.columns) == len(self.names) else None

    def plurality(self, names: tuple[str, ...]) -> Mapping[str, float] | None:
        """Return the weight of each member's label, if of equal labels the one that sorts first wins."""
        try:
            plain = self.tie.settled and list(self.tie.order) == sorted(self.tie.order)
        except TypeError:  # labels that can't be compared
            return None
        return self.weights.by(names) if plain else None

    def count(self, arrived: Arrived, weigh: Mapping[str, float]) -> Count | None:
        votes: dict[Any, float] = {}
        for name, label in list(arrived.answers.items()):
            try:
                votes[label] = votes.get(label, 0.0) + weigh[name]
            except TypeError:
                arrived.failed[name] = TypeError(f"{name!r} answers {label!r}, and votes are counted by labels")
                del arrived.answers[name]
        if not votes:
            return None
        votes = votes if self.classes is None else {**dict.fromkeys(self.classes, 0.0), **votes}
        try:
            labels, ordered = self.tie.ranked(list(votes)), self.tie.settled
        except TypeError:  # labels that can't be compared
            labels, ordered = list(votes), False
        return self._count(labels, [votes[label] for label in labels], ordered)

    def count_many(self, columns: Mapping[str, Any], weigh: Mapping[str, float]) -> Count | None:
        coding = coded(list(columns.values()), self.tie, self.classes)
        if coding is None:
            return None
        labels, codes = coding
        rows = np.arange(codes.shape[1])
        votes = np.zeros((len(labels), len(rows)))
        for name, code in zip(columns, codes, strict=True):
            votes[code, rows] += weigh[name]
        return self._count(labels, votes, self.tie.settled)

    def _count(self, labels: Any, votes: Any, ordered: bool) -> Count:
        unseen = 0.0 if self.classes is None else -np.inf
        return Count(labels, votes, ordered, unseen, rounding=0.0 if self.weights.exact else SLACK)


def coded(columns: list[Any], tie: Tie, classes: tuple[Any, ...] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the labels, each in front of those it wins against, and for each member the places of its labels.

    All of `classes` are among the labels. None for labels of several kinds, which rows must see.
    """
    kinds = {each.dtype.kind if isinstance(each, np.ndarray) and each.ndim == 1 else "" for each in columns}
    if len(kinds) != 1 or kinds - set("iuUbO"):
        return None
    answers = np.concatenate(columns)
    if kinds <= {"U", "O"} or len(answers) < FEW:
        values = answers.tolist()
        distinct = list(set(values)) if kinds != {"O"} or set(map(type, values)) == {str} else []
        codes = _places(values, distinct)
    else:
        unique, codes = np.unique(answers, return_inverse=True)
        distinct = unique.tolist()
    if not distinct or (classes is not None and not set(classes) >= set(distinct)):
        return None
    labels = tie.ranked(distinct if classes is None else classes)
    codes = _places(distinct, labels)[codes].reshape(len(columns), -1)
    return np.array(labels, dtype=None if kinds == {"U"} else answers.dtype), codes


def _places(values: Sequence[Any], among: Sequence[Any]) -> np.ndarray:
    place = {value: i for i, value in enumerate(among)}
    return np.fromiter(map(place.__getitem__, values), np.intp, len(values)) if place else np.empty(0, np.intp)


def elected(
    x: Node, kind: type[Election], weights: Given, tie: Rule, *, seconds: float | None = None, **options: Any
) -> Node:
    """Return the node that decides a vote: over the branches of a fan-out as they arrive, or after any other node."""
    name = kind.composer
    if not isinstance(x, Pack):
        return call(x, kind(weights_of(name, weights, None), tie_of(name, tie, None, None), **options), name)
    x = kind.over(x)
    classes, columns = common_classes(name, x), classes_of(x)
    weighing, rule = weights_of(name, weights, x.names), tie_of(name, tie, x.names, classes)
    return Join.over(x, kind(weighing, rule, x.names, x.on_error, classes, columns, **options), seconds=seconds)
