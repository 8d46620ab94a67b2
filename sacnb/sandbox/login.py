"""The login of named users: an authorization server with a form, PKCE, codes, and refresh tokens that rotate.

SAC's own is SAP's UAA. The form and the words are the sandbox's; paths, parameters and errors are those of RFC 6749 and
RFC 7636. As RFC 9700 asks for, a code or a refresh token that comes a second time ends its whole login. Whether SAC
rotates refresh tokens for every client is unconfirmed, so a misbehaviour switches it off.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from sacnb.sandbox.exchange import Answer, Exchange

__all__ = ["AUTHORIZE_PATH", "USERS", "LoginService", "user_token"]

AUTHORIZE_PATH: Final = "/oauth/authorize"
# Name and password of the users that a sandbox knows by default.
USERS: Final[Mapping[str, str]] = {"planner": "planner", "controller": "controller"}
_CODE_LIFETIME_S: Final = 300.0
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
_FORM: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Log in to the sandbox</title></head>
<body style="font-family: sans-serif; max-width: 24em; margin: 4em auto">
<h1>Log in to the sandbox</h1><p role="alert">{problem}</p>
<form method="post"><p><label>User <input name="username" autocomplete="username" autofocus></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password"></label></p>
<p><button name="action" value="login">Log in</button> <button name="action" value="cancel">Cancel</button></p></form>
</body></html>"""


@dataclass(slots=True)
class _Login:
    """One login of a user: what its code is bound to, and its tokens."""

    id: str
    user: str
    redirect_uri: str
    challenge: str
    nonce: str
    scope: str
    code_expires_at: float
    is_over: bool = False
    is_exchanged: bool = False
    refresh_token: str | None = None


