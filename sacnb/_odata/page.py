"""Cut a page: the rows as they stand, the link to the next page, the count; or say why it cannot be trusted.

A page is 8 MB of rows and 300 bytes of the rest. ``cut_page`` finds the ends of the array of rows from both ends of the
page and parses only what is around it, some 20 times faster than a parse of everything, and as strict: each step is
taken only where it can be proven right (``_cut_fast`` has the proof), and otherwise the whole page is parsed.

Where the next page is: follow ``@odata.nextLink``, but only on the tenant's own origin, and never in a circle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from sacnb._http import Origin
from sacnb._odata.envelope import (
    BOM,
    DECODER,
    WHAT,
    first_byte,
    read_envelope,
    refuse_error_in,
    refuse_foreign,
    text_of,
)
from sacnb.errors import BadAnswer

__all__ = ["MAX_LINK_CHARS", "Page", "cut_page", "next_url", "read_list"]

# Longer than any server would take back.
MAX_LINK_CHARS: Final = 32_768
# Python drops tabs and line ends from a URL, some read a backslash as a slash: what is checked must be what is sent.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\\]")


def next_url(current_url: str, link: str, *, seen: Container[str] = (), origin: str | None = None) -> str:
    """The URL that ``link``, found in the answer to ``current_url``, stands for.

    Links may be absolute, root-relative or relative to ``current_url`` (all three are said to occur). The URL must
    have the scheme, host and port of ``current_url``, and of ``origin`` (the tenant URL) where that is given, because
    the bearer token will be sent there; and it must not be ``current_url`` or one of those ``seen``, which the caller
    keeps.

    The link is requested as it stands, with no option added or changed. Two things happen to it all the same: requests
    percent-encodes what may not stand in a URL, such as blanks; and a bare ``#``, which would end the URL there, is
    written ``%23``, because in a link to a page it can only be the member "unassigned" in a repeated filter.

    Raises:
        BadAnswer: the link is empty, too long, no URL, leads elsewhere, or leads back.
    """
    if not link.strip() or len(link) > MAX_LINK_CHARS or _UNSAFE.search(link):
        raise _bad(f"is empty, longer than {MAX_LINK_CHARS} characters, or has characters in it that no link may have")
    written = link.replace("#", "%23")
    try:
        target = written if urlsplit(written).scheme else urljoin(current_url, written)
    except ValueError as error:
        raise _bad(f"is not a URL ({error})") from error
    found = Origin.of(target)
    for home in (current_url, origin):
        if home is not None and (found is None or found != Origin.of(home)):
            raise _bad(f"leads to {_shown(target)} and not to {_shown(home)}, so it was not followed")
    if target == current_url or target in seen:
        raise _bad("leads back to a page that was already read, so the pages would never end")
    return target


def _shown(url: str) -> str:
    """Scheme, host and port of a URL, without a user name or password that may be in front of them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _bad(why: str) -> BadAnswer:
    return BadAnswer(f"The link to the next page {why}.", hint="Nothing was kept. Report it to who runs the tenant.")


