"""The token service: client credentials in, bearer tokens out."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import secrets
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qs

from sacnb.sandbox.exchange import Answer, Exchange, Refusal
from sacnb.sandbox.faults import retry_after
from sacnb.sandbox.journal import Journal

__all__ = [
    "Gate",
    "TokenService",
    "invalid_client",
    "new_client_id",
    "new_client_secret",
    "oauth_error",
    "token_answer",
]


def new_client_id() -> str:
    """A client id of the shape App Integration gives: ``sb-<uuid>!b<digits>|client!b<digits>``."""
    return f"sb-{uuid.uuid4()}!b123|client!b456"


def new_client_secret() -> str:
    """A client secret of the shape App Integration gives: ``<uuid>$<base64url>``, ending in ``=``."""
    return f"{uuid.uuid4()}${base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}"


def oauth_error(status: int, error: str, description: str) -> tuple[int, bytes]:
    """An error of the token service: status and body, in the form of RFC 6749."""
    return status, json.dumps({"error": error, "error_description": description}, separators=(",", ":")).encode()


def invalid_client() -> tuple[int, bytes]:
    """What the token service of SAP's cloud says to a wrong id or secret."""
    return oauth_error(401, "invalid_client", "Bad credentials")


@dataclass(frozen=True, slots=True)
class _Issued:
    token: str
    jti: str
    expires_at: float


class TokenService:
    """Issues, checks and revokes tokens. ``clock`` is monotonic, in seconds.

    A token is opaque: a client that wants to know its age must read ``expires_in``.
    """

    def __init__(self, client_id: str, client_secret: str, *, lifetime_s: float, clock: Callable[[], float]) -> None:
        self.client_id = client_id
        self._secret = client_secret
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._lock = threading.Lock()
        self._live: dict[str, _Issued] = {}
        self._last: _Issued | None = None

    def check(self, authorization: str | None, content_type: str, body: bytes, query: str) -> tuple[int, bytes] | None:
        """Check a token request: ``None`` if a token may be issued, else status and body of the refusal.

        The grant may stand in the body or in the query; the client in a Basic header or in the body. SAC takes the
        raw id and secret in the header, not the percent-encoded form of RFC 6749 (section 2.3.1).
        """
        form: dict[str, str] = {}
        try:
            form.update((k, v[-1]) for k, v in parse_qs(query, keep_blank_values=True).items())
            if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
                form.update((k, v[-1]) for k, v in parse_qs(body.decode(), keep_blank_values=True).items())
        except ValueError:
            return oauth_error(400, "invalid_request", "The body is not a form")
        client = _basic(authorization) if authorization else (form.get("client_id", ""), form.get("client_secret", ""))
        if client is None or not self._knows(*client):
            return invalid_client()
        grant_type = form.get("grant_type")
        if not grant_type:
            return oauth_error(400, "invalid_request", "Missing grant type")
        if grant_type != "client_credentials":
            return oauth_error(400, "unsupported_grant_type", f"Unsupported grant type: {grant_type[:60]}")
        return None

    def issue(self, *, lifetime_s: float | None = None, same_again: bool = False) -> dict[str, Any]:
        """A token reply. ``same_again`` hands back the last token while it lives, as some identity providers do."""
        now = self._clock()
        with self._lock:
            issued = self._last
            if not (same_again and issued is not None and issued.expires_at > now):
                jti = uuid.uuid4().hex
                expires_at = now + (self._lifetime_s if lifetime_s is None else lifetime_s)
                issued = _Issued(f"sandbox-token.{jti}.{secrets.token_urlsafe(32)}", jti, expires_at)
                self._live = {token: i for token, i in self._live.items() if i.expires_at > now}
                self._live[issued.token] = self._last = issued
        # Whole seconds, rounded down: a server that promised more than it keeps would be a misbehaviour.
        return {
            "access_token": issued.token,
            "token_type": "bearer",
            "expires_in": int(issued.expires_at - now + 1e-6),
            "scope": "uaa.resource",
            "jti": issued.jti,
        }

    def accepts(self, authorization: str | None) -> bool:
        """Whether a request's ``Authorization`` header holds a token that lives."""
        scheme, _, token = (authorization or "").partition(" ")
        with self._lock:
            issued = self._live.get(token)
        return scheme.lower() == "bearer" and issued is not None and issued.expires_at > self._clock()

    def revoke_all(self) -> None:
        """From now on every token issued so far is refused."""
        with self._lock:
            self._live.clear()

    def _knows(self, client_id: str, client_secret: str) -> bool:
        good_id = hmac.compare_digest(client_id.encode(), self.client_id.encode())
        good_secret = hmac.compare_digest(client_secret.encode(), self._secret.encode())
        return good_id and good_secret


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, client_secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return client_id, client_secret


