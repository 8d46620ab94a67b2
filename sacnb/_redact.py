"""Mask secrets, and take them out of addresses, headers, bodies and texts before anybody sees them.

Secrets are found by *name* (``client_secret=...``, ``Authorization: ...``, ``"access_token": ...``), by *shape* (bearer
tokens, JWTs, passwords in addresses), and by *value*: every ``Secret`` of this process, in whatever form it is written.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import weakref
from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import quote, quote_plus

from sacnb._rendering import printable

MASK: Final = "***"
# Shorter values occur by chance; masked wherever they are, they would tear holes into messages and data.
MIN_SECRET_CHARS: Final = 8

_Body = TypeVar("_Body", str, bytes)

# The one list of names of secrets; a blank stands for nothing, "-", "_" or ".". Wherever these stand before "=" or ":".
_NAMES_IN_TEXT: Final = (
    "access token", "refresh token", "id token", "bearer token", "auth token", "session token", "csrf token",
    "xsrf token", "x csrf token", "client secret", "secret", "password", "passwd", "pwd", "passcode", "passphrase",
    "client assertion", "assertion", "code verifier", "private key", "x api key", "api key", "jsessionid", "jti",
)  # fmt: skip
# Words of ordinary prose, which are secrets only as the name of a header, a field or a JSON key.
_NAMES_OF_FIELDS: Final = ("token", "authorization", "proxy authorization", "cookie", "set cookie", "signature")
_SECRET_NAMES: Final = frozenset(name.replace(" ", "") for name in (*_NAMES_IN_TEXT, *_NAMES_OF_FIELDS))
# In an address or a form these are one-time codes; in a JSON body "code" is the error's, which is wanted.
_SECRET_PARAMETERS: Final = _SECRET_NAMES | {"code", "sig", "samlresponse"}
# A regular expression for the names; longer ones first, so that "secret" does not end "client_secret".
NAMES_PATTERN: Final = "|".join(name.replace(" ", "[-_]?") for name in sorted(_NAMES_IN_TEXT, key=len, reverse=True))
_ADDRESS_HEADERS: Final = frozenset({"location", "content-location", "referer", "link"})
_SCHEME: Final = re.compile(r"(?P<scheme>bearer|basic|digest|negotiate)\s+", re.IGNORECASE)

_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s\"'<>]+(?=@)")
_PARAMETER: Final = re.compile(r"(?P<before>[?&#;]|^)(?P<name>[^?&#;=\s]+)=(?P<value>[^&#;\s\"'<>]*)")
# No name of a secret is longer, even if each of its characters is written as an escape. Without a limit, a text of
# escaped quotes takes the square of its length.
_JSON_KEY: Final = re.compile(r'"(?P<name>(?:[^"\\]|\\.){0,128})"\s*:\s*')
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)', re.DOTALL)
_JSON_SCALAR: Final = re.compile(r"[^\s,}\]]*")

# A name and its value in prose, Python or YAML: password=..., 'id_token': '...', SAC_CLIENT_SECRET: ...
# Without quotes the value ends at a blank or an "&": better a word too much than half a secret. What stands before the
# name is looked at and not matched: a pattern for it takes the square of the length of a text of underscores. Quotes
# may be escaped, as in JSON that is a text in JSON.
_ESCAPED: Final = r"\\{1,9}['\"]"
_NAMED: Final = re.compile(
    rf"(?P<head>(?<![A-Za-z0-9])(?:{NAMES_PATTERN}|token(?=['\"]?\s*=|['\"]\s*:))(?:{_ESCAPED}|['\"])?"
    r"\s*(?:=>|=|:)\s*(?:[bru](?=['\"]))?)"
    rf"(?P<value>(?P<open>{_ESCAPED})(?:(?!(?<!\\)(?P=open)).)*(?:(?P=open)|$)|"
    r"'(?:[^'\\]|\\.)*(?:'|\\?$)|\"(?:[^\"\\]|\\.)*(?:\"|\\?$)|[^\s&]+)",
    re.IGNORECASE | re.DOTALL,
)
# A header and all the rest of its line, since cookies hold blanks and semicolons; or its value as a quoted text. A
# line may also begin after a line break that is written as such, as in what http.client prints of what it sends.
_HEADER_LINE: Final = re.compile(
    rf"(?P<head>(?:\b|(?<=\\n))(?:(?:proxy-)?authorization|(?:set-)?cookie)(?:{_ESCAPED}|['\"])?\s*[:=]\s*)"
    rf"(?P<value>(?P<open>{_ESCAPED})(?:(?!(?<!\\)(?P=open)).)*(?:(?P=open)|$)|"
    r"b?'(?:[^'\\\n]|\\.)*(?:'|$)|b?\"(?:[^\"\\\n]|\\.)*(?:\"|$)|[^\r\n]+)",
    re.IGNORECASE,
)
# With a digit or sign that words do not have, or as long as no word is: "Basic Materials" is an industry.
_BEARER: Final = re.compile(
    r"\b(?P<scheme>bearer|basic)\s+(?P<value>(?=[A-Za-z.-]*[0-9_~+/=!|$]|\S{32})[A-Za-z0-9._~+/=!|$-]{8,})",
    re.IGNORECASE,
)
# In data "Bearer" may be a word of a description; only what is as long as no word is taken for a token.
_LONG_BEARER: Final = re.compile(r"\b(?P<scheme>bearer)\s+(?P<value>[A-Za-z0-9._~+/=-]{32,})", re.IGNORECASE)
# Also what has no second part, which then is left as it is: it is not looked through again from each "eyJ" within.
_JWT: Final = re.compile(r"\beyJ[A-Za-z0-9_=-]{4,}(?P<rest>\.[A-Za-z0-9_=-]+(?:\.[A-Za-z0-9_=-]*)*)?")


def is_secret_name(name: str, names: frozenset[str] = _SECRET_NAMES) -> bool:
    """Return whether the value of *name* (a header, a field, a JSON key) is a secret."""
    return re.sub(r"[-_.\s]", "", name).lower() in names


def redact_url(url: str) -> str:
    """Return *url* without user names, passwords and the values of secret parameters, in query and fragment."""
    url = _USERINFO.sub(MASK, url)

    def mask(match: re.Match[str]) -> str:
        if not is_secret_name(match["name"].lstrip("$"), _SECRET_PARAMETERS):
            return match[0]
        return f"{match['before']}{match['name']}={MASK}"

    head, mark, tail = _split_query(url)
    return _without_jwts(head + (_PARAMETER.sub(mask, mark + tail) if mark else ""))


def _split_query(url: str) -> tuple[str, str, str]:
    found = re.search(r"[?#]", url)
    return (url, "", "") if found is None else (url[: found.start()], found[0], url[found.end() :])


def redact_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of *headers* without tokens, cookies and passwords; the scheme of ``Authorization`` stays."""
    return {name: _redact_header(name, value) for name, value in headers.items()}


