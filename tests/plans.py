"""Pipelines and rows for Hypothesis to make, of every node kind, and what a legal plan is.

Every part takes any value and makes an int, a dict or a list of it, so that all of them compose. A vectorized part puts
the form of the column it was given into its answer: did a row's form depend on its neighbours, answers would differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from stretto import Pipeline, composer, step
from stretto.errors import BadRows, InputError, StrettoError
from stretto.nodes import (
    UNDECIDED,
    Around,
    Aside,
    Body,
    Call,
    Choose,
    Each,
    Input,
    Join,
    Node,
    Pack,
    Plan,
    Recover,
    Sub,
    Within,
)
from stretto.plan.steps import ModelInfo, Stage
from stretto_composers import (
    average,
    cache,
    cascade,
    circuit_breaker,
    confidence,
    default,
    each,
    fallback,
    flatten,
    hedge,
    limit,
    loop,
    median,
    quorum,
    race,
    rename,
    retry,
    select,
    shadow,
    split,
    stack,
    switch,
    tap,
    vote,
    weighted,
)

ERRORS = {"value": ValueError, "input": InputError, "key": KeyError}


def number(value: Any) -> int:
    """Make one number of any value."""
    match value:
        case Mapping():
            return sum((i + 2) * number(each) for i, each in enumerate(value.values())) % 997
        case list() | tuple() | np.ndarray():
            return sum((i + 3) * number(each) for i, each in enumerate(value)) % 997
        case _:
            return int(value)


def numbers(column: Any) -> list[int]:
    """Make a number of each row of a column, which tells the column's form."""
    match column:
        case dict():
            members = [numbers(each) for each in column.values()]
            return [sum((i + 2) * n for i, n in enumerate(row)) % 997 for row in zip(*members, strict=True)]
        case np.ndarray():
            return [number(row) + 1 for row in column]
        case list():
            return [number(row) for row in column]
        case _:
            raise TypeError(f"a vectorized step is given a {type(column).__name__}")


@dataclass(frozen=True)
class Part:
    """A function that adds `add`, and fails where the number divides by `fails`."""

    add: int = 1
    fails: int = 0
    error: str = "value"

    @property
    def __name__(self) -> str:
        return f"{type(self).__name__.lower()}_{self.add}_{self.fails}_{self.error}"

    def bad(self, n: int) -> bool:
        return self.fails > 0 and n % self.fails == 0

    def of(self, n: int) -> int:
        if self.bad(n):
            raise ERRORS[self.error](f"{n} divides by {self.fails}")
        return n + self.add


class Row(Part):
    def __call__(self, value: Any) -> int:
        return self.of(number(value))


class RowDict(Part):
    def __call__(self, value: Any) -> dict[str, Any]:
        n = self.of(number(value))
        return {"n": n, "half": n / 2}


class RowList(Part):
    def __call__(self, value: Any) -> list[int]:
        n = self.of(number(value))
        return list(range(n, n + n % 3))


class Waiting(Part):
    async def __call__(self, value: Any) -> int:
        await asyncio.sleep(0)
        return self.of(number(value))


class Vector(Part):
    def __call__(self, column: Any) -> Any:
        return [self.of(n) for n in numbers(column)]


class VectorArray(Part):
    def __call__(self, column: Any) -> Any:
        return np.array([self.of(n) for n in numbers(column)])


class VectorTable(Part):
    def __call__(self, column: Any) -> Any:
        return np.array([[self.of(n), n / 2] for n in numbers(column)])


class VectorText(Part):
    def __call__(self, column: Any) -> Any:
        return np.array([str(self.of(n)) for n in numbers(column)])


class VectorDict(Part):
    def __call__(self, column: Any) -> Any:
        ns = [self.of(n) for n in numbers(column)]
        return {"n": np.array(ns), "list": ns}


class VectorWaiting(Part):
    async def __call__(self, column: Any) -> Any:
        await asyncio.sleep(0)
        return np.array([self.of(n) for n in numbers(column)])