class LoginService:
    """Logs users in, and exchanges their codes and refresh tokens. ``clock`` is monotonic, in seconds."""

    def __init__(
        self,
        client_id: str,
        users: Mapping[str, str],
        *,
        issue: Callable[..., dict[str, Any]],
        revoke: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._client_id = client_id
        self._users = dict(users)
        self._issue = issue
        self._revoke = revoke
        self._clock = clock
        self._lock = threading.Lock()
        self._codes: dict[str, _Login] = {}
        # Those that were rotated away stay known: seeing one again is what gives a thief away.
        self._refresh_tokens: dict[str, _Login] = {}

    def end_all(self) -> None:
        """End every login, as an administrator does: codes, refresh tokens and access tokens."""
        with self._lock:
            for login in [*self._codes.values(), *self._refresh_tokens.values()]:
                self._end(login)

    def authorize(self, exchange: Exchange, body: bytes) -> Answer:
        """Show the form, or send the browser back with a code or an error."""
        asked = dict(parse_qsl(exchange.query, keep_blank_values=True))
        redirect_uri, state = asked.get("redirect_uri", ""), asked.get("state", "")
        # Nobody is sent to an address that is not registered, not even with an error.
        if asked.get("client_id") != self._client_id or not _is_registered(redirect_uri):
            return _page(400, "The client or its redirect URI is not registered.")

        def back(**values: str) -> Answer:
            other = exchange.strikes("login_wrong_state")
            values["state"] = secrets.token_urlsafe(8) if other else state
            query = "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items())
            location = f"{redirect_uri}{'&' if urlsplit(redirect_uri).query else '?'}{query}"
            return Answer(302, content_type="text/html", headers={**_HEADERS, "Location": location})

        challenge = asked.get("code_challenge", "")
        is_pkce = asked.get("code_challenge_method") == "S256" and _CHALLENGE.fullmatch(challenge)
        if asked.get("response_type") != "code" or not is_pkce:
            why = "Only response_type=code with a code_challenge of the method S256 is supported"
            return back(error="invalid_request", error_description=why)
        if exchange.method == "GET":
            return _page(200, "")
        filled_in = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        if filled_in.get("action") == "cancel" or exchange.strikes("login_refused"):
            return back(error="access_denied", error_description="The user denied the request")
        user = filled_in.get("username", "")
        right = self._users.get(user)
        if right is None or not hmac.compare_digest(filled_in.get("password", "").encode(), right.encode()):
            return _page(200, "The user or the password is wrong.")
        code = f"sandbox-code.{secrets.token_urlsafe(24)}"
        expires_at = self._clock() + _CODE_LIFETIME_S
        login = _Login(
            uuid.uuid4().hex, user, redirect_uri, challenge, asked.get("nonce", ""), asked.get("scope", ""), expires_at
        )
        with self._lock:
            self._codes[code] = login
        return back(code=code)

    def grant(
        self, exchange: Exchange, form: Mapping[str, str], lifetime_s: float | None = None
    ) -> dict[str, Any] | str:
        """Return the token reply for a code or a refresh token, or why it is an ``invalid_grant``."""
        is_refresh = form["grant_type"] == "refresh_token"
        with self._lock:
            found = self._used(exchange, form) if is_refresh else self._exchanged(exchange, form)
            return found if isinstance(found, str) else self._reply(exchange, found, lifetime_s, is_new=not is_refresh)

    def _exchanged(self, exchange: Exchange, form: Mapping[str, str]) -> _Login | str:
        login = self._codes.get(form.get("code", ""))
        if login is None or login.is_over:
            return "Invalid authorization code"
        if login.is_exchanged:
            self._end(login)
            return "The authorization code was used before"
        login.is_exchanged = True  # whatever comes of it: a code is for one try
        verifier = form.get("code_verifier", "").encode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).decode().rstrip("=")
        if not hmac.compare_digest(challenge, login.challenge):
            return "Invalid code verifier"
        if form.get("redirect_uri") != login.redirect_uri:
            return "Redirect URI mismatch"
        if exchange.strikes("code_expired") or login.code_expires_at <= self._clock():
            return "The authorization code has expired"
        return login

    def _used(self, exchange: Exchange, form: Mapping[str, str]) -> _Login | str:
        token = form.get("refresh_token", "")
        login = self._refresh_tokens.get(token)
        if login is None or login.is_over:
            return "Invalid refresh token"
        if token != login.refresh_token:
            self._end(login)
            return "The refresh token was used before"
        if exchange.strikes("refresh_token_expired"):
            self._end(login)
            return "The refresh token has expired"
        return login

    def _reply(self, exchange: Exchange, login: _Login, lifetime_s: float | None, *, is_new: bool) -> dict[str, Any]:
        reply = self._issue(lifetime_s=lifetime_s, user=login.user, login=login.id)
        if is_new and "openid" in login.scope.split():
            reply["id_token"] = user_token(login.user, nonce=login.nonce)
        if exchange.strikes("refresh_token_missing") or (not is_new and exchange.strikes("refresh_token_kept")):
            return reply
        login.refresh_token = f"sandbox-refresh.{secrets.token_urlsafe(32)}"
        self._refresh_tokens[login.refresh_token] = login
        return {**reply, "refresh_token": login.refresh_token}

    def _end(self, login: _Login) -> None:
        login.is_over = True
        self._revoke(login.id)


def user_token(user: str, **claims: Any) -> str:
    """Return a token that names its user as those of SAP's UAA do; its signature is random."""

    def encoded(part: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

    about = {
        "jti": uuid.uuid4().hex,
        "user_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{user}.sandbox.invalid")),
        "user_name": user,
        "email": f"{user}@sandbox.invalid",
        "origin": "sandbox",
        **claims,
    }
    return f"{encoded({'alg': 'RS256', 'typ': 'JWT'})}.{encoded(about)}.sandbox-token-{secrets.token_urlsafe(32)}"


def _is_registered(redirect_uri: str) -> bool:
    """Return whether a browser may be sent there: any port of this machine (RFC 8252, section 7.3)."""
    try:
        parts = urlsplit(redirect_uri)
    except ValueError:
        return False
    return parts.scheme == "http" and parts.hostname in _LOOPBACK and not parts.fragment


def _page(status: int, problem: str) -> Answer:
    page = _FORM.format(problem=html.escape(problem)) if status == 200 else f"<!doctype html><p>{html.escape(problem)}"
    return Answer(status, page.encode(), content_type="text/html;charset=utf-8", headers=_HEADERS)
