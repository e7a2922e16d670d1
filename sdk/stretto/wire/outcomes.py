"""Outcomes: an answer or an error for each row of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from stretto.batch.isolate import each_row
from stretto.errors import InputError, StepError
from stretto.wire.json import encode_json
from stretto.wire.msgpack import decode_msgpack, encode_msgpack
from stretto.wire.problem import problem


def encode_outcomes(outcomes: Sequence[Any]) -> bytes:
    """Return outcomes as msgpack, with an error in the row of an answer that can't be encoded."""
    return _encoded(list(outcomes), encode_msgpack)


def encode_outcomes_json(outcomes: Sequence[Any]) -> bytes:
    """Return outcomes as ``{"outcomes": [{"answer": ...} or {"error": a problem}, ...]}``."""
    return _encoded(list(outcomes), _as_json)


def decode_outcomes(body: bytes) -> list[Any]:
    """Return the outcomes that `encode_outcomes` encoded."""
    outcomes = decode_msgpack(body)
    if not isinstance(outcomes, list):
        raise InputError("the body holds no outcomes", expected="a list with an outcome for each row")
    return cast("list[Any]", outcomes)


def _encoded(outcomes: list[Any], encode: Callable[[list[Any]], bytes]) -> bytes:
    try:
        return encode(outcomes)
    except StepError:
        errors = each_row(outcomes, lambda outcome: encode([outcome])).errors
        return encode([errors.get(i, outcome) for i, outcome in enumerate(outcomes)])


def _as_json(outcomes: list[Any]) -> bytes:
    members = [{"error": problem(each)} if isinstance(each, Exception) else {"answer": each} for each in outcomes]
    return encode_json({"outcomes": members})
