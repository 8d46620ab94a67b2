"""What is asked for, in the form in which it can be sent any number of times."""

from __future__ import annotations

import json as _json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from sacnb._wire.answer import Check, Expect
from sacnb._wire.redact import redact_url

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_IDEMPOTENT_METHODS: Final = SAFE_METHODS | {"PUT", "DELETE"}
# In a query these may stand as they are, and SAC's "$" must; a blank becomes %20, since SAC refuses "+" in places.
_QUERY_SAFE: Final = "$,:'()*@/"


@dataclass(frozen=True, slots=True)
class Demand:
    """A request to SAC. ``url`` is absolute; ``is_idempotent`` says that carrying it out twice does no harm."""

    method: str
    url: str
    operation: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    is_idempotent: bool
    expect: Expect
    check: Check | None = None

    @property
    def shown_url(self) -> str:
        """The address as it may be seen."""
        return redact_url(self.url)

    @property
    def is_safe(self) -> bool:
        """Whether it only reads."""
        return self.method in SAFE_METHODS

    @property
    def accepts_pages(self) -> bool:
        """Whether a web page may be an answer; SAC's API has none, so one is a login page otherwise."""
        return "html" in self.headers.get("Accept", "")


def with_query(url: str, params: Mapping[str, str] | None) -> str:
    """``url`` with ``params`` appended to its query."""
    if not params:
        return url
    query = "&".join(f"{quote(k, safe=_QUERY_SAFE)}={quote(v, safe=_QUERY_SAFE)}" for k, v in params.items())
    return f"{url}{'&' if '?' in url else '?'}{query}"


def encode_body(json: Any, data: bytes | str | Mapping[str, str] | None) -> tuple[bytes | None, str | None]:
    """The body as bytes, and its type where it is known: a JSON value, a form, text (as UTF-8) or bytes."""
    if json is not None:
        return _json.dumps(json, ensure_ascii=False, allow_nan=False).encode(), "application/json"
    if isinstance(data, Mapping):
        form = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in data.items())
        return form.encode("ascii"), "application/x-www-form-urlencoded"
    return data.encode() if isinstance(data, str) else data, None


def may_be_repeated(method: str, headers: Mapping[str, str]) -> bool:
    """Whether HTTP, or a key by which the server knows a repetition, makes it harmless to send a request twice."""
    return method in _IDEMPOTENT_METHODS or any(name.lower() == "idempotency-key" for name in headers)
