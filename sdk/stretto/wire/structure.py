"""The structure of a msgpack message, checked before anything of it is made.

Decoding is compiled code that holds the interpreter: whatever it takes, everybody waits for. A message's length does
not say what it takes, since an empty list is one byte there and 56 in memory, and keys can be chosen so that each one
is compared with all others.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from stretto.wire.bounds import MAX_VALUES, too_many

SHORT: Final = 8192
"""The bytes of a message that can't do harm, whatever is in it."""

_STRINGS: Final = frozenset({*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB})
_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
_NUMBERS: Final = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_HEADERS: Final = {0xDC: 3, 0xDD: 5, 0xDE: 3, 0xDF: 5}
# Of strings and bytes, and of extensions: how many bytes their length has. Then extensions of a fixed length.
_LENGTHS: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTENSIONS: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


def _sizes() -> list[int]:
    """Return the bytes of a value by its first one, where that one says it; of a list or a map, those of its header."""
    sizes = [1] * 256
    for first in range(0xA0, 0xC0):
        sizes[first] = 1 + (first & 0x1F)
    for first, size in (_NUMBERS | _HEADERS | dict.fromkeys(_LENGTHS | _EXTENSIONS | _FIXED, 0)).items():
        sizes[first] = size
    return sizes


_SIZES: Final = _sizes()


def check_structure(body: bytes, nested: Set[int]) -> None:
    """Check how many values a message has, and that its maps have strings as keys.

    `nested` are the codes of the extension types that hold a message themselves. A message that is cut short or goes
    on after its end is left to the decoder.

    Raises:
        TooLarge: it has more than `MAX_VALUES` values.
        ValueError: a map has a key that is no string.
    """
    at, count, size = 0, 0, len(body)
    left, keyed = 1, False  # how many values the open list or map has left, keys too
    outer: list[tuple[int, bool]] = []
    while at < size:
        while not left and outer:
            left, keyed = outer.pop()
        count += 1
        if count > MAX_VALUES:
            raise too_many()
        first = body[at]
        if keyed and not left & 1 and first not in _STRINGS:
            raise ValueError("a map has a key that is no string")
        left -= 1
        step = _SIZES[first]
        if not step:
            step, held = _sized(body, at, first, nested)
        elif 0x80 <= first < 0xA0:
            held = (first & 0x0F) << (first < 0x90)
        elif 0xDC <= first < 0xE0:
            held = int.from_bytes(body[at + 1 : at + step], "big") << (first > 0xDD)
        else:
            held = 0
        at += step
        if held:
            outer.append((left, keyed))
            left, keyed = held, first in _MAPS


def _sized(body: bytes, at: int, first: int, nested: Set[int]) -> tuple[int, int]:
    """Return the bytes of a string, bytes or an extension, and 1 for a message in it, of which these are the header."""
    digits = _LENGTHS.get(first)
    if digits is not None:
        return 1 + digits + int.from_bytes(body[at + 1 : at + 1 + digits], "big"), 0
    digits = _EXTENSIONS.get(first, 0)
    code = int.from_bytes(body[at + 1 + digits : at + 2 + digits], "big")
    if code in nested:
        return 2 + digits, 1
    length = int.from_bytes(body[at + 1 : at + 1 + digits], "big") if digits else _FIXED[first]
    return 2 + digits + length, 0
