"""Remove secrets, hosts and the tenant's name from a recording before it is saved.

The scrubber works on copies when the cassette is saved: the live session keeps its real token, and a secret learned
from the last request is removed from the first one too. Three layers, most of which would suffice alone:

* by place: only a few harmless headers are kept, and a token exchange is replaced;
* by value: secrets of the settings, secrets seen in headers, forms and token replies, and the tenant's hosts and name,
  wherever they occur and however they are encoded;
* by name and shape: the rules of ``sacnb._redact``.

In rows, master data and metadata only learned values and the values of keys named like a secret are replaced. Two
recordings of the same answers are equal: request ids and processing times are replaced, and the time of the recording
is written once.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from sacnb._auth.token import utc_now
from sacnb._endpoints import CSRF_HEADER, REPLAY_TENANT_URL, REPLAY_TOKEN_URL
from sacnb._http import read_http_date, read_retry_after_s
from sacnb._redact import (
    MASK,
    MIN_SECRET_CHARS,
    is_secret_name,
    known_secrets,
    redact_body,
    redact_data,
    redact_headers,
    redact_url,
    secret_forms,
)
from sacnb._settings import Settings
from sacnb._settings.tenant_url import is_loopback
from sacnb.errors import ReplayError
from sacnb.replay.library import Request, Response, is_token
from sacnb.replay.scan import scan_text

TENANT_HOST: Final = urlsplit(REPLAY_TENANT_URL).netloc
TOKEN_HOST: Final = urlsplit(REPLAY_TOKEN_URL).netloc
TENANT_NAME: Final = "tenant"

_PLAIN_TOKEN_FIELDS: Final = frozenset({"grant_type", "response_type", "scope"})
_PLAIN_CSRF: Final = frozenset({"fetch", "required"})

# SAP's hosts, which answers may name although no request went there.
_SAP_HOST: Final = re.compile(
    r"(?:https?(?P<slashes>:\\?/\\?/))?(?<!%)(?<!%[0-9A-Fa-f])(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
    r"\.(?:hcs\.cloud\.sap|hanacloudservices\.cloud\.sap|sapanalytics\.cloud|hana\.ondemand\.com))(?![A-Za-z0-9-])",
    re.IGNORECASE,
)


class Known:
    """The secrets, hosts and names to remove from a recording.

    ``names`` are words to hide besides the hosts; ``None`` is the tenant's own name, the first part of its hosts.
    ``secrets`` are values to hide that no request may contain.
    """

    def __init__(self, names: Iterable[str] | None = None, secrets: Iterable[str] = ()) -> None:
        self.is_own_name = names is None
        self.hidden_names = 0
        self._names = {name.strip() for name in names or () if name.strip()}
        self._secrets = {secret for secret in secrets if secret}
        self._hosts: dict[str, str] = {}
        self._tenants: set[str] = set()
        self._asked: list[str] = []
        self._patterns: tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]] | None = None

    @property
    def is_sandbox(self) -> bool:
        """Return whether the tenant is on this machine, and therefore a pretend tenant."""
        hosts = self._tenants or {host.strip("[]") for host in self._hosts}
        return bool(hosts) and all(map(is_loopback, hosts))

    def learn_settings(self, settings: Settings) -> None:
        """Note the secrets in the settings, and the tenant's hosts."""
        self._secret(settings.client_id)
        self._secret(settings.client_secret.reveal())
        if settings.token is not None:
            self._secret(settings.token.reveal())
        if settings.token_url:
            self._host(settings.token_url, TOKEN_HOST)
        self._host(settings.tenant_url, TENANT_HOST)
        self._tenants.add(_host_of(settings.tenant_url))

    def learn(self, request: Request, response: Response) -> None:
        """Note the secrets in one request and its answer, before anything is removed."""
        self._patterns = None
        sent = {name.lower(): value for name, value in request.headers.items()}
        if is_token(request):
            self._host(request.uri, TOKEN_HOST)
            for name, value in parse_qsl(_text(request.body), keep_blank_values=True):
                if name not in _PLAIN_TOKEN_FIELDS:
                    self._secret(value)
            self._token_reply(response["body"]["string"])
        else:
            host = _host_of(request.uri)
            if "authorization" in sent:
                self._tenants.add(host)
            if "authorization" in sent or _is_address(host) or is_loopback(host):
                self._host(request.uri, TENANT_HOST)
            parts = urlsplit(request.uri)
            self._asked.append(f"{parts.path}?{parts.query}\n{_text(request.body)}")
        self._authorization(sent.get("authorization", ""))
        for cookie in sent.get("cookie", "").split(";"):
            self._secret(cookie.partition("=")[2])
        self._csrf(sent.get(CSRF_HEADER, ""))
        for name, values in response["headers"].items():
            for value in values:
                if name.lower() == "set-cookie":
                    self._secret(value.partition(";")[0].partition("=")[2])
                elif is_secret_name(name):
                    self._csrf(value)

    def _csrf(self, value: str) -> None:
        if value.lower() not in _PLAIN_CSRF:
            self._secret(value)

    def _authorization(self, value: str) -> None:
        scheme, _, credentials = value.partition(" ")
        self._secret(credentials)
        if scheme.lower() == "basic":
            try:
                pair = base64.b64decode(credentials, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return
            for part in pair.split(":", 1):
                self._secret(part)

    def _token_reply(self, body: bytes) -> None:
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            return
        for key, value in fields.items() if isinstance(fields, Mapping) else ():
            if is_secret_name(key) and isinstance(value, str):
                self._secret(value)

    def _secret(self, value: str) -> None:
        if len(value.strip()) >= MIN_SECRET_CHARS:  # shorter ones are only masked in their own place
            self._secrets.add(value.strip())
            self._patterns = None

    def _host(self, url: str, stands_for: str) -> None:
        host = _host_of(url)
        if not host or host in {TENANT_HOST, TOKEN_HOST}:
            return
        shown = f"[{host}]" if ":" in host else host
        if self._hosts.get(shown) != TENANT_HOST:  # the sandbox has both on one host
            self._hosts[shown] = stands_for
        if self.is_own_name and "." in host and not _is_address(host):
            self._names.add(host.partition(".")[0])
        self._patterns = None

    def hide(self, text: str, *, names: bool) -> str:
        """Return *text* without secrets and hosts, and with *names* without names."""
        secrets, hosts, words = self._compiled()
        text = secrets.sub(MASK, text)
        text = hosts.sub(lambda match: _in_place_of(match, self._hosts[match["host"].lower()]), text)
        text = _SAP_HOST.sub(
            lambda match: _in_place_of(match, TOKEN_HOST if ".authentication." in match["host"] else TENANT_HOST), text
        )
        if names:
            text, count = words.subn(TENANT_NAME, text)
            self.hidden_names += count
        return text

    def left_in(self, text: str) -> list[str]:
        """Return what is left in *text*, without repeating it."""
        secrets, hosts, _ = self._compiled()
        left = [f"a secret of {len(match[0])} characters" for match in secrets.finditer(text)]
        return left + ["the tenant's host" for _ in hosts.finditer(text)]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret that was noted, and every other one that this process holds."""
        return tuple(self._secrets | {secret for secret in known_secrets() if len(secret) >= MIN_SECRET_CHARS})

    def asked_for(self) -> list[str]:
        """Return the names that requests contain; they cannot be hidden, because a replay sends the same requests."""
        return sorted(name for name in self._names if self._is_asked_for(name))

    def _is_asked_for(self, name: str) -> bool:
        word = re.compile(_word(name), re.IGNORECASE)
        return any(word.search(asked) for asked in self._asked)

    def _compiled(self) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
        if self._patterns is None:
            forms = {form for secret in self._secrets for form in secret_forms(secret)}
            hosts = "|".join(sorted(map(re.escape, self._hosts), key=len, reverse=True)) or "(?!)"
            self._patterns = (
                # Regardless of case, because %2f is %2F.
                _any_of(map(re.escape, sorted(forms, key=lambda form: (-len(form), form)))),
                re.compile(
                    rf"(?:https?(?P<slashes>:\\?/\\?/))?(?P<host>{hosts})(?::\d+)?(?![A-Za-z0-9-])", re.IGNORECASE
                ),
                _any_of(_word(name) for name in sorted(self._names) if not self._is_asked_for(name)),
            )
        return self._patterns


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns) or "(?!)", re.IGNORECASE)


def _word(name: str) -> str:
    return rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"


def _in_place_of(match: re.Match[str], host: str) -> str:
    return f"https{match['slashes']}{host}" if match["slashes"] else host


def _host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _text(body: bytes | None) -> str:
    return (body or b"").decode("utf-8", "replace")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
# The recorded form of every token reply. The player replaces the mask by a token of its own.
TOKEN_REPLY: Final = b'{"access_token":"%s","token_type":"bearer","expires_in":3600}' % MASK.encode()

_DATA: Final = re.compile(r"json|csv|xml", re.IGNORECASE)
_ELAPSED: Final = re.compile(r'("@des\.processingTimeInMilliseconds":\s*"?)\d+')
# SAC's error.code identifies the request.
_CORRELATION_ID: Final = re.compile(r'("code":\s*")[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?=")')
_MARKED: Final = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_NO_ID: Final = "00000000-0000-0000-0000-000000000000"


class Scrubber:
    """Removes what is ``known`` from the recording."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._masked_answers = 0

    def __call__(self, request: Request, response: Response) -> tuple[Request, Response]:
        """Change one interaction in place to what may be saved; vcrpy calls it before it saves."""
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
                # A date would be in the past during a replay.
                seconds = read_retry_after_s(values[0], server_date=date, now=utc_now())
                values = [str(round(seconds))] if seconds is not None else values
            yield name, [redact_headers({name: self._known.hide(value, names=True)})[name] for value in values]

    def check(self, text: str) -> None:
        """Raise ReplayError if a secret is left in the cassette's final text, and warn of what was changed."""
        asked_for = self._known.asked_for()
        if asked_for and not self._known.is_own_name:
            raise ReplayError(
                f"The name {asked_for[0]!r} cannot be hidden, because the requests contain it. Nothing was saved.",
                hint="Leave it out of hide=[...].",
            )
        found = scan_text(text, known_secrets=self._known.secrets)
        left = self._known.left_in(text) + [f"{finding.kind} in line {finding.line}" for finding in found]
        if left:
            raise ReplayError(
                f"The recording was not saved, because it still contains: {', '.join(dict.fromkeys(left))}.",
                hint="Name the value in secrets=[...]; and please report the kind of request, without the value.",
            )
        if self._masked_answers:
            _log.warning(
                "Values of keys named like a secret, or that look like a token, were masked; answers changed: %d.",
                self._masked_answers,
            )
        if asked_for:
            _log.warning("The tenant's name %r is part of the requests and stays in the cassette.", asked_for[0])
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
    """Return a body as text, and the encoding that restores its bytes: Latin-1, which has every byte, if no other fits.

    Servers and proxies also send UTF-16 with its mark, in which no secret would be found otherwise.
    """
    encoding = next((name for mark, name in _MARKED if body.startswith(mark)), "utf-8")
    try:
        text = body.decode(encoding)
        return (text, encoding) if text.encode(encoding) == body else (body.decode("latin-1"), "latin-1")
    except UnicodeError:
        return body.decode("latin-1"), "latin-1"