# Below this size a full parse takes a millisecond, and needs no proof.
_SMALL_BYTES: Final = 65_536
# A link that repeats a long filter may stand before the rows.
_HEAD_BYTES: Final = 65_536
_TAIL_BYTES: Final = 262_144
_VALUE: Final = b'"value":['
_ROW_AFTER_ROW: Final = b'},{"'
_NAME_START: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@")
_ARRAY_OVER: Final = re.compile(rb'\][ \t\r\n]*(?:,[ \t\r\n]*"|\})')
_ERROR_NAME: Final = re.compile(rb'"error"[ \t\r\n]*:')
_NO_ROWS: Final = re.compile(rb"\[[ \t\r\n]*\]")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows: ``body`` is the whole answer, and the array of rows is ``body[start:end]`` with its brackets.

    ``next_link`` is the link to the next page as SAC wrote it, ``None`` on the last one; ``delta_link`` comes on the
    last page of a read that tracks changes. ``count`` is the number of rows over all pages, and ``rows_in_page`` the
    number on this one; both are ``None`` where SAC does not say.
    """

    body: bytes = field(repr=False)
    start: int
    end: int
    next_link: str | None = None
    delta_link: str | None = None
    count: int | None = None
    rows_in_page: int | None = None

    @property
    def rows(self) -> bytes:
        """The JSON array of rows. A copy: ``bytes`` cannot share their memory."""
        return self.body[self.start : self.end]

    @property
    def view(self) -> memoryview:
        """The JSON array of rows, without a copy."""
        return memoryview(self.body)[self.start : self.end]

    @property
    def is_empty(self) -> bool:
        """Whether the page has no rows."""
        return _NO_ROWS.fullmatch(self.body, self.start, self.end) is not None


def cut_page(body: bytes, *, look_inside: bool = True) -> Page:
    """The rows, links and count of one page. The rows are left to the decoder, which has to be strict too.

    Without ``look_inside`` the rows of a large page are not searched for an error object, which takes most of the time:
    a strict decoder finds it as well, only later.

    Names of annotations are matched without regard to case, with or without ``odata.``: SAP writes both
    ``@odata.deltaLink`` and ``@odata.deltalink``. They may stand before or after the rows; SAC puts links at the end.

    Raises:
        BadAnswer: the answer is empty, a web page, cut short, has anything after its end, holds an error object in
            place of, after or among the rows, or has no array ``value``. ``truncated`` says that asking again may help.
    """
    if first_byte(body) != b"{":
        refuse_foreign(body, WHAT, "JSON")
    fast = _cut_fast(body, look_inside=look_inside) if len(body) > _SMALL_BYTES else None
    return fast or _cut_slow(body)


def read_list(body: bytes) -> list[dict[str, Any]]:
    """The objects of an ordinary list: namespaces, providers, a service document, members of a dimension.

    Raises:
        BadAnswer: as ``cut_page`` does, or an element is not an object.
    """
    if first_byte(body) != b"{":
        refuse_foreign(body, "a list", "JSON")
    try:
        rows = json.loads(_cut_slow(body).rows)
    except ValueError as error:
        raise BadAnswer(f"A list holds a number that cannot be read: {error}.") from error
    for at, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadAnswer(f"Element {at} of a list is {row!r:.80} where an object was expected.", row=at)
    return rows  # type: ignore[no-any-return]


def _cut_slow(body: bytes) -> Page:
    """Parse everything."""
    try:
        text = text_of(body, WHAT)
    except BadAnswer:
        refuse_error_in(body.decode(errors="replace"))  # SAC may have given up in the middle of a character
        raise
    envelope = read_envelope(text)
    start = (len(BOM) if body.startswith(BOM) else 0) + len(text[: envelope.start].encode())
    end = start + len(text[envelope.start : envelope.end].encode())
    return _page(body, start, end, envelope.members)


def _cut_fast(body: bytes, *, look_inside: bool = True) -> Page | None:
    """Cut without parsing the rows, or ``None`` where that cannot be proven right.

    Let the page be head, rows, tail. The head ends with the first ``"value":``, and head + ``[]`` + tail are parsed:
    the ``[]`` has to be the top-level member ``value``. So if the rows are a valid array, which the decoder checks,
    then the page is valid and this is its array: there is no other way to read it.

    What is left to show is that a page cut short, or an error put among the rows, is found here and not there. The last
    ``},{"a`` in the page lies outside of any string, because the quote could not end one there; from it, the last row
    is parsed and has to be followed by ``]`` and then by the tail. Before that, no ``]`` may look like the end of the
    array, and no name be ``error``.
    """
    start = body.find(_VALUE, 0, _HEAD_BYTES) + len(_VALUE) - 1
    boundary = body.rfind(_ROW_AFTER_ROW, max(start, len(body) - _TAIL_BYTES), len(body) - 1)
    if start < len(_VALUE) or boundary < 0 or body[boundary + len(_ROW_AFTER_ROW)] not in _NAME_START:
        return None
    skipped = len(BOM) if body.startswith(BOM) else 0
    try:
        ending = body[boundary + 2 :].decode()
        _, stop = DECODER.raw_decode(ending)
        if ending[stop : stop + 1] != "]":
            return None
        end = boundary + 2 + len(ending[:stop].encode()) + 1
        head = body[skipped:start].decode()
        envelope = read_envelope(f"{head}[]{ending[stop + 1 :]}")
    except (ValueError, RecursionError, BadAnswer):
        return None  # The slow way finds out what is wrong.
    if envelope.start != len(head) or (look_inside and _is_doubtful_inside(body, start, end)):
        return None
    return _page(body, start, end, envelope.members)


def _is_doubtful_inside(body: bytes, start: int, end: int) -> bool:
    """Whether there may be an error object among the rows, or something that looks like the end of their array."""
    if _ERROR_NAME.search(body, start, end):
        return True
    # Most pages have no other "]" at all, and looking for one byte is 20 times faster.
    return body.find(b"]", start, end - 1) >= 0 and _ARRAY_OVER.search(body, start, end - 1) is not None


def _page(body: bytes, start: int, end: int, members: Mapping[str, Any]) -> Page:
    annotations: dict[str, Any] = {}
    for name, value in members.items():
        if "@" not in name and not name.startswith("odata."):
            continue
        short = name.casefold().removeprefix("@").removeprefix("odata.")
        if annotations.setdefault(short, value) != value:
            raise BadAnswer(f"The answer for {WHAT} has {name!r} twice, with two values.")
    return Page(
        body=body,
        start=start,
        end=end,
        next_link=_link(annotations.get("nextlink"), "nextLink"),
        delta_link=_link(annotations.get("deltalink"), "deltaLink"),
        count=_count(annotations.get("count")),
        rows_in_page=_number(annotations.get("des.entitiesinpage")),
    )


def _link(value: object, name: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise BadAnswer(f"The {name} of {WHAT} is {value!r} where a link was expected.")


def _count(value: object) -> int | None:
    count = _number(value)
    if count is None and value is not None:
        raise BadAnswer(f"The count of {WHAT} is {value!r} where a number of rows was expected.")
    return count


def _number(value: object) -> int | None:
    """A number of rows; SAC writes some of them as strings."""
    return int(str(value)) if isinstance(value, str | Decimal) and _DIGITS.fullmatch(str(value)) else None
