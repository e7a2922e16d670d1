"""What type checkers say of compositions that are right. Checked by pyright in strict mode, never run."""

from __future__ import annotations

from typing import Any, assert_type

from sklearn.linear_model import LogisticRegression

from stretto import Client, Pipeline, model, parallel, step


def length(text: str) -> int:
    return len(text)


def half(number: int) -> float:
    return number / 2


async def shown(number: float) -> str:
    return f"{number}"


def total(numbers: dict[str, int]) -> int:
    return sum(numbers.values())


class Caller:
    def __call__(self, number: float) -> bool:
        return number > 0


def a_function_is_a_pipeline_from_its_argument_to_its_result() -> None:
    assert_type(Pipeline(length), Pipeline[str, int])
    assert_type(step(length), Pipeline[str, int])
    assert_type(step(length, name="length", vectorized=False), Pipeline[str, int])


def an_async_function_gives_what_it_awaits() -> None:
    assert_type(Pipeline(shown), Pipeline[float, str])
    assert_type(step(shown, name="shown"), Pipeline[float, str])


def a_chain_goes_from_the_first_to_the_last() -> None:
    assert_type(Pipeline(length) >> half, Pipeline[str, float])
    assert_type(Pipeline(length) >> half >> shown, Pipeline[str, str])
    assert_type(Pipeline(length) >> half >> shown >> length, Pipeline[str, int])
    assert_type(Pipeline(length) >> Pipeline(half), Pipeline[str, float])
    assert_type(Pipeline(half) >> Caller(), Pipeline[int, bool])
    assert_type(length >> Pipeline(half), Pipeline[str, float])
    assert_type(shown >> Pipeline(length), Pipeline[float, int])


def a_lambda_is_inferred_from_what_feeds_it() -> None:
    assert_type(Pipeline(length) >> (lambda number: number * 2), Pipeline[str, int])
    assert_type(Pipeline(length) >> (lambda number: f"{number}"), Pipeline[str, str])


def a_fan_out_gives_a_dict() -> None:
    assert_type(parallel(length, other=length), Pipeline[str, dict[str, int]])
    assert_type(parallel(length) >> total, Pipeline[str, int])
    assert_type(Pipeline(parallel(length)) >> total, Pipeline[str, int])


def a_model_takes_and_gives_anything() -> None:
    assert_type(model(LogisticRegression(), name="logistic"), Pipeline[Any, Any])
    assert_type(model("svm.skops") >> length, Pipeline[Any, int])


async def a_client_takes_what_its_pipeline_takes_and_gives_what_it_gives() -> None:
    async with Client(Pipeline(length) >> half) as client:
        assert_type(client, Client[str, float])
        assert_type(await client.predict("abc"), float)
        assert_type(await client.predict_many(["abc"]), list[float])
        assert_type(await client.submit("abc"), float)
        async for answer in client.map(["abc"]):
            assert_type(answer, float)
    assert_type(Client(length), Client[str, int])
    assert_type(Client(shown), Client[float, str])
    assert_type(Client("http://127.0.0.1:8000"), Client[Any, Any])
