"""Take everything out of a recording that is nobody's business: the one place it goes through before it is saved.

It runs when the cassette is saved, on copies: the live session keeps its real token, and what was learned from the
last request (a token, a cookie) is also taken out of the first. Three layers, each of which would do alone for most:

* by place: of the headers only a few harmless ones are kept, and a token exchange is written anew;
* by value: secrets that were seen on their way (in headers, forms and token replies) or are known from the settings,
  and the tenant's hosts and name, wherever they stand and however they are encoded;
* by name and shape: what ``sacnb.wire.redact`` knows.

Data stays data: in rows, master data and metadata nothing is changed but what was learned, and values of keys that
are called like a secret. Nothing in two recordings of the same answers should differ by chance: ids of single requests
and processing times are made the same, and the time of the recording stands in the cassette once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from sacnb._auth.headers import read_http_date, read_retry_after_s
from sacnb._auth.token import utc_now
from sacnb._endpoints import CSRF_HEADER, REPLAY_TOKEN_URL
from sacnb._wire.redact import MASK, redact_body, redact_data, redact_headers, redact_url
from sacnb.errors import ReplayError
from sacnb.replay.known import TENANT_NAME, Known
from sacnb.replay.library import Request, Response, is_token
from sacnb.replay.scan import scan_text

_log = logging.getLogger("sacnb.replay")

_REQUEST_HEADERS: Final = ("Accept", "Content-Type")
_RESPONSE_HEADERS: Final = (
    "Allow",
    "Content-Type",
    CSRF_HEADER,
    "ETag",
    "Link",
    "Location",
    "OData-Version",
    "Preference-Applied",
    "Retry-After",
    "WWW-Authenticate",
)
# What every token becomes. The player gives each reply a token of its own, in the mask's place.
TOKEN_REPLY: Final = b'{"access_token":"%s","token_type":"bearer","expires_in":3600}' % MASK.encode()

_DATA: Final = re.compile(r"json|csv|xml", re.IGNORECASE)
_ELAPSED: Final = re.compile(r'("@des\.processingTimeInMilliseconds":\s*"?)\d+')
# SAC's error.code is an id of the single request.
_CORRELATION_ID: Final = re.compile(r'("code":\s*")[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?=")')
_NO_ID: Final = "00000000-0000-0000-0000-000000000000"


class Scrubber:
    """Scrubs what is to be saved of all that is ``known``."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._masked_answers = 0

    def __call__(self, request: Request, response: Response) -> tuple[Request, Response]:
        """One interaction as it may be kept, both changed in place; vcrpy calls it before it saves."""
        if is_token(request):
            grant = dict(parse_qsl((request.body or b"").decode("utf-8", "replace"))).get("grant_type", "")
            request.uri, request.body = REPLAY_TOKEN_URL, f"grant_type={grant}"
        else:
            request.uri = redact_url(self._known.hide(request.uri, names=False))
            if request.body:
                text, encoding = _decoded(request.body)
                text = redact_body(self._known.hide(text, names=False), request.headers.get("Content-Type"))
                request.body = text.encode(encoding)
        if is_token(request) and _is_success(response):
            response["body"]["string"] = TOKEN_REPLY
        else:
            self._scrub_body(response)
        request.headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        response["headers"] = dict(self._headers(response["headers"]))
        return request, response

    def _scrub_body(self, response: Response) -> None:
        body = response["body"]["string"]
        if not body:
            return
        content_type = next(iter(_values(response["headers"], "content-type")), "")
        text, encoding = _decoded(body)
        text = self._known.hide(text, names=True)
        is_data = _is_success(response) and _DATA.search(content_type) is not None
        redacted = redact_data(text) if is_data else redact_body(text, content_type)
        self._masked_answers += is_data and redacted != text
        text = _CORRELATION_ID.sub(rf"\g<1>{_NO_ID}", _ELAPSED.sub(r"\g<1>0", redacted))
        response["body"]["string"] = text.encode(encoding)

    def _headers(self, headers: Mapping[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
        date = read_http_date(next(iter(_values(headers, "date")), None))
        for name in _RESPONSE_HEADERS:
            values = _values(headers, name)
            if not values:
                continue
            if name == "Retry-After":
                # A date would lie in the past when it is replayed.
                seconds = read_retry_after_s(values[0], server_date=date, now=utc_now())
                values = [str(round(seconds))] if seconds is not None else values
            yield name, [redact_headers({name: self._known.hide(value, names=True)})[name] for value in values]

    def check(self, text: str) -> None:
        """The last look, at the cassette's text: raise ReplayError if anything is left in it, and warn of doubts."""
        asked_for = self._known.asked_for()
        if asked_for and not self._known.is_own_name:
            raise ReplayError(
                f"The name {asked_for[0]!r} cannot be hidden: the recorded requests themselves ask for it.",
                hint="Leave it out of hide=[...]; nothing was saved.",
            )
        left = self._known.left_in(text) + [f"{finding.kind} in line {finding.line}" for finding in scan_text(text)]
        if left:
            raise ReplayError(
                f"The recording was thrown away, since this is left in it: {', '.join(dict.fromkeys(left))}.",
                hint="Name the value in secrets=[...]; and please report it, with the kind of request, not the value.",
            )
        if self._masked_answers:
            _log.warning(
                "Values of keys that are called like a secret, or that look like a token, were masked; "
                "answers changed: %d.",
                self._masked_answers,
            )
        if asked_for:
            _log.warning("The tenant's name %r is part of the requests, and stays in the cassette.", asked_for[0])
        if self._known.hidden_names:
            _log.warning(
                "The tenant's name was replaced by %r in %d places of the answers. If it is a word of your data, "
                "record again with hide=[].",
                TENANT_NAME,
                self._known.hidden_names,
            )


def _is_success(response: Response) -> bool:
    return bool(200 <= response["status"]["code"] < 300)


def _values(headers: Mapping[str, Any], name: str) -> list[str]:
    return [value for key, values in headers.items() if key.lower() == name.lower() for value in values]


def _decoded(body: bytes) -> tuple[str, str]:
    """A body as text, and the encoding that gives it back: Latin-1, which takes every byte, where it is not UTF-8."""
    try:
        return body.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return body.decode("latin-1"), "latin-1"
