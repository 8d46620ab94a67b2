"""Read a ``$filter`` as it stands in a URL, by OData's URL conventions and nobody's library.

The reader knows what sacnb may send: comparisons of a column with a literal, the three text functions, ``and``, ``or``,
``not``, parentheses, ``true`` and ``false``. Anything else is an error, and so is text that OData does not allow there.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import unquote

from .conditions import AllOf, AnyOf, Compare, Condition, Constant, Match, Not

_TOKEN: Final = re.compile(
    r"(?P<blank>[ \t]+)|(?P<mark>[(),])|(?P<string>'(?:''|[^'])*')"
    r"|(?P<typed>(?P<prefix>[A-Za-z_][\w.]*)'(?P<inside>(?:''|[^'])*)')"
    r"|(?P<guid>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})(?![\w-])"
    r"|(?P<moment>\d{4,}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2}))"
    r"|(?P<date>\d{4,}-\d{2}-\d{2})|(?P<time>\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)"
    r"|(?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])|(?P<infinite>-?INF)(?!\w)|(?P<word>[^\W\d]\w*)"
)
_DURATION: Final = re.compile(r"([+-])?P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_SIGNS: Final = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
_WAYS: Final = frozenset({"contains", "startswith", "endswith"})
_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "Edm.String": frozenset({"string"}),
    "Edm.Boolean": frozenset({"word"}),
    "Edm.Date": frozenset({"date"}),
    "Edm.DateTimeOffset": frozenset({"moment"}),
    "Edm.TimeOfDay": frozenset({"time"}),
    "Edm.Duration": frozenset({"typed"}),
    "Edm.Guid": frozenset({"guid"}),
    "Edm.Binary": frozenset({"typed"}),
    "Edm.Double": frozenset({"number", "infinite"}),
    "Edm.Single": frozenset({"number", "infinite"}),
}


class NotAFilter(Exception):
    """The text is no filter that OData allows, or compares a column with a literal of another type."""


@dataclass(frozen=True)
class Token:
    kind: str
    text: str


def filter_of(url: str) -> str | None:
    """Return the raw, still percent-encoded value of ``$filter``, ``None`` where there is none."""
    _, _, query = url.partition("?")
    found = [option.partition("=") for option in query.split("&")]
    values = [value for name, _, value in found if unquote(name) == "$filter"]
    if len(values) > 1:
        raise NotAFilter(f"two filters in {url}")
    return values[0] if values else None


def read_filter(raw: str, types: Mapping[str, str]) -> Condition:
    """Return what *raw*, a percent-encoded filter over columns of these Edm types, means.

    Raises:
        NotAFilter: It means nothing, or not what can be compared.
    """
    if re.search(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]", raw) or re.search(r"%(?![0-9A-Fa-f]{2})", raw):
        raise NotAFilter(f"characters that no query may hold: {raw}")
    text = unquote(raw, errors="strict")  # a plus sign stays one
    return _Reader(list(_tokens(text)), types).whole()


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise NotAFilter(f"not readable from {text[at : at + 20]!r} on: {text}")
        kind = next(
            name
            for name in ("blank", "mark", "string", "typed", "guid", "moment", "date", "time", "number", "infinite",
                         "word")
            if found[name] is not None
        )  # fmt: skip
        yield Token(kind, found[0])
        at = found.end()


class _Reader:
    def __init__(self, tokens: list[Token], types: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._types = types
        self._at = 0

    def whole(self) -> Condition:
        found = self._any_of()
        if self._at != len(self._tokens):
            raise NotAFilter(f"left over: {self._tokens[self._at :]}")
        return found

    def _any_of(self) -> Condition:
        parts = [self._all_of()]
        while self._joined_by("or"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all_of(self) -> Condition:
        parts = [self._one()]
        while self._joined_by("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self) -> Condition:
        token = self._next()
        if token == Token("mark", "("):
            found = self._any_of()
            self._expect("mark", ")")
            return found
        if token.kind != "word":
            raise NotAFilter(f"a condition begins with {token}")
        if token.text == "not":
            self._expect("blank")
            return Not(self._one())
        if token.text in {"true", "false"}:
            return Constant(token.text == "true")
        if token.text in _WAYS and self._peek() == Token("mark", "("):
            return self._match(token.text)
        self._expect("blank")
        sign = self._expect("word").text
        self._expect("blank")
        if sign not in _SIGNS:
            raise NotAFilter(f"no sign: {sign}")
        return Compare(token.text, sign, self._value(token.text, self._next()))

    def _match(self, way: str) -> Condition:
        self._expect("mark", "(")
        name = self._expect("word").text
        self._expect("mark", ",")
        text = self._expect("string").text
        self._expect("mark", ")")
        if self._types[name] != "Edm.String":
            raise NotAFilter(f"{way} on {name}")
        return Match(name, way, _unquoted(text))

    def _value(self, name: str, token: Token) -> Any:
        if token == Token("word", "null"):
            return None
        kind = self._types[name]
        if token.kind not in _KINDS.get(kind, frozenset({"number"})):
            raise NotAFilter(f"{name} holds {kind} and is compared with {token}")
        return value_of(kind, token)

    def _joined_by(self, word: str) -> bool:
        if self._tokens[self._at : self._at + 2] != [Token("blank", " "), Token("word", word)]:
            return False
        self._at += 2
        self._expect("blank")
        return True

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> Token:
        token = self._peek()
        if token is None:
            raise NotAFilter("it ends too early")
        self._at += 1
        return token

    def _expect(self, kind: str, text: str | None = None) -> Token:
        token = self._next()
        if token.kind != kind or (text is not None and token.text != text):
            raise NotAFilter(f"{token} where {text or kind} was expected")
        return token


def value_of(edm_type: str, token: Token) -> Any:
    """Return the Python value of a literal for a column of this type."""
    text = token.text
    match edm_type:
        case "Edm.String":
            return _unquoted(text)
        case "Edm.Boolean":
            return {"true": True, "false": False}[text]
        case "Edm.Date":
            return date.fromisoformat(text)
        case "Edm.DateTimeOffset":
            return datetime.fromisoformat(text).astimezone(UTC)
        case "Edm.TimeOfDay":
            return time.fromisoformat(text)
        case "Edm.Duration":
            return _duration(text)
        case "Edm.Guid":
            return text.lower()
        case "Edm.Binary":
            inside = text.removeprefix("binary'").removesuffix("'")
            return base64.b64decode(inside + "=" * (-len(inside) % 4), altchars=b"-_", validate=True)
        case "Edm.Double" | "Edm.Single":
            return float(text)
    return Decimal(text)


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'")


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text.removeprefix("duration'").removesuffix("'"))
    if found is None:
        raise NotAFilter(f"no duration: {text}")
    sign, days, hours, minutes, seconds = found.groups()
    micros = int(Decimal(seconds or 0) * 1_000_000)
    size = timedelta(days=int(days or 0), hours=int(hours or 0), minutes=int(minutes or 0), microseconds=micros)
    return -size if sign == "-" else size
