"""Whatever a step raises is the failure of its row, and of no other, on every way."""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from stretto import Client, Pipeline, deploy, parallel, step
from stretto.errors import TEXT_LENGTH, InputError, StepError
from stretto.nodes import Part
from stretto.testing.http_server import serving
from stretto_composers import cache, each, fallback, switch, vote


class WordlessError(Exception):
    def __str__(self) -> str:
        raise AttributeError("no words")

    __repr__ = __str__


class UnsendableError(Exception):
    def __reduce__(self) -> str:
        raise TypeError("stays here")


class OddTextError(Exception):
    def __str__(self) -> Any:
        return 5


class EndlessError(Exception):
    def __str__(self) -> str:
        return str(self)


class OwnInputError(InputError):
    """With a constructor of its own, so that it can't be made from its arguments."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> str:
        raise TypeError("stays here")


RAISED: dict[str, Callable[[], BaseException]] = {
    "wordless": WordlessError,
    "unsendable": lambda: UnsendableError(open),
    "odd text": OddTextError,
    "endless": EndlessError,
    "long": lambda: ValueError("x" * 1_000_000),
    "surrogates": lambda: ValueError("\ud800"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "StopIteration": lambda: StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration,
    "CancelledError": asyncio.CancelledError,
    "group": lambda: BaseExceptionGroup("several", [SystemExit(1)]),
}


ROWS = [text for name in RAISED for text in (f"fine {name}", name)]


def row(x: str) -> str:
    if x in RAISED:
        raise RAISED[x]()
    return x


def rows(xs: list[str]) -> list[str]:
    return [row(x) for x in xs]


async def later(x: str) -> str:
    await asyncio.sleep(0)
    return row(x)


async def rows_later(xs: list[str]) -> list[str]:
    await asyncio.sleep(0)
    return rows(xs)


FORMS: dict[str, Pipeline[Any, Any]] = {
    "row": step(row, name="odd"),
    "async": step(later, name="odd"),
    "blocking": step(row, name="odd", blocking=True),
    "vectorized": step(rows, name="odd", vectorized=True),
    "vectorized async": step(rows_later, name="odd", vectorized=True),
    "vectorized blocking": step(rows, name="odd", vectorized=True, blocking=True),
}
"""Steps that answer a row with itself, and raise what it names."""


async def check(client: Client[Any, Any]) -> None:
    """Check that only the rows fail for which the step raises, in one request and in one request each."""
    together = await client.predict_many(ROWS, on_error="return")
    alone = await asyncio.gather(*map(client.predict, ROWS), return_exceptions=True)
    for x, outcome in [*zip(ROWS, together, strict=True), *zip(ROWS, alone, strict=True)]:
        if x not in RAISED:
            assert outcome == x
            continue
        assert isinstance(outcome, StepError), (x, outcome)
        assert outcome.step == "odd"
        assert len(str(outcome)) < TEXT_LENGTH + 200
        pickle.dumps(outcome)
    assert await client.predict("fine") == "fine"  # nothing has ended


@pytest.mark.parametrize("form", FORMS)
async def test_what_a_step_raises_is_the_failure_of_its_row_alone_in_process(form: str) -> None:
    async with Client(FORMS[form]) as client:
        await asyncio.wait_for(check(client), 30)


@pytest.mark.parametrize("form", FORMS)
async def test_what_a_step_raises_is_the_failure_of_its_row_alone_over_http(form: str) -> None:
    async with serving(FORMS[form]) as url, Client(url) as client:
        await asyncio.wait_for(check(client), 30)


async def test_what_a_step_raises_is_the_failure_of_its_row_alone_by_handle(ray_cluster: None) -> None:
    async with deploy(FORMS["row"], name="odd") as client:
        await asyncio.wait_for(check(client), 60)


@pytest.mark.parametrize("form", FORMS)
async def test_a_fallback_answers_in_place_of_whatever_a_step_raises(form: str) -> None:
    async with Client(fallback(FORMS[form], lambda x: "spare")) as client:
        assert await client.predict_many(ROWS) == ["spare" if x in RAISED else x for x in ROWS]


@pytest.mark.parametrize("raised", ["wordless", "SystemExit", "CancelledError", "long"])
async def test_what_the_functions_of_composers_raise_is_the_failure_of_the_row_alone(raised: str) -> None:
    make = RAISED[raised]

    class Key:
        def __init__(self, x: int) -> None:
            self.x = x

        def __hash__(self) -> int:
            if self.x == 2:
                raise make()
            return 0

        def __eq__(self, other: object) -> bool:
            return False

        def __iter__(self) -> Any:
            if self.x == 2:
                raise make()
            return iter([self.x])

    def same(x: Any) -> Any:
        return x

    def first_of(xs: list[Any]) -> Any:
        return xs[0]

    composed: dict[str, Part[Any, Any]] = {
        "a switch": switch(Key, {1: same}, default=same),
        "each": Pipeline(Key) >> each(same) >> first_of,
    }
    for part in composed.values():
        async with Client(part) as client:
            first, error, last = await client.predict_many([1, 2, 3], on_error="return")
            assert (first, last) == (1, 3)
            assert isinstance(error, StepError)
            assert len(str(error)) < TEXT_LENGTH + 200


async def test_a_key_of_a_row_that_raises_fails_the_row_alone() -> None:
    def key(x: int) -> int:
        return sys.exit(1) if x == 2 else x

    async with Client(cache(lambda x: x, key=key)) as client:
        first, error, last = await client.predict_many([1, 2, 3], on_error="return")
    assert (first, last, error.kind) == (1, 3, "SystemExit")


async def test_an_error_of_the_caller_of_a_class_of_ones_own_is_an_input_error_everywhere() -> None:
    def odd(x: int) -> int:
        if x == 2:
            raise OwnInputError(x)
        return x

    for part in (odd, parallel(a=odd, b=abs) >> vote()):
        async with serving(Pipeline(part)) as url, Client(url) as http, Client(part) as client:
            for each_client in (client, http):
                first, error, last = await each_client.predict_many([1, 2, 3], on_error="return")
                assert (first, last) == (1, 3)
                assert type(error) is InputError
                assert str(error) == "row 1: code 2"


async def test_long_texts_of_the_callers_errors_are_cut() -> None:
    def long(x: int) -> int:
        raise InputError("x" * 1_000_000, "y" * 1_000_000)

    async with Client(long) as client:
        (error,) = await client.predict_many([1], on_error="return")
    assert isinstance(error, InputError)
    assert all(len(text) < TEXT_LENGTH + 200 for text in error.args)


def test_ctrl_c_in_a_step_is_no_failure_of_its_row() -> None:
    def interrupted(x: int) -> int:
        signal.raise_signal(signal.SIGINT)
        return x

    async def main() -> None:
        # asyncio.run would cancel its task, before the event loop, and with it the step, is interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        await Client(interrupted).predict(1)

    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
    finally:
        signal.signal(signal.SIGINT, before)


async def test_cancelling_a_call_of_a_step_that_waits_is_still_a_cancellation() -> None:
    async def hangs(x: int) -> int:
        await asyncio.sleep(60)
        return x

    async with Client(hangs) as client:
        task = asyncio.create_task(client.predict(1))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
