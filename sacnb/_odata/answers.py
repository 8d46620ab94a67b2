"""Turn an answer that is not what was asked for into a ``BadAnswer`` that says what came instead."""

from __future__ import annotations

import json
from typing import Final, NoReturn

from sacnb._wire.failures import read_problem
from sacnb.errors import BadAnswer

__all__ = ["BOM", "first_byte", "is_cut_short", "is_html", "refuse_foreign", "refuse_problem", "text_of"]

BOM: Final = b"\xef\xbb\xbf"
_BLANKS: Final = b" \t\r\n"


def first_byte(body: bytes) -> bytes:
    """The first byte that is neither a byte order mark nor a blank; empty where there is none."""
    start = len(BOM) if body.startswith(BOM) else 0
    # A page has megabytes, and its first kilobyte nearly always tells.
    return body[start : start + 1024].lstrip(_BLANKS)[:1] or body[start:].lstrip(_BLANKS)[:1]


def is_html(body: bytes) -> bool:
    """Whether ``body`` begins like a web page."""
    head = body[:1024].lower()
    return b"<html" in head or b"<!doctype html" in head


def text_of(body: bytes, what: str) -> str:
    """``body`` as text, without a byte order mark.

    Raises:
        BadAnswer: it is not UTF-8, which JSON always is; cut short where it ends within a character.
    """
    try:
        return body.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data"
        raise BadAnswer(f"The answer for {what} is not UTF-8: {error}.", truncated=cut) from error


def is_cut_short(text: str, error: Exception) -> bool:
    """Whether ``text``, which could not be parsed as JSON because of ``error``, may be the beginning of an object."""
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
    if is_html(body):
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
