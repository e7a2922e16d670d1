"""Outcomes: an answer or an error for each row of a request."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, cast

from stretto.batch.isolate import each_row
from stretto.engine.as_ready import Ready
from stretto.errors import InputError, StepError, TooLarge
from stretto.wire.json import encode_json
from stretto.wire.msgpack import decode_msgpack, encode_msgpack
from stretto.wire.problem import problem

MSGPACK_PARTS: Final = "application/vnd.stretto+msgpack-parts"
"""The media type of outcomes that are sent as they are ready."""
JSON_LINES: Final = "application/x-ndjson"
MAX_PART: Final = 2**26
_LENGTHS: Final = struct.Struct(">II")


def encode_outcomes(outcomes: Sequence[Any]) -> bytes:
    """Return outcomes as msgpack, with an error in the row of an answer that can't be encoded."""
    return _encoded(list(outcomes), encode_msgpack)


def encode_outcomes_json(outcomes: Sequence[Any]) -> bytes:
    """Return outcomes as ``{"outcomes": [{"answer": ...} or {"error": a problem}, ...]}``."""
    return _encoded(list(outcomes), _as_json)


def decode_outcomes(body: bytes) -> list[Any]:
    """Return the outcomes that `encode_outcomes` encoded."""
    outcomes = decode_msgpack(body, errors=True)
    if not isinstance(outcomes, list):
        raise InputError("the body holds no outcomes", expected="a list with an outcome for each row")
    return cast("list[Any]", outcomes)


def encode_part(part: Ready) -> bytes:
    """Return outcomes that are ready as msgpack: two lengths of four bytes, then positions, then outcomes."""
    positions = encode_msgpack([at for at, _ in part])
    outcomes = encode_outcomes([outcome for _, outcome in part])
    return b"".join((_LENGTHS.pack(len(positions), len(outcomes)), positions, outcomes))


async def decode_parts(
    read: Callable[[int], Awaitable[bytes]], decode: Callable[[bytes], Awaitable[list[Any]]]
) -> AsyncGenerator[Ready]:
    """Yield the parts that `encode_part` encoded; `read` returns so many bytes of them, and none at the end.

    `decode` is `decode_outcomes`, awaited: wherever it does not hold up others.

    Raises:
        InputError: a part is not what `encode_part` returns.
        TooLarge: a part is larger than `MAX_PART`.
    """
    while header := await read(_LENGTHS.size):
        lengths = _LENGTHS.unpack(header)
        if sum(lengths) > MAX_PART:
            raise TooLarge(f"a part of the answer has more than {MAX_PART} bytes: ask for fewer rows in a request")
        positions, outcomes = [await decode(await read(length)) for length in lengths]
        yield list(zip(positions, outcomes, strict=True))


def encode_line(at: int, outcome: Any) -> bytes:
    """Return an outcome as a line of JSON: ``{"row": 0, "answer": ...}``, or with ``"error"`` a problem."""
    try:
        line = encode_json({"row": at, **_member(outcome)})
    except StepError as error:
        line = encode_json({"row": at, **_member(error)})
    return line + b"\n"


def _encoded(outcomes: list[Any], encode: Callable[[list[Any]], bytes]) -> bytes:
    try:
        return encode(outcomes)
    except StepError:
        errors = each_row(outcomes, lambda outcome: encode([outcome])).errors
        return encode([errors.get(i, outcome) for i, outcome in enumerate(outcomes)])


def _as_json(outcomes: list[Any]) -> bytes:
    return encode_json({"outcomes": [_member(each) for each in outcomes]})


def _member(outcome: Any) -> dict[str, Any]:
    return {"error": problem(outcome)} if isinstance(outcome, Exception) else {"answer": outcome}
