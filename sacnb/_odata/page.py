"""Cut a page into its rows, the link to the next page and the count, or raise if it cannot be trusted.

A page has megabytes of rows and 300 bytes of the rest. ``cut_page`` finds both ends of the array of rows and parses
only what is around it, some 20 times faster than a full parse and as strict: each step is taken only where it is proven
right (see ``_cut_fast``), otherwise the whole page is parsed. Links are followed on the tenant's own origin only, and
never in a circle.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from sacnb._http import Origin, SeenLinks
from sacnb._odata.envelope import (
    DECODER,
    WHAT,
    first_byte,
    read_envelope,
    refuse_error_in,
    refuse_foreign,
    refuse_half_characters,
    text_of,
)
from sacnb.errors import BadAnswer

if TYPE_CHECKING:
    from sacnb._settings.variables import Limits
    from sacnb._wire.message import Answer

__all__ = ["MAX_LINK_CHARS", "Page", "cut_page", "next_page", "next_url", "read_list", "read_pages", "resolved_link"]

_NO_CONTENT: Final = frozenset({204, 205})
# Good statuses whose body is not the whole answer.
_UNFINISHED: Final = {202: "is not ready yet (202 Accepted)", 206: "is only a part of it (206 Partial Content)"}
# No server accepts longer addresses.
MAX_LINK_CHARS: Final = 32_768
# Python drops tabs and line ends from a URL, some parsers read a backslash as a slash: check exactly what is sent.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\\]")


def next_page(page: Page, current_url: str, *, seen: Container[str] = (), origin: str | None = None) -> str | None:
    """Return the URL of the page after *page*, which came from *current_url*; ``None`` where *page* is the last one.

    A page without rows whose link leads back is the last one too. Raises as ``next_url`` does.
    """
    if page.next_link is None:
        return None
    target = resolved_link(current_url, page.next_link, origin)
    if page.is_empty and (target == current_url or target in seen):
        return None
    return next_url(current_url, page.next_link, seen=seen, origin=origin)


def next_url(current_url: str, link: str, *, seen: Container[str] = (), origin: str | None = None) -> str:
    """Return the URL that ``link``, found in the answer to ``current_url``, stands for.

    Links may be absolute, or relative to the host, the service root or ``current_url``. They must lead to the scheme,
    host and port of ``current_url``, and of ``origin`` (the tenant URL) where that is given, because the bearer token
    is sent there; and not to ``current_url`` or one of the URLs in ``seen``, which the caller keeps. A link that a
    gateway wrote with ``http:`` or with the tenant's other host (with or without ``.api``) is followed on the host and
    over the scheme that was asked.

    The link is requested as it stands, with no option added or changed, but for two things: requests percent-encodes
    what may not stand in a URL, such as blanks; and a bare ``#``, which would end the URL, becomes ``%23``, because in
    a link to a page it can only be the member "unassigned" in a repeated filter.

    Raises:
        BadAnswer: The link is empty, too long, no URL, leads elsewhere, or leads back.
    """
    target = resolved_link(current_url, link, origin)
    if target == current_url or target in seen:
        raise _bad("leads back to a page that was already read, so the pages would never end")
    return target


def resolved_link(current_url: str, link: str, origin: str | None) -> str:
    """Return the URL that ``link`` stands for, as ``next_url`` does, wherever it leads on the tenant."""
    if not link.strip() or len(link) > MAX_LINK_CHARS or _UNSAFE.search(link):
        raise _bad(f"is empty, longer than {MAX_LINK_CHARS} characters, or has characters in it that no link may have")
    written = link.strip().replace("#", "%23")
    try:
        target = _same_resource(current_url, written) or (
            written if urlsplit(written).scheme else urljoin(current_url, written)
        )
        parts = urlsplit(target)
    except ValueError as error:
        raise _bad(f"is not a URL ({error})") from error
    found = Origin.of(target)
    for home in (current_url, origin):
        if home is not None and not _is_same_tenant(found, Origin.of(home)):
            raise _bad(f"leads to {_shown(target)} and not to {_shown(home)}, so it was not followed")
    if parts.path.startswith("//"):  # some parsers take what follows for a host
        raise _bad("has an address that not everybody reads the same way, so it was not followed")
    if found == Origin.of(current_url):
        return target
    asked = urlsplit(current_url)
    return urlunsplit(parts._replace(scheme=asked.scheme, netloc=asked.netloc))


def _same_resource(current_url: str, link: str) -> str | None:
    """Return the URL of a link relative to any part of the path that was asked, such as the service root.

    OData lets links be relative to the address of the metadata, which is one or several folders above the page.
    """
    path, _, query = link.partition("?")
    if not path or path.startswith("//") or "://" in path:
        return None
    asked = urlsplit(current_url)
    wanted = "/" + unquote(path).removeprefix("./").lstrip("/")
    if not unquote(asked.path).endswith(wanted):
        return None
    return urlunsplit((asked.scheme, asked.netloc, asked.path, query, ""))


def _is_same_tenant(found: Origin | None, home: Origin | None) -> bool:
    """Return whether a link stays with the tenant: at its address, or at another spelling of it that gateways write."""
    if found is None or home is None or found == home:
        return found == home and found is not None
    if home.scheme != "https" or found.scheme not in {"https", "http"}:
        return False
    is_own_port = found.port == home.port or (found.scheme == "http" and found.port == 80)
    return is_own_port and _without_api(found.host) == _without_api(home.host)


def _without_api(host: str) -> list[str]:
    """Return the labels of a host without ``api``: a tenant is <tenant>.<region>... and <tenant>.api.<region>..."""
    labels = host.split(".")
    return [labels[0], *labels[2:]] if labels[1:2] == ["api"] else labels


def _shown(url: str) -> str:
    """Return scheme, host and port of a URL, without a user name or password that may be in front of them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _bad(why: str) -> BadAnswer:
    return BadAnswer(
        f"The link to the next page {why}.", hint="No data was saved. Report this to your SAC administrator."
    )


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
        """Return whether the page has no rows."""
        return _NO_ROWS.fullmatch(self.body, self.start, self.end) is not None


