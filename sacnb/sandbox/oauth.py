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

from sacnb.sandbox.exchange import Answer, Exchange, Refusal, retry_after
from sacnb.sandbox.journal import Journal
from sacnb.sandbox.login import LoginService, user_token
from sacnb.sandbox.misbehaviours import ACTIONS, IMPORTS

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
    """Return a client id in the form of App Integration: ``sb-<uuid>!b<digits>|client!b<digits>``."""
    return f"sb-{uuid.uuid4()}!b123|client!b456"


def new_client_secret() -> str:
    """Return a client secret in the form of App Integration: ``<uuid>$<base64url>``, ending in ``=``."""
    return f"{uuid.uuid4()}${base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}"


def oauth_error(status: int, error: str, description: str) -> tuple[int, bytes]:
    """Return status and body of an error in the form of RFC 6749."""
    return status, json.dumps({"error": error, "error_description": description}, separators=(",", ":")).encode()


def invalid_client() -> tuple[int, bytes]:
    """Return the answer of SAP's token service to a wrong id or secret."""
    return oauth_error(401, "invalid_client", "Bad credentials")


@dataclass(frozen=True, slots=True)
class _Issued:
    token: str
    jti: str
    expires_at: float
    login: str = ""
    user: str = ""


class TokenService:
    """Issue, check and revoke tokens. ``clock`` is monotonic, in seconds.

    Tokens are opaque, so that a client must read ``expires_in`` to know their lifetime.
    """

    def __init__(self, client_id: str, client_secret: str, *, lifetime_s: float, clock: Callable[[], float]) -> None:
        self.client_id = client_id
        self._secret = client_secret
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._lock = threading.Lock()
        self._live: dict[str, _Issued] = {}
        self._last: _Issued | None = None

    def check(
        self, authorization: str | None, content_type: str, body: bytes, query: str
    ) -> tuple[int, bytes] | dict[str, str]:
        """Return status and body of the refusal, or the form if a token may be issued.

        The grant is read from body or query, the client from a Basic header or the body. Like SAC, the header takes the
        raw id and secret, not the percent-encoded form of RFC 6749 (section 2.3.1).
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
        if grant_type not in {"client_credentials", "authorization_code", "refresh_token"}:
            return oauth_error(400, "unsupported_grant_type", f"Unsupported grant type: {grant_type[:60]}")
        return form

    def issue(
        self, *, lifetime_s: float | None = None, same_again: bool = False, user: str = "", login: str = ""
    ) -> dict[str, Any]:
        """Return a token reply. ``same_again`` returns the last token while it is valid, as some providers do.

        The token of a named *user* belongs to a *login*, with which it ends.
        """
        now = self._clock()
        with self._lock:
            issued = self._last
            if not (same_again and issued is not None and issued.login == login and issued.expires_at > now):
                jti = uuid.uuid4().hex
                expires_at = now + (self._lifetime_s if lifetime_s is None else lifetime_s)
                token = user_token(user, jti=jti) if user else f"sandbox-token.{jti}.{secrets.token_urlsafe(32)}"
                issued = _Issued(token, jti, expires_at, login, user)
                self._live = {token: i for token, i in self._live.items() if i.expires_at > now}
                self._live[issued.token] = self._last = issued
        # Round down: a token must not expire before its expires_in.
        return {
            "access_token": issued.token,
            "token_type": "bearer",
            "expires_in": int(issued.expires_at - now + 1e-6),
            "scope": "uaa.resource",
            "jti": issued.jti,
        }

    def accepts(self, authorization: str | None) -> bool:
        """Return whether an ``Authorization`` header holds a valid token."""
        scheme, _, token = (authorization or "").partition(" ")
        with self._lock:
            issued = self._live.get(token)
        return scheme.lower() == "bearer" and issued is not None and issued.expires_at > self._clock()

    def revoke_all(self) -> None:
        """Revoke all tokens issued so far."""
        with self._lock:
            self._live.clear()

    def is_of_user(self, authorization: str) -> bool:
        """Return whether the bearer token is that of a named user."""
        with self._lock:
            issued = self._live.get(authorization.partition(" ")[2])
        return issued is not None and bool(issued.login)

    def user_of(self, authorization: str) -> str:
        """Return the named user of a bearer token; empty for that of a technical user."""
        with self._lock:
            issued = self._live.get(authorization.partition(" ")[2])
        return issued.user if issued is not None and issued.login else ""

    def revoke_login(self, login: str) -> None:
        """Revoke the tokens of one login."""
        with self._lock:
            self._live = {token: issued for token, issued in self._live.items() if issued.login != login}

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


async def token_answer(
    exchange: Exchange, tokens: TokenService, logins: LoginService, journal: Journal, body: bytes
) -> Answer:
    """Answer a token request; errors have the form of RFC 6749, not SAC's envelope."""
    if exchange.method != "POST":
        return _answer(*oauth_error(405, "invalid_request", "Use POST"))
    slow = exchange.take("token_slow")
    if slow:
        await asyncio.sleep(slow["delay_s"])
    limit = exchange.take("token_429")
    if limit:
        waits = retry_after(limit["retry_after_s"])
        return _answer(*oauth_error(429, "too_many_requests", "Too many requests"), waits)
    if exchange.strikes("token_500"):
        return _answer(*oauth_error(500, "server_error", "Internal Server Error"))
    headers = exchange.headers
    checked: tuple[int, bytes] | dict[str, str] = invalid_client()
    if not exchange.strikes("token_invalid_client"):
        checked = tokens.check(headers.get("Authorization"), headers.get("Content-Type", ""), body, exchange.query)
    if isinstance(checked, tuple):
        return _answer(*checked)
    lifetime = exchange.take("token_lifetime")
    lifetime_s = float(lifetime["seconds"]) if lifetime else None
    if checked["grant_type"] == "client_credentials":
        reply = tokens.issue(lifetime_s=lifetime_s, same_again=exchange.strikes("same_token"))
    else:
        granted = logins.grant(exchange, checked, lifetime_s)
        if isinstance(granted, str):
            return _answer(*oauth_error(400, "invalid_grant", granted))
        reply = granted
    journal.count("tokens_issued")
    said = exchange.take("expires_in")
    if said and said["value"] is None:
        del reply["expires_in"]
    elif said:
        reply["expires_in"] = said["value"]
    return _answer(200, json.dumps(reply, separators=(",", ":")).encode())


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    # RFC 6749, section 5.1: caches on the way must not keep a token.
    return Answer(status, body, headers={"Cache-Control": "no-store", "Pragma": "no-cache", **(headers or {})})


