"""What a server demands of a request."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from stretto.errors import TooLarge, Unauthorized

MAX_BYTES = 16 * 2**20
MAX_ROWS = 10_000
_MAX_PENDING = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds on a request, and the tokens of which it needs one.

    `max_bytes` bounds its body and `max_rows` its rows. `timeout` is the most seconds that a request has, also one that
    names more or none. Without `tokens`, everybody is admitted.

    Raises:
        ValueError: a token is empty, or `tokens` is a single string.
    """

    max_bytes: int = MAX_BYTES
    max_rows: int = MAX_ROWS
    timeout: float | None = None
    tokens: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.tokens, str) or not all(self.tokens):
            raise ValueError("tokens is a list of bearer tokens, none of them empty")

    @property
    def max_pending(self) -> int:
        """The bytes of all long bodies that are read, decoded and answered at a time."""
        return max(_MAX_PENDING, self.max_bytes)

    def check_bytes(self, size: int) -> None:
        """Raise `TooLarge` for a body of more than `max_bytes`."""
        if size > self.max_bytes:
            raise TooLarge(
                f"the body has more than {self.max_bytes} bytes: send fewer rows in a request",
                expected=f"at most {self.max_bytes} bytes",
            )

    def check_rows(self, count: int) -> None:
        """Raise `TooLarge` for more than `max_rows` rows."""
        if count > self.max_rows:
            raise TooLarge(
                f"{count} rows are more than this server takes in a request", expected=f"at most {self.max_rows} rows"
            )

    def check_token(self, authorization: bytes) -> None:
        """Raise `Unauthorized` unless the header holds one of the tokens."""
        scheme, _, token = authorization.partition(b" ")
        # Every token is compared, each in constant time: the time taken reveals nothing about them.
        matches = [hmac.compare_digest(token.strip(), each.encode()) for each in self.tokens]
        if scheme.lower() != b"bearer" or not any(matches):
            which = "a wrong" if authorization else "no"
            raise Unauthorized(
                f"the request has {which} bearer token: send Authorization: Bearer TOKEN, or pass token="
            )
