"""Change bytes in the ways in which answers and files go wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Final

MOST_BYTES: Final = 20_000
# What parsers stumble over: ends of texts, numbers beyond any type, halves of characters, other kinds of values.
_TOKENS: Final = tuple(
    text.encode("utf-8", "surrogatepass")
    for text in (
        *"\"'\\{}[](),:;=<>&#%/?@+-. \t\r\n\0",
        *("null", "true", "NaN", "-Infinity", "{}", "[]", '""', "[[", "]]", "},{", '"},{"', '{"', '"}', "\\u0000"),
        *("\\ud800", "\\udc00\\ud800", "\ud800", "é", "\u202e", "\ufeff", "&#0;", "&amp;", "<!--", "]]>", "<![CDATA["),
        *(
            "0",
            "-0",
            "1e999",
            "1e-999",
            "1e9999999999",
            "9" * 30,
            "9" * 5000,
            "-1",
            "0.1",
            "2147483648",
            "1" + "0" * 77,
        ),
        *(
            '"value":[',
            '"@odata.nextLink":"',
            '"@odata.count":',
            '"error":{',
            '"error":"',
            "//",
            "../",
            "http://",
            "%2e",
        ),
        *("'", "''", "\\'", "\\n", "${x}", "export ", "[x]", "Bearer ", 'error="', "expires_in", ".." * 20, "\x1b[2J"),
    )
)
_NUMBER: Final = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return *data* after one or several changes; some splice it with one of *others*."""
    for _ in range(1 + min(int(rng.expovariate(0.7)), 8)):
        data = rng.choice(_CHANGES)(data, others, rng)
    return data[:MOST_BYTES]


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + 1 + int(rng.expovariate(1 / 12)))


def _flip(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _other_byte(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(1) + data[at + 1 :]


def _insert(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_TOKENS) + data[at:]


def _replace(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.choice(_TOKENS) + data[end:]


def _delete(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _double(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] + data[end:]


def _move(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    rest, at = data[:start] + data[end:], rng.randrange(len(data) + 1)
    return rest[:at] + data[start:end] + rest[at:]


def _cut(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _splice(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _number(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    one = rng.choice(found)
    return (
        data[: one.start()]
        + rng.choice((b"0", b"-1", b"1e400", b"9" * 20, b"9" * 4400, b"null", b"[]"))
        + data[one.end() :]
    )


def _repeat(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    at, token = rng.randrange(len(data) + 1), rng.choice(_TOKENS)
    return data[:at] + token * (MOST_BYTES // 2 // len(token)) + data[at:]


_Change = Callable[[bytes, Sequence[bytes], random.Random], bytes]
_EVERY: Final[tuple[_Change, ...]] = (
    _flip,
    _other_byte,
    _insert,
    _replace,
    _delete,
    _double,
    _move,
    _cut,
    _splice,
    _number,
)
# Repeating makes long inputs, which are slow; a few of them do.
_CHANGES: Final[tuple[_Change, ...]] = (*_EVERY * 4, _repeat)
