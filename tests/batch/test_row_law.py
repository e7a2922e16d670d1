"""The row law, for every pair of functions there is: `many` means for each row what `one` means for it alone.

Pairs are found, not listed. Where the packages say that there is one (a class with both methods, a call of `each_row`
with both functions) is read from their source; which pairs run, and whether they agree, is seen by running the cases
that all ways of running share, and generated pipelines, with every place that calls `many` calling `one` too.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import pkgutil
import random
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import stretto
import stretto_composers
from stretto import Client, Pipeline, composer
from stretto.batch import isolate
from stretto.batch.batch import Batch
from stretto.batch.isolate import Outcomes
from stretto.engine.apply import shaped
from stretto.nodes import UNDECIDED, Call, Join, Node, Step
from stretto.testing.oracle import same
from tests.cases import CASES
from tests.plans import gathered, pipelines, rows

PACKAGES = (stretto, stretto_composers)
LEAST = 4
"""The pairs that there are at least: fewer are found only where the search is broken."""

EACH_ROW = isolate.each_row
MANY = Join.many


def declared() -> set[str]:
    """Return the classes that have both methods, and the functions that call `each_row` with both functions."""
    found: set[str] = set()
    for package in PACKAGES:
        root = Path(package.__file__ or "").parent
        for path in root.rglob("*.py"):
            module = ".".join([package.__name__, *path.relative_to(root).with_suffix("").parts])
            if module not in ("stretto.batch.isolate", "stretto.plan.protocols"):
                found |= {f"{module}:{name}" for name in _pairs(ast.parse(path.read_text()), "")}
    return found


def _pairs(tree: ast.AST, name: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        own = f"{name}.{node.name}".lstrip(".") if isinstance(node, ast.ClassDef | ast.FunctionDef) else name
        match node:
            case ast.ClassDef() if not _is_protocol(node):
                methods = {
                    each.name for each in node.body if isinstance(each, ast.FunctionDef) and not _is_property(each)
                }
                if len(methods & {"one", "many", "__call__"}) > 1:
                    yield own
            case ast.Call(func=ast.Name(id="each_row"), args=args, keywords=keywords) if len(args) + len(keywords) > 2:
                yield own
            case ast.Call(func=ast.Name(id="Step"), keywords=keywords):
                yield from (
                    each.value.id for each in keywords if each.arg == "one" and isinstance(each.value, ast.Name)
                )
            case _:
                pass
        yield from _pairs(node, own)


def _is_property(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(each) == "property" for each in node.decorator_list)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any("Protocol" in ast.unparse(base) for base in node.bases)


class Seen:
    """The pairs that have been run, and those that differ."""

    def __init__(self) -> None:
        self.pairs: set[str] = set()
        self.differences: set[str] = set()

    def note(self, *functions: Any) -> None:
        for function in functions:
            owner = getattr(function, "__self__", function)
            kinds = (owner,) if hasattr(owner, "__qualname__") else type(owner).__mro__
            self.pairs.update(f"{kind.__module__}:{kind.__qualname__}" for kind in kinds)

    def compare_all(self, what: str, rows: Sequence[Any], values: Any, one: Callable[[Any], Any]) -> None:
        for row, value in zip(rows, _by_row(values, len(rows)), strict=True):
            self.compare(what, row, value, _outcome(one, row))

    def compare(self, what: str, row: Any, together: Any, alone: Any) -> None:
        if not same(_plain(together), _plain(alone)):
            self.differences.add(f"{what}: {row!r} is {together!r} among others and {alone!r} alone")


class Inverses:
    """A pair of its own, which is right, or has `many` round."""

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def __call__(self, column: Any) -> list[float]:
        return [round(self.one(x), self.digits) for x in column]

    def one(self, x: float) -> float:
        return 1 / x


@composer
def inverses(x: Node, digits: int = 20) -> Node:
    fn = Inverses(digits)
    return Call((x,), step=Step(fn=fn, one=fn.one, name="inverses", vectorized=True))


@contextmanager
def checked() -> Generator[Seen]:
    """Call `one` for every row that `many` has answered, wherever that is done."""
    seen = Seen()
    asked: list[Any] = []  # whose `one` is being asked: it may be `many` of one row

    def each_row(batch: Iterable[Any], one: Callable[[Any], Any], many: Callable[[Any], Any] | None = None) -> Outcomes:
        if many is None:
            return EACH_ROW(batch, one)
        caller = sys._getframe(1)
        site = f"{caller.f_globals['__name__']}:{caller.f_code.co_qualname}"
        step = caller.f_locals.get("step")
        seen.pairs.add(site)
        seen.note(*((one,) if step is None else (step.fn, step.one)))

        def both(batch: Any) -> Any:
            values = many(batch)
            if values is not None:
                seen.compare_all(f"{site} {step or one!r}", list(batch), values, one)
            return values

        return EACH_ROW(batch, one, both)

    def decided(node: Join) -> Any:
        many = MANY.fget(node)  # type: ignore[misc]

        def both(columns: Mapping[str, Any], waiting: tuple[str, ...]) -> Any:
            found = many(columns, waiting)
            if found is not None:
                answers = _by_row(found[0], len(found[1]))
                for row, answer, sure in zip(_rows_of(columns, len(answers)), answers, found[1], strict=True):
                    if sure or waiting:
                        alone = _outcome(lambda row: node.one(row, waiting), row)
                        seen.compare(repr(node.until), row, answer if sure else UNDECIDED, alone)
            return found

        if many is not None:
            seen.note(many)
        return None if many is None else both

    def method(cls: Any) -> Callable[..., Any]:
        many = cls.__dict__["many"]

        def both(self: Any, batch: Any, *rest: Any, **named: Any) -> Any:
            values = many(self, batch, *rest, **named)
            seen.pairs.add(f"{cls.__module__}:{cls.__qualname__}")
            if values is not None and self not in asked:
                listed = _rows_of(batch, 0) if isinstance(batch, dict) else list(batch)
                asked.append(self)
                seen.compare_all(repr(self), listed, values, lambda row: self.one(row, *rest, **named))
                asked.pop()
            return values

        return both

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in ("stretto", "stretto_composers") and vars(module).get("each_row") is EACH_ROW:
                patch.setattr(module, "each_row", each_row)
        patch.setattr(Join, "many", property(decided))
        for cls in _classes():
            patch.setattr(cls, "many", method(cls))
        yield seen


def _classes() -> Iterator[type]:
    """Return the classes with both methods, but for untils: a `Join` calls those."""
    for name in sorted(declared()):
        found: Any = importlib.import_module(name.partition(":")[0])
        for part in name.partition(":")[2].split("."):
            found = vars(found).get(part)
        many = vars(found).get("many") if isinstance(found, type) and "one" in vars(found) else None
        if many is not None and "waiting" not in inspect.signature(many).parameters:
            yield found


def _outcome(one: Callable[[Any], Any], row: Any) -> Any:
    try:
        return one(row)
    except Exception as error:
        return error


def _rows_of(columns: Mapping[str, Any], size: int) -> list[Any]:
    """Return columns as rows; there are `size` where there is no column."""
    size = len(_first(columns)) if columns else size
    return shaped(dict(columns), size).rows() if columns else [{} for _ in range(size)]


def _first(columns: Any) -> Any:
    return _first(next(iter(columns.values()))) if isinstance(columns, dict) else columns


def _by_row(values: Any, size: int) -> list[Any]:
    """Return what `many` returned, a row each: of a batch, an array or list, columns, or several of these."""
    if isinstance(values, Batch):
        return values.rows()
    if hasattr(values, "_fields"):  # what a model takes: its columns, or a table
        data = values.data
        return [list(row.values()) for row in _rows_of(data, size)] if isinstance(data, dict) else list(data)
    if isinstance(values, tuple):
        return list(zip(*(_by_row(each, size) for each in values), strict=True))
    return _rows_of(values, size) if isinstance(values, dict) else list(values)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return {key: _plain(each) for key, each in value.items()} if isinstance(value, dict) else value


async def answered(pipeline: Pipeline[Any, Any], batches: Sequence[Sequence[Any]]) -> None:
    """Ask for the rows of each batch together."""
    async with Client(pipeline) as client:
        for batch in batches:
            await client.predict_many(list(batch), on_error="return")


@pytest.fixture(scope="module")
def seen_in_the_cases() -> Seen:
    """Every case with its rows in another order, failing ones among them, and with each row twice."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.partition(".")[2] in ("wire", "models", "onnx", "sklearn"):
                importlib.import_module(module.name)
    with checked() as seen:
        for pipeline, all_rows in [(inverses(), [4, 0, 3]), *((case.build(), case.rows) for case in CASES)]:
            order = random.Random(9).sample(all_rows, len(all_rows))
            asyncio.run(answered(pipeline, [order, *([row, row] for row in all_rows)]))
    return seen


