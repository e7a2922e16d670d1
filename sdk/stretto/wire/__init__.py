"""The only codec: JSON for people, msgpack for Stretto's own client, and errors as problems."""

from stretto.wire.bounds import MAX_DEPTH
from stretto.wire.json import JSON, decode_json, encode_json
from stretto.wire.msgpack import MSGPACK, decode_msgpack, encode_msgpack, encode_row, encode_rows
from stretto.wire.outcomes import (
    JSON_LINES,
    MSGPACK_PARTS,
    decode_outcomes,
    decode_parts,
    encode_line,
    encode_outcomes,
    encode_outcomes_json,
    encode_part,
)
from stretto.wire.problem import PROBLEM, from_problem, problem

__all__ = [
    "JSON",
    "JSON_LINES",
    "MAX_DEPTH",
    "MSGPACK",
    "MSGPACK_PARTS",
    "PROBLEM",
    "decode_json",
    "decode_msgpack",
    "decode_outcomes",
    "decode_parts",
    "encode_json",
    "encode_line",
    "encode_msgpack",
    "encode_outcomes",
    "encode_outcomes_json",
    "encode_part",
    "encode_row",
    "encode_rows",
    "from_problem",
    "problem",
]
