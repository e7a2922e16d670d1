"""The only codec: JSON for people, msgpack for Stretto's own client, and errors as problems."""

from stretto.wire.bounds import MAX_DEPTH
from stretto.wire.json import JSON, decode_json, encode_json
from stretto.wire.msgpack import MSGPACK, decode_msgpack, encode_msgpack, encode_row, encode_rows
from stretto.wire.outcomes import decode_outcomes, encode_outcomes, encode_outcomes_json
from stretto.wire.problem import PROBLEM, from_problem, problem

__all__ = [
    "JSON",
    "MAX_DEPTH",
    "MSGPACK",
    "PROBLEM",
    "decode_json",
    "decode_msgpack",
    "decode_outcomes",
    "encode_json",
    "encode_msgpack",
    "encode_outcomes",
    "encode_outcomes_json",
    "encode_row",
    "encode_rows",
    "from_problem",
    "problem",
]