def _redact_header(name: str, value: str) -> str:
    lowered = name.lower()
    if lowered in _ADDRESS_HEADERS:
        return redact_url(value)
    if not is_secret_name(lowered):
        return redact_text(value)
    if lowered == "x-csrf-token" and value.lower() in {"fetch", "required"}:
        return value
    scheme = _SCHEME.match(value)
    return f"{scheme['scheme']} {MASK}" if scheme else MASK


def redact_body(body: _Body, content_type: str | None = None) -> _Body:
    """Return *body* (JSON, form or any text) without the values of secret names; the rest stays, to the byte.

    Numbers keep their digits, since nothing is parsed and written again. Bytes that are not UTF-8 come back unchanged
    where no secret stands in them.
    """
    if isinstance(body, bytes):
        # Latin-1 reaches every byte and gives it back; names and shapes of secrets are ASCII.
        return redact_body(body.decode("latin-1"), content_type).encode("latin-1")
    kind = (content_type or "").lower()
    if "form-urlencoded" in kind or (not kind and re.match(r"[\w.%+-]+=[^\s]*$", body)):
        return _redact_form(body)
    return redact_text(_redact_json(body))


def _redact_form(body: str) -> str:
    def mask(pair: str) -> str:
        name, equals, _ = pair.partition("=")
        return f"{name}={MASK}" if equals and is_secret_name(name, _SECRET_PARAMETERS) else pair

    return _without_jwts("&".join(mask(pair) for pair in body.split("&")))


def _redact_json(text: str) -> str:
    """Mask the values of secret keys in place, whole objects and lists included, also where the JSON is cut short."""
    parts: list[str] = []
    position = 0
    while (match := _JSON_KEY.search(text, position)) is not None:
        parts.append(text[position : match.end()])
        position = match.end()
        if is_secret_name(_unescaped(match["name"])):
            parts.append(f'"{MASK}"')
            position = _end_of_value(text, position)
    parts.append(text[position:])
    return "".join(parts)


