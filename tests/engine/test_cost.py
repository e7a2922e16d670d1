"""The rows of a batch that pay, and how long those that wait will take."""

from __future__ import annotations

import pytest

from stretto.engine.cost import SLICE, UNKNOWN, Cost


def measured(fixed: float, each: float, most: int = 512) -> tuple[Cost, list[int]]:
    """Return the cost of a stage after many batches as large as it says, and their sizes."""
    cost, sizes = Cost(), [1]
    cost.note(1, fixed + each)
    for _ in range(200):
        size = cost.batch(most)
        sizes.append(size)
        cost.note(size, fixed + each * size)
    return cost, sizes


def test_before_anything_is_measured_a_few_are_taken() -> None:
    assert Cost().batch(512) == UNKNOWN
    assert Cost().batch(8) == 8
    assert Cost().drain(10, 512, 2) is None


@pytest.mark.parametrize(
    ("fixed", "each", "least", "most"),
    [
        (0.0, 0.02, 1, 1),  # a row at a time: together they would only wait for each other
        (0.0, 0.001, 8, 16),
        (0.0001, 0.000001, 512, 512),
        (0.1, 0.00001, 512, 512),  # much for any batch, little for a row
        (0.05, 0.01, 4, 16),
    ],
)
def test_as_many_as_pay(fixed: float, each: float, least: int, most: int) -> None:
    cost, sizes = measured(fixed, each)
    usual = sorted(sizes[100:])[50]
    assert least <= usual <= most
    # One of twice the size is tried now and then, since the machine may have been busy.
    assert max(sizes[100:]) <= 2 * usual
    assert cost.batch(usual) == usual


def test_a_size_that_was_slow_once_is_tried_again() -> None:
    cost, _ = measured(0.0, 0.0001)
    assert SLICE / 2 <= 0.0001 * cost.batch(512) <= 2 * SLICE
    usual = cost.batch(512)
    for _ in range(20):
        cost.note(usual, 1.0)
    for _ in range(3000):
        size = cost.batch(512)
        cost.note(size, 0.0001 * size)
    assert SLICE / 2 <= 0.0001 * cost.batch(512) <= 2 * SLICE


def test_the_seconds_until_the_rows_that_wait_are_computed() -> None:
    cost, _ = measured(0.0, 0.02)
    assert cost.drain(100, 512, 2) == pytest.approx(1.0, rel=0.1)
    assert cost.drain(0, 512, 2) == 0.0
    cost = Cost()
    cost.note(64, 1.28)
    assert cost.drain(16, 512, 1) == pytest.approx(0.32), "the first batch was large: a row takes its part of it"
    cost, _ = measured(0.1, 0.0)
    assert cost.drain(512, 512, 1) == pytest.approx(0.1, rel=0.1)
