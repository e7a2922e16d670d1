"""The majority of the members' labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from math import fsum
from typing import Any, cast

import numpy as np

from stretto import UNDECIDED, Answers, Call, Join, Node, Pack, Part, Pipeline, Step, composer
from stretto.errors import BadRows, PipelineError, StrettoError
from stretto_composers._members import labels_of


@composer
def vote(x: Node, *members: Part[Any, Any], weights: Mapping[str, float] | Sequence[float] | None = None) -> Node:
    """Answer with the label that most members give; of labels with equal votes, the one that sorts first.

    ``vote(a, b, c)`` and ``parallel(a, b, c) >> vote()`` mean the same: members are asked side by side, and as soon as
    the label is certain the others are cancelled or never started. `weights` count votes, by branch name
    or in the order of members; the rule and the tie are those of scikit-learn's ``VotingClassifier(voting="hard")``. A
    member that fails fails the row, unless the label is certain whatever it could have said.

    Raises:
        PipelineError: a weight is negative, belongs to no member, or there are not as many as members; a member
            answers with probabilities, or tells nothing apart that another one knows.

    >>> import asyncio
    >>> from stretto import Client
    >>> async def main():
    ...     async with Client(vote(lambda x: "low", lambda x: "high", lambda x: "high")) as client:
    ...         return await client.predict(1)
    >>> asyncio.run(main())
    'high'
    """
    if members:
        parts = [Pipeline(member) for member in members]
        x = Pack(tuple(part(x) for part in parts), names=labels_of(parts))
    if isinstance(x, Pack):
        return Join.over(x, Majority(_checked(weights, x.names), x.names))
    return Call((x,), step=Step(fn=OfColumns(_checked(weights, None)), name="vote", vectorized=True, named=False))


class Majority:
    """Counts votes: of a dict of answers, or of those that have arrived while others are out."""

    def __init__(self, weights: Mapping[str, float] | Sequence[float] | None, names: tuple[str, ...] = ()) -> None:
        self.weights = weights
        self.names = names

    def __call__(self, arrived: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Give the winner, or `UNDECIDED` while those still out could change it."""
        if not isinstance(arrived, Mapping):
            raise TypeError(f"vote() takes the answers of a fan-out, as in parallel(a, b) >> vote(), not {arrived!r}")
        said = cast("Mapping[str, Any]", arrived)
        weigh = self._weigh((*said, *waiting))
        given: defaultdict[Any, list[float]] = defaultdict(list)
        failed: dict[str, Exception] = {}
        for name, label in said.items():
            if isinstance(label, StrettoError):
                failed[name] = label
            elif not isinstance(label, Hashable):
                failed[name] = TypeError(f"{name!r} answers {label!r}, and votes are counted by labels")
            else:
                given[label].append(weigh[name])
        # Nothing here depends on the order of arrival: fsum rounds once, and a failed member could have said anything.
        votes = {label: fsum(weights) for label, weights in given.items()}
        unknown = fsum(weigh[name] for name in (*waiting, *failed))
        most, *others = sorted(votes.values(), reverse=True) or [0.0]
        if votes and ((not waiting and not failed) or most > (others[0] if others else 0.0) + unknown):
            return min(label for label, count in votes.items() if count == most)
        if waiting:
            return UNDECIDED
        raise failed[min(failed, key=self._place)]

    def check_members(self, members: Mapping[str, Answers]) -> None:
        """Refuse members that answer with no labels, or whose labels no other member knows.

        Raises:
            PipelineError: there are such members; it names one.
        """
        for name, said in members.items():
            if said.output not in ("", "predict"):
                raise PipelineError(
                    f"vote() counts labels, and {name!r} answers with output={said.output!r}: leave output= out, or "
                    "use average()"
                )
        known = {name: said.classes for name, said in members.items() if said.classes is not None}
        for name, classes in known.items():
            others = [each for other, each in known.items() if other != name]
            if len(known) == len(members) > 1 and not any(set(classes) & set(each) for each in others):
                raise PipelineError(
                    f"vote(): {name!r} tells {list(classes)} apart, and no other member does: {list(others[0])}; "
                    "give them the same labels="
                )

    def many(self, arrived: Mapping[str, Any], waiting: tuple[str, ...] = ()) -> tuple[Any, Any] | None:
        """Give the winners of many rows, and which of them are decided; None where a row's own look is needed."""
        labels = list(arrived.values())
        weigh = self._weigh((*arrived, *waiting))
        # Whole weights add up without rounding, and labels of one kind keep it: what is exact may be counted in bulk.
        found = _coded(labels) if all(float(weight).is_integer() for weight in weigh.values()) else None
        if found is None:
            return None
        known, codes = found
        rows = np.arange(len(labels[0]))
        votes = np.zeros((len(rows), len(known)))
        for name, code in zip(arrived, codes, strict=True):
            votes[rows, code] += weigh[name]
        best = votes.argmax(axis=1)
        most = votes[rows, best]
        votes[rows, best] = -1.0
        second = np.maximum(votes.max(axis=1), 0.0) if len(known) > 1 else np.zeros(len(rows))
        decided = most > second + fsum(weigh[name] for name in waiting) if waiting else np.ones(len(rows), bool)
        return known[best], decided

    def plurality(self, names: tuple[str, ...]) -> Mapping[str, float]:
        """Give the weight of each member's label, by which compiled models count in one go."""
        return self._weigh(names)

    def _place(self, name: str) -> int:
        return self.names.index(name) if name in self.names else 0

    def _weigh(self, names: Sequence[str]) -> Mapping[str, float]:
        if self.weights is None:
            return dict.fromkeys(names, 1)
        if isinstance(self.weights, Mapping):
            unknown = self.weights.keys() - set(names)
            if unknown:
                raise KeyError(f"weights for {sorted(unknown)}, and the members are {sorted(names)}")
            return {name: self.weights.get(name, 1) for name in names}
        if len(self.weights) != len(names):
            raise ValueError(f"{len(self.weights)} weights for {len(names)} members")
        return dict(zip(names, self.weights, strict=True))


