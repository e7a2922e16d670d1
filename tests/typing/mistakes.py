"""Compositions that are wrong, and what flags each: were one not flagged, its comment would be an error itself."""

from __future__ import annotations

from stretto import Client, Pipeline, parallel, step
from stretto_composers import fallback, vote


def length(text: str) -> int:
    return len(text)


def half(number: int) -> float:
    return number / 2


async def shown(number: float) -> str:
    return f"{number}"


def total(numbers: dict[str, float]) -> float:
    return sum(numbers.values())


def a_part_that_does_not_take_what_it_is_given() -> None:
    _ = Pipeline(length) >> length  # pyright: ignore[reportOperatorIssue]
    _ = Pipeline(length) >> half >> length  # pyright: ignore[reportOperatorIssue]
    _ = Pipeline(length) >> Pipeline(length)  # pyright: ignore[reportOperatorIssue]
    _ = Pipeline(shown) >> half  # pyright: ignore[reportOperatorIssue]
    _ = step(length) >> step(length)  # pyright: ignore[reportOperatorIssue]
    _ = parallel(shown) >> total  # pyright: ignore[reportOperatorIssue]
    _ = half >> Pipeline(length)  # pyright: ignore[reportOperatorIssue]


def what_is_no_part() -> None:
    Pipeline(5)  # pyright: ignore[reportArgumentType, reportCallIssue]
    _ = Pipeline(length) >> 5  # pyright: ignore[reportOperatorIssue]
    _ = Pipeline(length) >> "svm.skops"  # pyright: ignore[reportOperatorIssue]
    parallel(length, "svm.skops")  # pyright: ignore[reportArgumentType, reportCallIssue]


def a_composer_called_wrong() -> None:
    fallback(length)  # pyright: ignore[reportCallIssue]
    fallback(length, "svm.skops")  # pyright: ignore[reportArgumentType]
    vote(length, weights="equal")  # pyright: ignore[reportArgumentType]


async def a_client_asked_for_what_its_pipeline_does_not_take() -> None:
    async with Client(length) as client:
        await client.predict(5)  # pyright: ignore[reportArgumentType]
        await client.predict_many([5])  # pyright: ignore[reportArgumentType]
        client.submit(5)  # pyright: ignore[reportArgumentType]
        client.map([5])  # pyright: ignore[reportArgumentType]
        (await client.predict("abc")).upper()  # pyright: ignore[reportAttributeAccessIssue]