def _unescaped(name: str) -> str:
    try:
        return str(json.loads(f'"{name}"')) if "\\" in name else name
    except ValueError:
        return name


def _end_of_value(text: str, start: int) -> int:
    if text[start : start + 1] in {"{", "["}:
        try:
            return json.JSONDecoder(strict=False).raw_decode(text, start)[1]
        except (ValueError, RecursionError):
            return len(text)  # cut short: all the rest may belong to it
    match = (_JSON_STRING if text[start : start + 1] == '"' else _JSON_SCALAR).match(text, start)
    return match.end() if match else start


def redact_data(text: str) -> str:
    """Return *text* that is data (JSON, CSV, XML) without the values of secret JSON keys, JWTs and bearer tokens.

    ``redact_body`` also knows secrets by the words before them, and would take "Basic Materials" for credentials; here
    a member's description stays what it is.
    """
    text = _LONG_BEARER.sub(lambda match: f"{match['scheme']} {MASK}", _redact_json(text))
    return _without_jwts(text)


def redact_json(value: Any) -> Any:
    """Return a parsed JSON *value* without the values of secret keys and with every text redacted."""
    if isinstance(value, Mapping):
        return {
            key: MASK if isinstance(key, str) and is_secret_name(key) else redact_json(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_json(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


def redact_text(text: str) -> str:
    """Return *text* without the secrets of this process and without anything that is named or shaped like a secret."""
    for secret in known_secrets():
        if len(secret) >= MIN_SECRET_CHARS:
            for form in secret_forms(secret):
                text = text.replace(form, MASK)
    text = _USERINFO.sub(MASK, text)
    text = _HEADER_LINE.sub(_mask_header, text)
    text = _NAMED.sub(_mask_value, text)
    text = _BEARER.sub(lambda match: f"{match['scheme']} {MASK}", text)
    return _without_jwts(text)


def _without_jwts(text: str) -> str:
    return _JWT.sub(lambda match: MASK if match["rest"] else match[0], text)


def _mask_header(match: re.Match[str]) -> str:
    value = match["value"].lstrip("b")
    mark = match["open"] or (value[:1] if value[:1] in {"'", '"'} else "")
    scheme = _SCHEME.match(value.lstrip("'\"\\"))
    return f"{match['head']}{mark}{scheme['scheme'] + ' ' if scheme else ''}{MASK}{mark}"


def _mask_value(match: re.Match[str]) -> str:
    value = match["value"]
    mark = match["open"] or (value[0] if value[0] in {"'", '"'} else "")
    return f"{match['head']}{mark}{MASK}{mark}"


def secret_forms(secret: str) -> list[str]:
    """Return how a secret may be written (quoted, escaped, base64), the longest first: no form is left in halves."""
    if not secret:
        return []
    raw = secret.encode()
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    forms = {
        secret,
        *quoted,
        *(re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in quoted),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        base64.b64encode(raw).decode("ascii"),
        base64.urlsafe_b64encode(raw).decode("ascii"),
    }
    return sorted(forms, key=len, reverse=True)


def one_line(text: str, max_chars: int = 500) -> str:
    """Return *text* of a server on one line, cut to *max_chars*, without characters that a terminal would obey."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


class RedactingFilter(logging.Filter):
    """Redact every record: the message with its arguments, and the text of a traceback; both without control codes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place; always True."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            return True  # a malformed call of somebody else's: logging itself will say so
        record.msg, record.args = printable(redact_text(message)), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = printable(redact_text(record.exc_text))
        return True


class Secret:
    """A text that only ``reveal()`` shows: masked in ``repr`` and ``str``, and never pickled."""

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        _alive[id(self)] = self

    def reveal(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __str__(self) -> str:
        return "**********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled. Send tenant.spec to the worker, and call sacnb.connect(spec) there.")


# For as long as a secret is held by anybody, texts of servers are searched for it before a person sees them.
_alive: Final[weakref.WeakValueDictionary[int, Secret]] = weakref.WeakValueDictionary()


def known_secrets() -> set[str]:
    """Return the text of every secret of this process."""
    return {secret.reveal() for reference in _alive.valuerefs() if (secret := reference()) is not None}
