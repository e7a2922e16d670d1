"""Dates and spans of time of numpy as Python's."""

from __future__ import annotations

from typing import Any

import numpy as np


def dates(array: np.ndarray) -> list[Any]:
    """Return the values of an array of dates or spans as Python's, None for missing ones.

    What Python's would not hold, such as nanoseconds or the year 20000, stays numpy's.

    >>> dates(np.array(["2024-01-04", "2024-01-04T00:00:00.000000001"], dtype="M8[ns]"))
    [datetime.datetime(2024, 1, 4, 0, 0), np.datetime64('2024-01-04T00:00:00.000000001')]
    """
    values = array.tolist()
    if not any(type(value) is int for value in values):  # as numpy gives what it can't convert
        return values
    if np.datetime_data(array.dtype)[0] not in ("ns", "ps", "fs", "as"):
        return [array[at] if type(value) is int else value for at, value in enumerate(values)]
    rounded = array.astype(f"{array.dtype.kind}8[us]")
    exact = (rounded == array) | np.isnat(array)
    return [
        value if same and type(value) is not int else array[at]
        for at, (value, same) in enumerate(zip(rounded.tolist(), exact.tolist(), strict=True))
    ]
