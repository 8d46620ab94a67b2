"""Decide when two requests are the same, and tell how two others differ."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from sacnb._endpoints import REPLAY_TOKEN_URL
from sacnb._redact import redact_body, redact_url

_FORM: Final = "application/x-www-form-urlencoded"
_MOST_SHOWN: Final = 3
# Paths with a smaller share of common text are unrelated.
_LEAST_LIKENESS: Final = 0.5
_MAX_SHOWN_CHARS: Final = 120


@dataclass(frozen=True, slots=True)
class RequestKey:
    """The parts of a request that must be equal for a recorded answer to fit: all but the host and the headers.

    Path and query are decoded, so that ``%27`` is an apostrophe; the order of query parameters and of JSON keys does
    not matter. Secrets are masked, as in the cassette.
    """

    method: str
    path: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    body: str

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" for name, value in self.query)
        return f"{self.method} {'/'.join(self.path)}{'?' if query else ''}{query}"


# The key of every token request: the endpoint and the way the client identifies itself do not matter.
TOKEN_KEY: Final = RequestKey("POST", tuple(urlsplit(REPLAY_TOKEN_URL).path.split("/")), (), "(a token)")


def is_token_request(method: str, content_type: str | None, body: bytes) -> bool:
    """Return whether a request asks an OAuth token endpoint for a token."""
    return method.upper() == "POST" and _FORM in (content_type or "").lower() and b"grant_type=" in body


def key_of(method: str, url: str, content_type: str | None, body: bytes) -> RequestKey:
    """Return the key of a request."""
    if is_token_request(method, content_type, body):
        return TOKEN_KEY
    parts = urlsplit(redact_url(url))
    path = tuple(unquote(segment) for segment in (parts.path or "/").split("/"))
    query = tuple(sorted(parse_qsl(parts.query, keep_blank_values=True)))
    return RequestKey(method.upper(), path, query, _canonical(content_type or "", body))


def _canonical(content_type: str, body: bytes) -> str:
    # Latin-1 takes every byte and keeps different ones different.
    text = redact_body(body, content_type).decode("latin-1")
    if "json" in content_type.lower():
        try:
            return json.dumps(json.loads(text), sort_keys=True)
        except (ValueError, RecursionError):
            return text
    if _FORM in content_type.lower():
        return repr(sorted(parse_qsl(text, keep_blank_values=True)))
    return text


def nearest(asked: RequestKey, recorded: Iterable[RequestKey]) -> tuple[str, ...]:
    """Return the recorded requests nearest to *asked*, the nearest first, each with its differences.

    Requests of the same path come first; if there are none, those of similar paths.
    """
    keys = list(dict.fromkeys(recorded))
    keys = [key for key in keys if key.path == asked.path] or keys
    found = sorted(
        ((likeness, str(key), key) for key in keys if (likeness := _likeness(asked, key))),
        key=lambda item: (-item[0], item[1]),
    )
    return tuple(f"{_cut(text)}: {'; '.join(_differences(asked, key))}" for _, text, key in found[:_MOST_SHOWN])


def _likeness(asked: RequestKey, key: RequestKey) -> float:
    path = _alike("/".join(asked.path), "/".join(key.path))
    if path < _LEAST_LIKENESS:
        return 0.0
    # The path weighs most, then the method and the query, then the body.
    score = 4 * path + 2 * (asked.method == key.method) + (asked.body == key.body)
    both = [set(asked.query), set(key.query)]
    return score + (len(both[0] & both[1]) / len(both[0] | both[1]) if any(both) else 1.0)


@lru_cache(maxsize=1024)
def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def _differences(asked: RequestKey, key: RequestKey) -> Iterator[str]:
    if asked.method != key.method:
        yield f"the method is {asked.method}, recorded was {key.method}"
    if asked.path != key.path:
        yield "the path differs"
        return
    yield from _query_differences(asked.query, key.query)
    if asked.body != key.body:
        yield f"the body is {_shown(asked.body)}, recorded was {_shown(key.body)}"


def _query_differences(asked: tuple[tuple[str, str], ...], recorded: tuple[tuple[str, str], ...]) -> Iterator[str]:
    mine, theirs = Counter(asked), Counter(recorded)
    extra, missing = list((mine - theirs).elements()), list((theirs - mine).elements())
    for name in dict.fromkeys(name for name, _ in [*extra, *missing]):
        have = ", ".join(_shown(value) for n, value in extra if n == name)
        want = ", ".join(_shown(value) for n, value in missing if n == name)
        if have and want:
            yield f"{name} is {have}, recorded was {want}"
        else:
            yield f"{name}={have} was not recorded" if have else f"{name}={want} is missing"


def shown_request(method: str, url: str) -> str:
    """Return a request for an error: the method, the path and the query, decoded, without the host."""
    parts = urlsplit(redact_url(url))
    query = f"?{unquote(parts.query)}" if parts.query else ""
    return f"{method} {unquote(parts.path) or '/'}{query}"


def _shown(text: str) -> str:
    return repr(_cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 1] + "…"