def cut_page(body: bytes, *, status: int = 200, look_inside: bool = True) -> Page:
    """Return the rows, links and count of one page. The rows are left to the decoder, which has to be strict too.

    With the ``status`` 204 or 205 an answer has no body, and is a page without rows.

    Without ``look_inside`` the rows of a large page are not searched for an error object, which takes most of the time:
    a strict decoder finds it as well, only later.

    Names of annotations are matched without regard to case, with or without ``odata.``: SAP writes both
    ``@odata.deltaLink`` and ``@odata.deltalink``. They may stand before or after the rows; SAC puts links at the end.

    Raises:
        BadAnswer: the answer is empty, a web page, cut short, has anything after its end, holds an error object in
            place of, after or among the rows, or has no array ``value``. ``truncated`` says that asking again may help.
    """
    if status in _NO_CONTENT and not body:
        return Page(b"[]", 0, 2)
    _refuse_unfinished(status)
    if first_byte(body) != b"{":
        refuse_foreign(body, WHAT, "JSON")
    fast = _cut_fast(body, look_inside=look_inside) if len(body) > _SMALL_BYTES else None
    return fast or _cut_slow(body)


def read_list(body: bytes, *, status: int = 200) -> list[dict[str, Any]]:
    """Return the objects of an ordinary list: namespaces, providers, a service document, members of a dimension.

    Raises:
        BadAnswer: as ``cut_page`` does, or an element is not an object, or the page says that it has more or fewer.
    """
    if status in _NO_CONTENT and not body:
        return []
    _refuse_unfinished(status)
    if first_byte(body) != b"{":
        refuse_foreign(body, "a list", "JSON")
    page = _cut_slow(body)
    try:
        rows = json.loads(page.rows)
    except ValueError as error:
        raise BadAnswer(f"A list holds a number that cannot be read: {error}.") from error
    if page.rows_in_page not in {None, len(rows)}:
        raise BadAnswer(f"A list has {len(rows):,} rows, and says of itself {page.rows_in_page:,}.", truncated=True)
    for at, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadAnswer(f"Element {at} of a list is {row!r:.80} where an object was expected.", row=at)
    refuse_half_characters(body, rows)
    return rows  # type: ignore[no-any-return]