class OfColumns(Majority):
    """Counts votes of a fan-out's columns, row by row where it must."""

    def __call__(self, arrived: Any, waiting: tuple[str, ...] = ()) -> Any:
        """Give the winner of each row, and name the rows that have none."""
        if not isinstance(arrived, dict):
            return [super(OfColumns, self).__call__(each) for each in arrived]
        said = cast("dict[str, Any]", arrived)
        found = self.many(said)
        if found is not None:
            return found[0]
        inner = next((name for name, each in said.items() if isinstance(each, dict)), None)
        if inner is not None:
            raise TypeError(f"{inner!r} answers a dict, and votes are counted by labels")
        columns = {name: each.tolist() if isinstance(each, np.ndarray) else list(each) for name, each in said.items()}
        winners: list[Any] = []
        errors: dict[int, Exception] = {}
        for i, row in enumerate(zip(*columns.values(), strict=True)):
            try:
                winners.append(super().__call__(dict(zip(columns, row, strict=True))))
            except Exception as error:
                errors[i] = error
        if errors:
            raise BadRows(errors)
        return winners


def _coded(labels: list[Any]) -> tuple[Any, Any] | None:
    """Give the sorted labels, and for each member its labels' places among them; None for labels of several kinds."""
    kinds = {each.dtype.kind if isinstance(each, np.ndarray) and each.ndim == 1 else "" for each in labels}
    if len(kinds) != 1 or kinds - set("iuUbO"):
        return None
    if kinds != {"O"}:
        known, codes = np.unique(np.stack(labels), return_inverse=True)
        return known, codes.reshape(len(labels), -1)
    # Sorting objects is slow: only the few that differ are sorted.
    said = np.concatenate(labels).tolist()
    distinct = set[Any](map(type, said)) == {str} and sorted(set(said))
    if not distinct:
        return None
    place = {label: i for i, label in enumerate(distinct)}
    codes = np.fromiter(map(place.__getitem__, said), dtype=np.intp, count=len(said)).reshape(len(labels), -1)
    return np.array(distinct, dtype=object), codes


def _checked(
    weights: Mapping[str, float] | Sequence[float] | None, names: tuple[str, ...] | None
) -> Mapping[str, float] | Sequence[float] | None:
    if weights is None:
        return None
    values = list(weights.values()) if isinstance(weights, Mapping) else list(weights)
    if any(value < 0 for value in values) or not sum(values):
        raise PipelineError(f"vote(weights={weights!r}): weights are not negative, and not all zero")
    if names is None:
        return weights
    if not isinstance(weights, Mapping):
        if len(weights) != len(names):
            raise PipelineError(f"vote(weights={weights!r}): {len(weights)} weights for {len(names)} members")
        return dict(zip(names, weights, strict=True))
    unknown = weights.keys() - set(names)
    if unknown:
        raise PipelineError(f"vote(weights={weights!r}): no member is named {sorted(unknown)}; they are {list(names)}")
    return weights
