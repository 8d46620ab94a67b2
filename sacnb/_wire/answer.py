"""What comes back from SAC, read to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from requests.structures import CaseInsensitiveDict

from sacnb._endpoints import CSRF_HEADER, REQUEST_ID_HEADERS
from sacnb._wire.redact import redact_url
from sacnb.errors import BadAnswer, RetryOutcome

Expect = Literal["json", "xml", "csv", "any"]

# The session keeps what is in these to itself.
_KEPT_BACK: Final = frozenset({"set-cookie", CSRF_HEADER, "www-authenticate"})
_PEEK_BYTES: Final = 256
_BOM: Final = b"\xef\xbb\xbf"
# How a whole body begins and, for each beginning, ends, past blanks.
_FRAMES: Final[Mapping[str, Mapping[bytes, bytes]]] = {"json": {b"{": b"}", b"[": b"]"}, "xml": {b"<": b">"}}


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A good answer: 2xx, its body complete and decoded.

    ``url`` is the address it came from, to resolve links against; ``headers`` ignore case and are without cookies and
    tokens; ``server_date`` is its ``Date`` header, aware and in UTC; ``outcome`` says what it took to get it.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(compare=False)
    body: bytes
    request_id: str | None
    outcome: RetryOutcome
    server_date: datetime | None

    @property
    def content_type(self) -> str | None:
        """The ``Content-Type`` header, as it is."""
        return self.headers.get("Content-Type")

    def __repr__(self) -> str:
        return f"<Answer {self.status} {redact_url(self.url)} {len(self.body):,} bytes>"


# Looks at an answer while it can still be asked for again: BadAnswer(truncated=True) makes the session do that.
Check = Callable[[Answer], None]


@dataclass(frozen=True, slots=True, repr=False)
class Received:
    """One reply as it came, good or not; only the session's insides see it."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str | None
    server_date: datetime | None

    def answer(self, outcome: RetryOutcome) -> Answer:
        """The reply as an answer to give out."""
        kept = {name: value for name, value in self.headers.items() if name.lower() not in _KEPT_BACK}
        headers: Mapping[str, str] = CaseInsensitiveDict(kept)
        return Answer(self.url, self.status, headers, self.body, self.request_id, outcome, self.server_date)

    @property
    def is_page(self) -> bool:
        """Whether it is a web page, by its type or by its first bytes."""
        if "html" in self.headers.get("Content-Type", "").lower():
            return True
        head = self.body[:_PEEK_BYTES].removeprefix(_BOM).lstrip().lower()
        return head.startswith((b"<!doctype html", b"<html"))


def request_id(headers: Mapping[str, str]) -> str | None:
    """SAC's id of a request, under any of the names seen (unconfirmed)."""
    return next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), None)


def check_shape(answer: Answer, expect: Expect) -> None:
    """Raise BadAnswer if the body cannot be what was expected, ``truncated`` where its end is missing.

    A look at its two ends, which costs nothing; whoever parses it checks the rest.
    """
    if expect not in _FRAMES or (answer.status in {202, 204, 205} and not answer.body):
        return
    ends = _FRAMES[expect]
    head = answer.body[:_PEEK_BYTES].removeprefix(_BOM).lstrip() or answer.body.removeprefix(_BOM).lstrip()
    where = f"The answer from {redact_url(answer.url)}"
    if not head:
        raise BadAnswer(f"{where} is empty; expected {expect.upper()}.", truncated=True)
    if head[:1] not in ends:
        raise BadAnswer(
            f"{where} is not {expect.upper()} (its type is {answer.content_type or 'not said'}).",
            hint="Look at SAC_TENANT_URL: does it point at the tenant itself, and not at a portal or proxy?",
        )
    tail = answer.body[-_PEEK_BYTES:].rstrip() or answer.body.rstrip()
    if tail[-1:] != ends[head[:1]]:
        raise BadAnswer(f"{where} ends before its end ({len(answer.body):,} bytes came).", truncated=True)
