"""Outcomes: an answer or an error for each row of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from stretto.errors import InputError, StepError
from stretto.wire.bounds import UnsendableError
from stretto.wire.json import encode_json
from stretto.wire.msgpack import decode_msgpack, encode_msgpack, encode_rows, packed
from stretto.wire.problem import problem


def encode_outcomes(outcomes: Sequence[Any]) -> bytes:
    """Return outcomes as msgpack; an answer that cannot be sent becomes the error that says so, in its row alone."""
    try:
        return packed(list(outcomes))
    except UnsendableError:
        return encode_rows([_each(outcome, encode_msgpack) for outcome in outcomes])


def decode_outcomes(body: bytes) -> list[Any]:
    """Return the outcomes that `encode_outcomes` wrote."""
    outcomes = decode_msgpack(body)
    if not isinstance(outcomes, list):
        raise InputError("the body holds no outcomes", "", "a list with an outcome for each row")
    return cast("list[Any]", outcomes)


def encode_outcomes_json(outcomes: Sequence[Any]) -> bytes:
    """Return outcomes as ``{"outcomes": [{"answer": ...} or {"error": a problem}, ...]}``."""
    try:
        return encode_json({"outcomes": [_told(outcome) for outcome in outcomes]})
    except StepError:
        return b'{"outcomes":[%b]}' % b",".join(_each(outcome, _encode_told) for outcome in outcomes)


def _told(outcome: Any) -> dict[str, Any]:
    return {"error": problem(outcome)} if isinstance(outcome, Exception) else {"answer": outcome}


def _encode_told(outcome: Any) -> bytes:
    return encode_json(_told(outcome))


def _each(outcome: Any, encode: Callable[[Any], bytes]) -> bytes:
    try:
        return encode(outcome)
    except StepError as error:
        return encode(error)
