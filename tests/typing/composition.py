"""What type checkers say of compositions that are right. Checked by pyright in strict mode, never run."""

from __future__ import annotations

from typing import Any, assert_type

from sklearn.linear_model import LogisticRegression

from stretto import Client, Pipeline, composer, model, parallel, step
from stretto.nodes import Node
from stretto_composers import fallback, switch, vote


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


def a_fan_out_gives_a_dict() -> None:
    assert_type(parallel(length, other=length), Pipeline[str, dict[str, int]])
    assert_type(parallel(length) >> total, Pipeline[str, int])
    assert_type(Pipeline(parallel(length)) >> total, Pipeline[str, int])
    assert_type(parallel(Pipeline(length), Pipeline(length) >> half), Pipeline[str, dict[str, float]])
    assert_type(parallel(shown), Pipeline[float, dict[str, str]])


def a_model_takes_and_gives_anything() -> None:
    assert_type(model(LogisticRegression(), name="logistic"), Pipeline[Any, Any])
    assert_type(model("svm.skops") >> length, Pipeline[Any, int])
    assert_type(model("svm.skops") >> Pipeline(length), Pipeline[Any, int])
    assert_type(parallel(model("a.skops"), model("b.skops")), Pipeline[Any, dict[str, Any]])
    assert_type(parallel(model("a.skops"), length), Pipeline[Any, dict[str, Any]])
    assert_type(Pipeline(LogisticRegression()), Pipeline[Any, Any])


def a_composer_takes_parts_of_any_kind() -> None:
    assert_type(vote(model("svm.skops"), length, shown, weights=[1, 1, 2]), Pipeline[Any, Any])
    assert_type(parallel(length) >> vote(), Pipeline[str, Any])
    assert_type(fallback(length, Pipeline(length)), Pipeline[Any, Any])
    assert_type(switch(length, {0: shown}, default=None), Pipeline[Any, Any])


@composer
def twice(x: Node, part: Pipeline[Any, Any], *, times: int = 2) -> Node:
    for _ in range(times):
        x = part(x)
    return x


def ones_own_composer_has_its_functions_signature() -> None:
    assert_type(twice(Pipeline(length), times=3), Pipeline[Any, Any])


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
    assert_type(Client(parallel(model("a.skops"), model("b.skops"))), Client[Any, dict[str, Any]])
    assert_type(Client("http://127.0.0.1:8000"), Client[Any, Any])
    assert_type(Client(LogisticRegression()), Client[Any, Any])