class VectorBad(Part):
    """Names its bad rows itself."""

    def __call__(self, column: Any) -> Any:
        ns = numbers(column)
        bad = {i: ERRORS[self.error](f"{n} divides by {self.fails}") for i, n in enumerate(ns) if self.bad(n)}
        if bad:
            raise BadRows(bad)
        return np.array(ns) + self.add


class VectorShort(Part):
    """Leaves its bad rows out."""

    def __call__(self, column: Any) -> Any:
        return [n + self.add for n in numbers(column) if not self.bad(n)]


class Decide:
    """Decides once all are in: the sum of those that succeeded, or the first error in the order written."""

    def __init__(self, names: tuple[str, ...], need: int) -> None:
        self.names, self.need = names, need

    def __call__(self, arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
        if waiting:
            return UNDECIDED
        fine = [arrived[name] for name in self.names if not isinstance(arrived[name], StrettoError)]
        if len(fine) >= self.need:
            return sum(map(number, fine))
        if self.need > len(self.names):
            return UNDECIDED
        raise next(arrived[name] for name in self.names if isinstance(arrived[name], StrettoError))


@composer
def gather(x: Node, *members: Pipeline, need: int, seconds: float | None = None) -> Node:
    """The sum of the members that succeed, of which there must be `need`."""
    names = tuple(f"m{i}" for i in range(len(members)))
    plans = tuple(each.plan() for each in members)
    return Join((x,), members=plans, names=names, until=Decide(names, need), seconds=seconds)


class Odd:
    """Decides for the first member that answers an odd number, or for the last one written; skips those that fail.

    `many` leaves rows open, returns None or raises, as it likes.
    """

    def __init__(self, names: tuple[str, ...], whim: int) -> None:
        self.names, self.whim = names, whim

    def one(self, arrived: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
        for name in self.names:
            if name in waiting:
                break
            answer = arrived.get(name)
            if answer is not None and not isinstance(answer, StrettoError) and number(answer) % 2:
                return {"odd": answer}
        if waiting:
            return UNDECIDED
        last = arrived[self.names[-1]]
        if isinstance(last, StrettoError):
            raise last
        return {"odd": last}

    def many(self, columns: Mapping[str, Any], waiting: tuple[str, ...]) -> tuple[Any, Any] | None:
        assert columns, "asked about rows in which a member has succeeded"
        assert not set(columns) & set(waiting)
        if self.whim == 1 or not isinstance(next(iter(columns.values())), np.ndarray):
            return None
        if self.whim == 2:
            raise ValueError("can't tell")
        if any(name in waiting for name in self.names[:1]) or self.names[0] not in columns:
            return None
        answers = columns[self.names[0]]
        odd = np.array([number(each) % 2 == 1 for each in (answers.tolist() if answers.ndim == 1 else answers)])
        if waiting and len(columns) > 1 and not odd.all():
            return None  # a later member may have decided
        return {"odd": answers}, odd


@composer
def in_turn(x: Node, *members: Pipeline, whim: int = 0, seconds: float | None = None) -> Node:
    """The first member that answers an odd number, or the last one: asked one after the other."""
    names = tuple(f"m{i}" for i in range(len(members)))
    plans = tuple(each.plan() for each in members)
    return Join((x,), members=plans, names=names, until=Odd(names, whim), in_turn=True, seconds=seconds)


@composer
def side_by_side(x: Node, *members: Pipeline, whim: int = 0) -> Node:
    """The first member, in the order written, that answers an odd number, or the last one: branches of a fan-out."""
    names = tuple(f"m{i}" for i in range(len(members)))
    return Join.over(Pack(tuple(each(x) for each in members), names=names), Odd(names, whim))


def taking_two(value: Pipeline[Any, Any], other: Pipeline[Any, Any]) -> Plan:
    """A plan of two inputs that needs both."""
    start, more = Input(), Input()
    return Plan((start, more), Pack((value(start), other(more), more), names=("value", "other", "more")))


@composer
def two_inputs(x: Node, first: Pipeline, part: Pipeline, other: Pipeline, kind: str) -> Node:
    """A node of each kind whose sub-plans take two values: the request's, and what the first part made of it."""
    inputs, body = (x, first(x)), taking_two(part, other)
    match kind:
        case "sub":
            return Sub(inputs, body=body)
        case "choose":
            return Choose((*inputs, Pipeline(parity)(x)), cases=((0, body), (1, body)), default=taking_two(other, part))
        case "recover":
            return Recover(inputs, body=body, handler=taking_two(other, other))
        case "join":
            plans = (body, taking_two(other, part))
            return Join(inputs, members=plans, names=("m0", "m1"), until=Odd(("m0", "m1"), 0), in_turn=True)
        case "within":
            return Within(inputs, body=body, seconds=1000)
        case "each":
            return Each((Pipeline(RowList(1))(x), inputs[1]), body=body)
        case "around":
            return Around(inputs, body=body, policy=Twice())
        case _:
            return Aside((x, *inputs), body=body)


KINDS = ["sub", "choose", "recover", "join", "within", "each", "around", "aside"]


@composer
def within(x: Node, part: Pipeline, seconds: float = 1000) -> Node:
    """The part, within so many seconds."""
    return Within((x,), body=part.plan(), seconds=seconds)


@composer
def beside(x: Node, part: Pipeline) -> Node:
    """The value as it is; the part is started beside it."""
    return Aside((x,), body=part.plan())


class Twice:
    """Runs the rows one by one, and all of them once more together; gives what came of that."""

    async def __call__(self, body: Body) -> Any:
        for i in range(len(body.rows)):
            await body.run([i])
        return await body.run()


@composer
def twice(x: Node, part: Pipeline) -> Node:
    """The part, run more often than it needs."""
    return Around((x,), body=part.plan(), policy=Twice())


@composer
def unchanged(x: Node) -> Node:
    """The value as it is."""
    return x


@composer
def known_as_model(x: Node, part: Pipeline) -> Node:
    """The one step of the part, placed as a model's is."""
    (step,) = part.plan().steps()
    return Call((x,), step=replace(step, model=ModelInfo()))


@composer
def diamond(x: Node, top: Pipeline, left: Pipeline, right: Pipeline) -> Node:
    """Two parts over one node."""
    node = top(x)
    return Pack((left(node), right(node)), names=("left", "right"))


def parity(value: Any) -> int:
    return number(value) % 4


Pipelines = st.SearchStrategy[Pipeline[Any, Any]]


def columns() -> Pipelines:
    """Vectorized steps."""
    kinds = [Vector, VectorArray, VectorTable, VectorText, VectorDict, VectorWaiting, VectorBad, VectorShort]
    return st.builds(
        lambda kind, add, fails, error, pure: step(kind(add, fails, error), vectorized=True, pure=pure),
        st.sampled_from(kinds),
        st.integers(0, 2),
        st.sampled_from([0, 0, 2, 3, 5]),
        st.sampled_from(sorted(ERRORS)),
        st.booleans(),
    )


def parts() -> Pipelines:
    """Steps of every kind."""
    adds, fails, errors = st.integers(0, 2), st.sampled_from([0, 0, 2, 3, 5]), st.sampled_from(sorted(ERRORS))
    row = st.builds(
        lambda kind, add, fails, error, pure: step(kind(add, fails, error), pure=pure),
        st.sampled_from([Row, RowDict, RowList, Waiting]),
        adds,
        fails,
        errors,
        st.booleans(),
    )
    blocking = st.builds(lambda add, fails: step(Row(add, fails), blocking=True), adds, fails)
    model = st.builds(
        lambda kind, add, fails: known_as_model(
            step(kind(add, fails), name=f"model-{kind.__name__}-{add}-{fails}", vectorized=kind is VectorBad, pure=True)
        ),
        st.sampled_from([VectorBad, Row, Waiting]),
        adds,
        fails,
    )
    placed = st.builds(
        lambda kind, add, fails: step(kind(add, fails), vectorized=kind is VectorArray, num_replicas=2),
        st.sampled_from([VectorArray, Row, Waiting]),
        adds,
        fails,
    )
    return st.one_of(row, columns(), columns(), blocking, model, placed, st.just(unchanged()))


def _larger(smaller: Pipelines) -> Pipelines:
    def built(make: Callable[..., Pipeline[Any, Any]], *args: Any, **kwargs: Any) -> Pipelines:
        return st.builds(make, *args, **kwargs)

    p, key = smaller, st.just(parity)
    weights = st.sampled_from([[1, 1, 1, 1], [1, 2, 1, 3], [0.1, 0.2, 0.3, 0.3], [1, 0, 2, 0]])
    return st.one_of(
        built(lambda a, b: a >> b, p, p),
        built(lambda a, b, c: a >> b >> c, p, p, p),
        built(lambda some: parallel_of(some), st.lists(p, min_size=1, max_size=3)),
        built(diamond, p, p, p),
        built(switch, key, st.dictionaries(st.integers(0, 3), p, min_size=1, max_size=3), st.none() | p),
        built(fallback, p, p),
        built(lambda a: race(a, a), p),
        built(lambda some: vote(*(a >> number for a in some)), st.lists(p, min_size=1, max_size=3)),
        built(ballot, st.lists(p, min_size=1, max_size=4), weights),
        built(ballot, st.lists(columns(), min_size=2, max_size=4), weights),
        built(lambda some: parallel_of(some) >> vote(), st.lists(p | columns(), min_size=1, max_size=3)),
        built(lambda some: parallel_of(some) >> average(), st.lists(p | columns(), min_size=1, max_size=3)),
        built(soft, st.lists(p | columns(), min_size=1, max_size=3), weights, st.booleans()),
        built(lambda some: parallel_of(some) >> median(), st.lists(p | columns(), min_size=1, max_size=3)),
        built(omitting, st.lists(p | columns(), min_size=1, max_size=3), st.sampled_from(["omit", 7, [1, 2]]), key),
        built(omitting, st.lists(p, min_size=2, max_size=3), st.just("omit"), st.just(vote())),
        built(omitting, st.lists(p, min_size=2, max_size=3), st.just("omit"), st.just(weighted(weights={"b0": 2}))),
        built(lambda some: stack(number, *some), st.lists(p | columns(), min_size=1, max_size=3)),
        built(agreed, st.lists(p, min_size=1, max_size=3), st.none() | st.just(1000)),
        built(lambda some, need: gather(*some, need=need), st.lists(p, min_size=1, max_size=3), st.integers(0, 4)),
        built(lambda some: gather(*some, need=1, seconds=1000), st.lists(p, min_size=1, max_size=3)),
        built(
            lambda some, whim, time: in_turn(*some, whim=whim, seconds=time),
            st.lists(p | columns(), min_size=1, max_size=3),
            st.integers(0, 2),
            st.sampled_from([None, 1000]),
        ),
        built(
            lambda some, whim: side_by_side(*some, whim=whim),
            st.lists(p | columns(), min_size=1, max_size=3),
            st.integers(0, 2),
        ),
        built(two_inputs, p | columns(), p, p, st.sampled_from(KINDS)),
        built(lambda a: RowList(1) >> each(a), p),
        built(within, p),
        built(tap, p),
        built(lambda a, b, salt: split({"a": (a, 1), "b": (b, 2)}, salt=salt), p, p, st.sampled_from("xyz")),
        built(lambda a, limit, spare: loop(a, parity, limit, spare), p, st.integers(1, 4), st.none() | p),
        built(cascaded, st.lists(p, min_size=2, max_size=3), st.sampled_from([0.5, 0.6, 0.9]), st.booleans()),
        built(lambda a, b: parallel_of([a, b]) >> flatten(), p, p),
        built(lambda a, b: parallel_of([a, b]) >> rename(b0="z") >> select(["b1", "z"]) >> select("z"), p, p),
        built(beside, p),
        built(twice, p),
        built(lambda a: retry(a, 2, backoff=0.0), p),
        built(lambda a: default(a, {"n": 1, "list": [2]}), p),
        built(lambda a: cache(a, size=2), p),
        built(lambda a, n: limit(a, n), p, st.integers(1, 3)),
        built(lambda a: circuit_breaker(a, errors=10**6), p),
        built(lambda a: hedge(a, after=0.0, budget=1.0), p),
        built(lambda a, b: shadow(a, b), p, p),
    )


def ballot(members: list[Pipeline[Any, Any]], weights: list[float]) -> Pipeline[Any, Any]:
    return vote(*members, weights=weights[: len(members)])


def chances(column: Any) -> Any:
    """Make probabilities of numbers, as columns."""
    high = np.array([n % 11 for n in numbers(column)]) / 10
    return {"low": 1 - high, "high": high}


def soft(members: list[Pipeline[Any, Any]], weights: list[float], early_stop: bool) -> Pipeline[Any, Any]:
    probable = [member >> step(chances, vectorized=True) for member in members]
    return vote(*probable, weights=weights[: len(members)], voting="soft", early_stop=early_stop) >> spelled


def omitting(members: list[Pipeline[Any, Any]], on_error: Any, then: Any) -> Pipeline[Any, Any]:
    return parallel_of(members, on_error=on_error) >> then


def agreed(members: list[Pipeline[Any, Any]], by: float | None) -> Pipeline[Any, Any]:
    # With more than half of them it does not matter who comes first.
    return quorum(len(members) // 2 + 1, *(member >> parity for member in members), by=by)


def cascaded(tiers: list[Pipeline[Any, Any]], least: float, label: bool) -> Pipeline[Any, Any]:
    probable = [tier >> step(chances, vectorized=True) for tier in tiers[:-1]]
    return cascade(*probable, tiers[-1], until=confidence(least), answer="label" if label else "tier") >> spelled


def spelled(value: Any) -> int:
    """Make a number of a label, or of any other value."""
    return len(value) if isinstance(value, str) else number(value)


def parallel_of(some: list[Pipeline[Any, Any]], on_error: Any = "raise") -> Pipeline[Any, Any]:
    from stretto import parallel

    return parallel(**{f"b{i}": part for i, part in enumerate(some)}, on_error=on_error)


def pipelines(leaves: int = 8) -> Pipelines:
    """Pipelines of up to so many steps or so."""
    return st.recursive(parts(), _larger, max_leaves=leaves)


def rows() -> st.SearchStrategy[list[int]]:
    """Batches of a few rows."""
    return st.lists(st.integers(-6, 12), min_size=1, max_size=6)


def assert_legal(plan: Plan) -> None:
    """Hold a plan to what no node can tell alone: it is ordered and whole, and nothing in a stage waits."""
    left = [plan]
    while left:
        each = left.pop()
        known: set[Node] = set(each.inputs)
        for node in each.order:
            assert not isinstance(node, Input), "an input is not computed"
            assert set(node.inputs) <= known, f"{node!r} comes before what it needs"
            known.add(node)
            left += node.plans
            assert [len(sub.inputs) for sub in node.plans] == [len(fed) for fed in node.feeds]
            if isinstance(node, Call) and isinstance(node.step, Stage):
                stage = node.step
                assert stage.deployment or not stage.plan.waits, f"stage {stage.name} holds something that waits"
                left.append(stage.plan)
        assert each.output in known, "the output is a node of the plan"


def gathered(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine function in an event loop of its own, which must be left empty."""

    async def main() -> Any:
        answer = await work()
        for _ in range(20):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left: {left}"
        return answer

    return asyncio.run(main())