def test_each_pair_agrees_on_the_rows_of_the_cases(seen_in_the_cases: Seen) -> None:
    assert not seen_in_the_cases.differences, "\n".join(seen_in_the_cases.differences)


def test_no_pair_is_forgotten(seen_in_the_cases: Seen) -> None:
    """A pair that no case runs is not held to the law: add a case, or a generated pipeline, that does."""
    pairs = declared()
    assert len(pairs) >= LEAST
    assert sorted(pairs - seen_in_the_cases.pairs) == []


async def test_rows_that_one_finds_to_fail_leave_the_others_together() -> None:
    async with Client(inverses()) as client:
        answers = await client.predict_many([4, 0, 3], on_error="return")
    assert answers[::2] == [0.25, 1 / 3]
    assert (answers[1].step, answers[1].kind) == ("inverses", "ZeroDivisionError")


def test_a_pair_that_differs_is_seen() -> None:
    with checked() as seen:
        asyncio.run(answered(inverses(2), [[4, 3]]))
    assert any("is 0.33 among others and 0.3333" in each for each in seen.differences)


@settings(max_examples=40)
@given(pipelines(), rows())
def test_each_pair_agrees_on_generated_pipelines(pipeline: Pipeline[Any, Any], some: list[int]) -> None:
    with checked() as seen:
        gathered(lambda: answered(pipeline, [some]))
    assert not seen.differences, "\n".join(seen.differences)