async def token_answer(exchange: Exchange, tokens: TokenService, journal: Journal, body: bytes) -> Answer:
    """Answer a token request; errors have the form of RFC 6749, not SAC's envelope."""
    if exchange.method != "POST":
        return _answer(*oauth_error(405, "invalid_request", "Use POST"))
    slow = exchange.take("token_slow")
    if slow:
        await asyncio.sleep(slow["delay_s"])
    limit = exchange.take("token_429")
    if limit:
        headers = retry_after(limit["retry_after_s"])
        return _answer(*oauth_error(429, "too_many_requests", "Too many requests"), headers)
    if exchange.strikes("token_500"):
        return _answer(*oauth_error(500, "server_error", "Internal Server Error"))
    if exchange.strikes("token_invalid_client"):
        return _answer(*invalid_client())
    refused = tokens.check(
        exchange.headers.get("Authorization"), exchange.headers.get("Content-Type", ""), body, exchange.query
    )
    if refused is not None:
        return _answer(*refused)
    lifetime = exchange.take("token_lifetime")
    same = exchange.strikes("same_token")
    reply = tokens.issue(lifetime_s=float(lifetime["seconds"]) if lifetime else None, same_again=same)
    journal.count("tokens_issued")
    said = exchange.take("expires_in")
    if said and said["value"] is None:
        del reply["expires_in"]
    elif said:
        reply["expires_in"] = said["value"]
    return _answer(200, json.dumps(reply, separators=(",", ":")).encode())


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    # RFC 6749, section 5.1: a token must not be cached on its way.
    return Answer(status, body, headers={"Cache-Control": "no-store", "Pragma": "no-cache", **(headers or {})})


_CSRF: Final = "x-csrf-token"
_CUSTOM_AUTH: Final = "x-sap-sac-custom-auth"


class Gate:
    """Checks a request before it is served, and adds what SAC adds to the answer."""

    def __init__(self, tokens: TokenService, journal: Journal) -> None:
        self._tokens = tokens
        self._journal = journal
        self._lock = threading.Lock()
        self._csrf: dict[str, str] = {}

    def admit(self, exchange: Exchange) -> None:
        """Let a request with a live bearer token pass.

        Raises:
            Refusal: 401; 403 with ``x-csrf-token: Required`` for a request that writes without a good CSRF token; 405
                for one that would write, since nothing here can be written.
        """
        if exchange.strikes("revoke_tokens"):
            self._tokens.revoke_all()
        if exchange.strikes("unauthorized") or not self._tokens.accepts(exchange.headers.get("Authorization")):
            # The words and the header are unconfirmed; the status is not.
            raise Refusal(401, "Unauthorized", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        if exchange.strikes("forbidden"):
            raise Refusal(403, "OAuth Client is not allowed to interact with API", 3401)
        if exchange.method in {"GET", "HEAD"}:
            return
        with self._lock:
            expected = self._csrf.get(exchange.headers.get("Authorization", ""))
        if expected is None or exchange.headers.get(_CSRF) != expected:
            raise Refusal(403, "CSRF token required", headers={_CSRF: "Required"})
        raise Refusal(405, f"The method {exchange.method} is not allowed.", headers={"Allow": "GET, HEAD"})

    def see_out(self, exchange: Exchange, answer: Answer) -> Answer:
        """The answer with a CSRF token where one was to be fetched, and with a session cookie where SAC sets one.

        Any GET gives the token (SAP's Postman scripts fetch it from the Data Export Service); it is bound to the
        access token. ``x-sap-sac-custom-auth: true`` keeps SAC from opening a session (seen on a live tenant; SAP KBA
        3387282).
        """
        headers = dict(answer.headers)
        authorization = exchange.headers.get("Authorization", "")
        if exchange.headers.get(_CSRF, "").lower() == "fetch":
            with self._lock:
                headers[_CSRF] = self._csrf.setdefault(authorization, secrets.token_hex(16))
        if exchange.headers.get(_CUSTOM_AUTH, "").lower() != "true" and "Cookie" not in exchange.headers:
            self._journal.count("sessions_opened")
            headers["Set-Cookie"] = f"JSESSIONID={secrets.token_hex(16)}; Path=/; HttpOnly"
        return replace(answer, headers=headers)
