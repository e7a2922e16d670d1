"""Signatures: what is recorded of a model's input, and read back."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars
import pytest

from stretto.errors import ModelError
from stretto.models.signature import Column, Signature

FRAME = pd.DataFrame(
    {
        "text": ["a", None],
        "price": [Decimal(1), Decimal("2.5")],
        "city": pd.Categorical(["x", "y"], categories=["y", "x"]),
        "size": pd.Categorical([3, 1], ordered=True),
        "rooms": pd.array([1, None], dtype="Int64"),
        "flag": [True, False],
        "day": pd.to_datetime(["2024-01-01", "2024-02-01"]).tz_localize("Europe/Berlin"),
        "user": np.array([2**64 - 1, 3], dtype="uint64"),
        "other": pd.Series(["x", 1], dtype=object),
    }
)


def test_a_signature_has_the_types_of_a_frame() -> None:
    signature = Signature.of(FRAME)
    assert signature.form == "frame"
    assert signature.names == tuple(FRAME.columns)
    columns = {each.label: each for each in signature.columns}
    assert columns["text"] == Column("text", "str", missing=True)
    assert columns["price"].holds == ("Decimal",)
    assert columns["city"].categories == ("y", "x")
    assert (columns["size"].categories, columns["size"].category_dtype, columns["size"].ordered) == (
        (1, 3),
        "int64",
        True,
    )
    assert (columns["rooms"].dtype, columns["rooms"].missing) == ("Int64", True)
    assert columns["day"].dtype == "datetime64[us, Europe/Berlin]"
    assert (columns["user"].low, columns["user"].high) == (3, 2**64 - 1)
    assert columns["other"].holds == ("int", "str")


def test_a_signature_is_read_back_as_it_was_written() -> None:
    for frame in (FRAME, FRAME.set_axis(range(9), axis=1), FRAME.set_axis([("a", i) for i in range(9)], axis=1)):
        signature = Signature.of(frame)
        assert Signature.decode(signature.encode()) == signature


def test_a_signature_of_polars_is_that_of_the_pandas_frame() -> None:
    frame = polars.DataFrame({"n": [1, 2], "text": ["a", "b"]})
    assert Signature.of(frame) == Signature.of(frame.to_pandas())


def test_a_signature_of_an_array_has_the_names_that_go_with_it() -> None:
    assert Signature.of(np.eye(2, dtype=np.int8)).names is None
    assert [each.dtype for each in Signature.of(np.eye(2, dtype=np.int8)).columns] == ["int8", "int8"]
    assert Signature.of(np.eye(2), ["a", "b"]).names == ("a", "b")
    assert Signature.of(["one", "two"]).form == "values"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (FRAME.set_axis([*FRAME.columns[:8], "text"], axis=1), "two columns 'text'"),
        (pd.DataFrame(index=[0, 1]), "no columns"),
        (np.zeros((2, 2, 2)), "shape"),
        (polars.LazyFrame({"a": [1]}), "lazy"),
    ],
)
def test_what_has_no_signature_is_refused(rows: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Signature.of(rows)


def test_what_is_no_signature_is_refused() -> None:
    with pytest.raises(ModelError, match="no signature"):
        Signature.decode(b'{"columns": 1}')