_CSRF: Final = "x-csrf-token"
_CUSTOM_AUTH: Final = "x-sap-sac-custom-auth"


class Gate:
    """Check the tokens of a request, and add CSRF token and session cookie to its answer."""

    def __init__(self, tokens: TokenService, journal: Journal) -> None:
        self._tokens = tokens
        self._journal = journal
        self._lock = threading.Lock()
        self._csrf: dict[str, str] = {}

    def admit(self, exchange: Exchange) -> None:
        """Check the bearer token, and the CSRF token of requests that write.

        Raises:
            Refusal: 401 (or the status of a misbehaviour); 403 with ``x-csrf-token: Required`` for a missing or wrong
                CSRF token; 405 for a request that writes where nothing can be written.
        """
        if exchange.strikes("revoke_tokens"):
            self._tokens.revoke_all()
        if not self._tokens.accepts(exchange.headers.get("Authorization")):
            instead = exchange.take("dead_token_status")
            raise _unauthorized(instead["status"] if instead else 401)
        if exchange.strikes("unauthorized"):
            raise _unauthorized(401)
        ended = exchange.take("session_ended") if "Cookie" in exchange.headers else None
        if ended:
            raise Refusal(ended["status"], "Session timed out")
        if exchange.strikes("not_allowed_400"):
            raise Refusal(400, "OAuth Client is not allowed to interact with API")
        if exchange.strikes("forbidden"):
            raise Refusal(403, "OAuth Client is not allowed to interact with API", 3401)
        if exchange.method in {"GET", "HEAD"}:
            return
        with self._lock:
            expected = self._csrf.get(exchange.headers.get("Authorization", ""))
        if expected is None or exchange.headers.get(_CSRF) != expected:
            raise Refusal(403, "CSRF token required", headers={_CSRF: "Required"})
        if exchange.kind in {*IMPORTS, *ACTIONS, "subscriptions"}:
            return
        raise Refusal(405, f"The method {exchange.method} is not allowed.", headers={"Allow": "GET, HEAD"})

    def see_out(self, exchange: Exchange, answer: Answer) -> Answer:
        """Return the answer with a CSRF token if the request fetches one, and with a session cookie where SAC sets one.

        Any GET can fetch the CSRF token (SAP's Postman scripts use the Data Export Service), which belongs to the
        access token. With ``x-sap-sac-custom-auth: true`` SAC opens no session (seen live; SAP KBA 3387282).
        """
        headers = dict(answer.headers)
        authorization = exchange.headers.get("Authorization", "")
        if exchange.headers.get(_CSRF, "").lower() == "fetch":
            with self._lock:
                headers[_CSRF] = self._csrf.setdefault(authorization, secrets.token_hex(16))
        asks_for_none = exchange.headers.get(_CUSTOM_AUTH, "").lower() == "true"
        if "Cookie" not in exchange.headers and (not asks_for_none or exchange.strikes("session_forced")):
            self._journal.count("sessions_opened")
            headers["Set-Cookie"] = f"JSESSIONID={secrets.token_hex(16)}; Path=/; HttpOnly"
        return replace(answer, headers=headers)


def _unauthorized(status: int) -> Refusal:
    # Message and header are unconfirmed; 401 is confirmed.
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'} if status == 401 else {}
    return Refusal(status, "Unauthorized", headers=headers)
