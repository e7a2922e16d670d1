"""What a message claims is checked before it is made: small messages, written by hand, that would take all there is."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.errors import InputError, StepError, StrettoError, TooLarge
from stretto.wire import (
    bounds,
    decode_json,
    decode_msgpack,
    decode_outcomes,
    encode_json,
    encode_msgpack,
    encode_row,
    from_problem,
    json,
    msgpack,
    problem,
    structure,
)
from tests.wire.test_wire import form, values

TUPLE, SET, FROZENSET, DICT, INT, DECIMAL, UUID, DATE, TIMEDELTA, ARRAY, OBJECTS = 1, 2, 3, 4, 5, 7, 8, 10, 12, 13, 14
GENERIC, ERROR, COLUMN, FRAME, MOMENT, SPARSE = 15, 18, 19, 20, 21, 23


def ext(code: int, data: bytes) -> bytes:
    return struct.pack(">BIb", 0xC9, len(data), code) + data


def text(value: str) -> bytes:
    return struct.pack(">BI", 0xDB, len(value)) + value.encode()


def listed(items: Iterable[bytes]) -> bytes:
    parts = list(items)
    return struct.pack(">BI", 0xDD, len(parts)) + b"".join(parts)


def number(value: int) -> bytes:
    return struct.pack(">Bq", 0xD3, value)


def array(dtype: str, shape: list[int], data: bytes = b"", code: int = ARRAY) -> bytes:
    header = listed([text(dtype), listed(map(number, shape))])
    return ext(code, struct.pack("<I", len(header)) + header + data)


def integer(value: int) -> bytes:
    return ext(INT, value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True))


ONE = array("<i8", [1], bytes(8))
SAME_HASH = [integer(sys.hash_info.modulus * k) for k in range(1, 2000)]


class TestRefused:
    @pytest.mark.parametrize(
        "body",
        [
            array("|V0", [10**12]),
            array("<U0", [10**12]),
            array("<f8", [10**12, 0]),
            array("<f8", [0, 10**12]),
            array("<f8", [0] * 20 + [2**62]),
            array("<U999999999", [0]),
            array("<f8", [-1, -1], bytes(8)),
            array(",".join(["f8"] * 1000), [1], bytes(8000)),
            array("|O", [1], bytes(8)),
            array("|V8", [1], bytes(8)),
            array("<f8", [1], bytes(8))[:-1],
            array("|V0", [], code=GENERIC),
            ext(OBJECTS, listed([listed([number(10**12), number(0)]), listed([])])),
            ext(SET, listed(SAME_HASH)),
            ext(FROZENSET, listed(SAME_HASH)),
            ext(DICT, listed([each for key in SAME_HASH for each in (key, b"\x01")])),
            struct.pack(">BI", 0xDF, len(SAME_HASH)) + b"".join(key + b"\x01" for key in SAME_HASH),
            listed([struct.pack(">BI", 0xDF, 1000) + b"".join(number(key << 40) + b"\x01" for key in range(1000))]),
            ext(INT, bytes(2000)),
            ext(DECIMAL, b"1" * 2000),
            ext(DECIMAL, b"sNaN"),
            ext(UUID, b"0" * 100_000),
            ext(DATE, "\x80".encode() * 100_000),
            ext(TIMEDELTA, listed([number(10**18)] * 3)),
            ext(FRAME, listed([listed([]), listed([]), number(10**12)])),
            ext(FRAME, listed([listed([text("a")]), listed([text("abc")]), number(3)])),
            ext(COLUMN, listed([text("masked"), text("object"), array("<f8", [0]), array("|b1", [0])])),
            ext(COLUMN, listed([text("zone"), text("object"), array("<M8[ns]", [1], bytes(8))])),
            ext(COLUMN, listed([text("other"), text("x" * 1000), listed([])])),
            ext(MOMENT, listed([array("<M8[ns]", [], bytes(8), GENERIC), text("dateutil//etc/passwd")])),
            ext(SPARSE, listed([listed([number(0), number(10**12)]), *[array("<i8", [0])] * 2, ONE])),
            listed([ext(ERROR, b"\x80")]),
        ],
    )  # fmt: skip
    def test_a_small_message_that_would_take_all_there_is(self, body: bytes) -> None:
        for each in (
            body,
            b"\x91" + body,
            b"\x81\xa1a" + body,
            listed([body, bytes([0xC6]) + struct.pack(">I", 9000) + bytes(9000)]),
        ):
            with pytest.raises(InputError, match="not Stretto's msgpack") as caught:
                decode_msgpack(each)
            assert len(str(caught.value)) < 400

    @pytest.mark.parametrize(
        "value", [b"\x90", b"\x80", b"\xc0", b"\xa1a", ext(TUPLE, b"\x90"), b"\x82\xa1a\x01\xa1b\x90"]
    )
    def test_a_message_of_too_many_values(self, value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (structure, msgpack, bounds):
            monkeypatch.setattr(module, "MAX_VALUES", 10_000)
        with pytest.raises(TooLarge, match="more than 10000 values"):
            decode_msgpack(listed([value] * 10_001))

    def test_a_json_body_of_too_many_values(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json, "MAX_VALUES", 1000)
        monkeypatch.setattr(bounds, "MAX_VALUES", 1000)
        for body in (b"[" + b"[]," * 1000 + b"1]", b"[" + b"1," * 1500 + b"1]", b"[" * 1500, b'{"a":1,' * 800):
            with pytest.raises(TooLarge, match="more than 1000 values"):
                decode_json(body)
        texts = ["[{,:" * 500, '\\"' * 1000, "[," * 999]
        assert decode_json(encode_json(texts)) == texts
        with pytest.raises(InputError, match="not JSON"):
            decode_json(b'"' + b'\\"' * 100_000)

    @pytest.mark.parametrize("body", [b"1" * 100_000, b"0." + b"1" * 100_000 + b"e", b"1e" + b"9" * 100_000])
    def test_a_number_without_end_is_no_row(self, body: bytes) -> None:
        with pytest.raises(InputError):
            decode_json(body)

    def test_what_could_not_be_read_is_not_written_either(self) -> None:
        for value in (
            2**100_000,
            {2**k for k in range(17, 1000)},
            {2**k: 1 for k in range(17, 1000)},
            np.zeros(2, [("a", "f8")]),
            np.zeros(2, [("a", "f8")])[0],
            np.void(b"ab"),
        ):
            with pytest.raises(InputError, match="cannot be sent"):
                encode_row(value)
            with pytest.raises(StepError):
                encode_msgpack(value)


class TestTaken:
    @hypothesis.settings(max_examples=200, deadline=None)
    @given(st.lists(values, min_size=1, max_size=5))
    def test_a_long_message_is_what_a_short_one_is(self, rows: list[Any]) -> None:
        """Beyond a few kilobytes the structure is checked first, and nothing but that changes."""
        long = [*rows, b"x" * structure.SHORT]
        assert form(decode_msgpack(encode_msgpack(long))) == form(long)

    @pytest.mark.parametrize(
        "value",
        [
            {str(k): k for k in range(10_000)},
            dict.fromkeys(range(10_000), 1),
            {float(k) for k in range(10_000)},
            {f"{k}" for k in range(10_000)},
            {2**k for k in range(100)},
            np.zeros((0, 4)),
            np.zeros((4, 0)),
            np.zeros(0, "U5"),
            10**2000,
        ],
    )
    def test_what_a_row_can_be(self, value: Any) -> None:
        assert form(decode_msgpack(encode_row(value))) == form(value)

    def test_rows_mostly_are_decoded_as_anything_is(self) -> None:
        for rows in ([[1, 2.5, None, True, "a"]], [{"a": 1, "b": None}], {"a": 1.5}, [], [1, "a"], 2**64 - 1):
            assert form(decode_msgpack(encode_row(rows))) == form(rows)


class TestErrors:
    def test_an_error_is_told_in_few_words(self) -> None:
        told = problem(InputError("x" * 10**6, "y" * 10**6, "z" * 10**6))
        assert len(encode_json(told)) < 8000
        assert told["detail"].endswith("... (1,000,000 characters)")
        assert problem(InputError("x" * 2000))["detail"] == "x" * 2000

    def test_an_error_among_outcomes_is_one_and_in_a_row_it_is_none(self) -> None:
        error = InputError("no", "a", "b")
        assert decode_outcomes(encode_msgpack([1, error]))[1].args == error.args
        for value in ([error], {"a": error}, error):
            with pytest.raises(InputError, match="an error is no value"):
                decode_msgpack(encode_msgpack(value))

    @pytest.mark.parametrize("odd", [None, "soon", [], {}, float("nan"), float("inf"), -(10**400)])
    def test_what_a_stranger_calls_an_error_is_an_error_of_ours(self, odd: Any) -> None:
        for name in ("overloaded", "deadline-exceeded", "input-error", "step-error", "disagreement", "x"):
            members = {"type": f"urn:stretto:error:{name}", "detail": odd, "retry_after": odd, "seconds": odd}
            members |= dict.fromkeys(("where", "field", "expected", "step", "kind", "reason", "rows", "row"), odd)
            error = from_problem(members)
            assert isinstance(error, StrettoError)
            assert str(error)
            assert problem(error.copy())["status"]
            assert 0 <= getattr(error, "retry_after", 0) < 2