def read_pages(
    get: Callable[[str], Answer], url: str, limits: Limits, *, origin: str | None = None
) -> list[dict[str, Any]]:
    """Return all rows of an ordinary list that begins at *url*, in a loop over its pages; ``get`` asks for one.

    Raises:
        BadAnswer: as ``read_list`` and ``next_url`` do; the list is longer than *limits*; and what ``get`` raises.
    """
    rows: list[dict[str, Any]] = []
    seen, empty = SeenLinks(), 0
    following: str | None = url
    while following is not None:
        seen.add(following)
        answer = get(following)
        found = read_list(answer.body, status=answer.status)
        rows += found
        empty = 0 if found else empty + 1
        if len(rows) > limits.list_rows:
            raise BadAnswer(
                f"A list has more than {limits.list_rows:,} rows (SAC_MAX_LIST_ROWS); the rest was not read.",
                hint="If the list is right, raise SAC_MAX_LIST_ROWS.",
            )
        if empty >= limits.empty_pages:
            raise BadAnswer(
                f"SAC sent {empty:,} pages of a list without a row one after the other (SAC_MAX_EMPTY_PAGES).",
                hint="Report it to your SAC administrator, or raise SAC_MAX_EMPTY_PAGES if the list is right.",
            )
        page = cut_page(answer.body, status=answer.status)
        following = next_page(page, answer.url, origin=origin, seen=seen)
    return rows


def _refuse_unfinished(status: int) -> None:
    if status in _UNFINISHED:
        raise BadAnswer(f"The answer for {WHAT} {_UNFINISHED[status]}.", truncated=True)


def _cut_slow(body: bytes) -> Page:
    """Parse everything."""
    try:
        text = text_of(body, WHAT)
    except BadAnswer:
        refuse_error_in(body.decode(errors="replace"))  # SAC may have given up in the middle of a character
        raise
    envelope = read_envelope(text)
    if envelope.end == 0:
        return _page(b"[]", 0, 2, envelope.members)
    start = (len(BOM_UTF8) if body.startswith(BOM_UTF8) else 0) + len(text[: envelope.start].encode())
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
    skipped = len(BOM_UTF8) if body.startswith(BOM_UTF8) else 0
    try:
        ending = body[boundary + 2 :].decode()
        _, stop = DECODER.raw_decode(ending)
        if ending[stop : stop + 1] != "]":
            return None
        end = boundary + 2 + len(ending[:stop].encode()) + 1
        head = body[skipped:start].decode()
        envelope = read_envelope(f"{head}[]{ending[stop + 1 :]}")
    except (ValueError, RecursionError, InvalidOperation, BadAnswer):
        return None  # _cut_slow finds out what is wrong.
    if envelope.start != len(head) or (look_inside and _is_doubtful_inside(body, start, end)):
        return None
    return _page(body, start, end, envelope.members)


def _is_doubtful_inside(body: bytes, start: int, end: int) -> bool:
    """Return whether the rows may hold an error object, or something that looks like the end of their array."""
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
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        return value
    raise BadAnswer(f"The {name} of {WHAT} is {value!r} where a link was expected.")


def _count(value: object) -> int | None:
    count = _number(value)
    if count is None and value is not None:
        raise BadAnswer(f"The count of {WHAT} is {value!r} where a number of rows was expected.")
    return count


def _number(value: object) -> int | None:
    """Read a number of rows; SAC writes some of them as strings."""
    return int(str(value)) if isinstance(value, str | Decimal) and _DIGITS.fullmatch(str(value)) else None
