"""Read the object around the rows of an OData answer strictly, member by member.

An answer that is something else raises a ``BadAnswer`` that describes what came instead.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

from sacnb._http import is_web_page
from sacnb._wire.failures import read_problem
from sacnb.errors import BadAnswer

__all__ = [
    "DECODER",
    "WHAT",
    "Envelope",
    "first_byte",
    "is_cut_short",
    "read_envelope",
    "refuse_error_in",
    "refuse_foreign",
    "refuse_half_characters",
    "refuse_problem",
    "text_of",
]

_BLANK_BYTES: Final = b" \t\r\n"


def first_byte(body: bytes) -> bytes:
    """Return the first byte that is neither a byte order mark nor a blank; empty where there is none."""
    start = len(BOM_UTF8) if body.startswith(BOM_UTF8) else 0
    # Look at the first kilobyte first: a page has megabytes.
    return body[start : start + 1024].lstrip(_BLANK_BYTES)[:1] or body[start:].lstrip(_BLANK_BYTES)[:1]


def text_of(body: bytes, what: str) -> str:
    """Return ``body`` as text, without a byte order mark.

    Raises:
        BadAnswer: it is not UTF-8, which JSON always is; cut short where it ends within a character.
    """
    try:
        return body.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data"
        raise BadAnswer(f"The answer for {what} is not UTF-8: {error}.", truncated=cut) from error


# JSON can write each half of a pair alone; UTF-8, and with it a frame, cannot.
_HALF_CHARACTER: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def refuse_half_characters(body: bytes, value: Any) -> None:
    """Refuse half a character in the texts of *value*, which *body* was parsed to.

    Raises:
        BadAnswer: there is one.
    """
    if _HALF_CHARACTER.search(body):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise BadAnswer(f"An answer holds half a character, {error.object[error.start]!a}.") from None


def is_cut_short(text: str, error: Exception) -> bool:
    """Return whether ``text``, which is no JSON because of ``error``, may be the beginning of an object."""
    whole = text.rstrip()
    if not whole.endswith("}"):
        return True
    return isinstance(error, json.JSONDecodeError) and (error.pos >= len(whole) or error.msg.startswith("Unterminated"))


def refuse_foreign(body: bytes, what: str, expected: str, content_type: str | None = None) -> NoReturn:
    """Refuse ``body``, which does not begin as ``expected`` (``"JSON"``) does.

    Raises:
        BadAnswer: always; an empty answer counts as cut short.
    """
    if not first_byte(body):
        raise BadAnswer(f"The answer for {what} is empty where {expected} was expected.", truncated=True)
    if is_web_page(body):
        raise BadAnswer(
            f"A web page came for {what} where {expected} was expected.",
            hint="It is usually a login page: look at the tenant URL, and at the grants of the OAuth client.",
        )
    declared = f" (declared as {content_type})" if content_type else ""
    raise BadAnswer(f"The answer for {what} is not {expected}: it begins with {body[:24]!r}{declared}.")


def refuse_problem(body: bytes, content_type: str | None, what: str, *, in_mid_answer: bool = False) -> NoReturn:
    """Refuse an answer that holds an error object; the message is SAC's own, with its number.

    ``in_mid_answer`` says that rows were sent before SAC failed: asking again may help, as after a 5xx.

    Raises:
        BadAnswer: always.
    """
    said = read_problem(body, content_type).message or "(no message)"
    when = (
        "SAC failed in the middle of its answer" if in_mid_answer else "SAC answered with an error, though status 200,"
    )
    raise BadAnswer(f"{when} for {what}: {said}", truncated=in_mid_answer)


WHAT: Final = "a page of rows"

# Decimal, because int() refuses numbers of 5,000 digits, and only the decoder of the rows may judge those.
DECODER: Final = json.JSONDecoder(parse_int=Decimal, parse_float=Decimal, parse_constant=str)
_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_ERROR_MEMBER: Final = re.compile(r'"error"[ \t\r\n]*:[ \t\r\n]*(?=\{)')
# A server that fails in the middle of a response sends its error last, so searching the tail is enough.
_TAIL_CHARS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Envelope:
    """The members beside ``value``, and where in the text the array of rows begins and ends; 0 and 0 without it."""

    members: Mapping[str, Any]
    start: int
    end: int


def read_envelope(text: str) -> Envelope:
    """Read one JSON object with an array ``value``, and nothing after it.

    Some servers write ``null`` for an empty array, or leave it out; what tells such a page from something else is that
    nothing but annotations stands beside it.

    Raises:
        BadAnswer: it is cut short, has something after its end, has a member twice, is or holds an error object, or
            has no array ``value``.
    """
    try:
        members, extent, end = _members(text)
    except InvalidOperation:
        raise BadAnswer(f"The answer for {WHAT} holds a number with an exponent of 19 digits or more.") from None
    except (ValueError, RecursionError) as error:
        refuse_error_in(text)
        raise BadAnswer(
            f"The answer for {WHAT} is not valid JSON: {error}.", truncated=is_cut_short(text, error)
        ) from error
    found = members.get("error")
    if isinstance(found, dict) or (found is not None and extent is None):
        _refuse({"error": found} if extent else members, in_mid_answer=extent is not None)
    if end != len(text):
        refuse_error_in(text[end:])
        raise BadAnswer(f"The answer for {WHAT} continues after its end: {text[end : end + 24]!r}.")
    if extent is None and members.get("value") is None and _is_page(members):
        return Envelope({name: value for name, value in members.items() if name != "value"}, 0, 0)
    if extent is None:
        has = ", ".join(map(repr, members)) or "nothing"
        raise BadAnswer(
            f"The answer for {WHAT} has no array 'value', but {has}.",
            hint="An OData entity set does not answer like this: look at the tenant URL.",
        )
    for row in members.pop("value"):
        if _is_error_row(row):
            _refuse(row, in_mid_answer=True)
    return Envelope(members, *extent)


def refuse_error_in(text: str) -> None:
    """Report an error object in text that is no JSON as a whole, put where a row or the end should have been.

    Raises:
        BadAnswer: there is one.
    """
    tail = text[-_TAIL_CHARS:]
    for found in _ERROR_MEMBER.finditer(tail):
        try:
            error, _ = DECODER.raw_decode(tail, found.end())
        except (ValueError, RecursionError, InvalidOperation):
            continue
        _refuse({"error": error}, in_mid_answer=True)


def _members(text: str) -> tuple[dict[str, Any], tuple[int, int] | None, int]:
    """Return the object's members, the extent of its array ``value``, and where the object and its blanks end."""
    members: dict[str, Any] = {}
    extent: tuple[int, int] | None = None
    at = _expect("{", text, _skip(text, 0))
    closing = text[at : at + 1] == "}"
    while not closing:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("Expecting a name in quotes", text, at)
        name, at = DECODER.raw_decode(text, at)
        start = _expect(":", text, _skip(text, at))
        if name in members:
            raise ValueError(f"{name!r} is there twice")
        members[name], at = DECODER.raw_decode(text, start)
        if name == "value" and isinstance(members[name], list):
            extent = (start, at)
        at = _skip(text, at)
        closing = text[at : at + 1] == "}"
        if not closing:
            at = _expect(",", text, at)
    return members, extent, _skip(text, at + 1)


def _expect(character: str, text: str, at: int) -> int:
    """Return the position after ``character`` and the blanks that follow."""
    if text[at : at + 1] != character:
        raise json.JSONDecodeError(f"Expecting {character!r}", text, at)
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def _is_page(members: Mapping[str, Any]) -> bool:
    """Return whether the members are those of a page: ``value`` or an annotation, and nothing else."""
    others = [name for name in members if "@" not in name and not name.startswith("odata.")]
    return others == ["value"] or (not others and bool(members))


def _is_error_row(row: object) -> bool:
    """Return whether an element of ``value`` is an error object: rows have more columns, and hold no objects."""
    if not isinstance(row, dict) or not isinstance(row.get("error"), dict):
        return False
    return all(name == "error" or "@" in name for name in row)


def _refuse(answer: Mapping[str, Any], *, in_mid_answer: bool) -> NoReturn:
    refuse_problem(json.dumps(answer, default=str).encode(), "application/json", WHAT, in_mid_answer=in_mid_answer)
