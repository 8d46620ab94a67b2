"""Get tokens for a named user: SAC's "3-legged" flow, with PKCE, and refresh tokens that may rotate."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from sacnb._auth.endpoint import EndpointOptions, TokenEndpoint, TokenReply
from sacnb._auth.named_user_keyring import KeptLogin, Login
from sacnb._auth.named_user_login import LoginAttempt
from sacnb._auth.token import TokenEnvelope, is_token_text
from sacnb._http import seal
from sacnb._rendering import printable
from sacnb._settings import Secret
from sacnb.errors import AuthError, RefreshError, SacError, SettingsError

__all__ = ["AuthorizationCode", "Who", "who_of"]

log = logging.getLogger("sacnb.auth")

LOGIN_HINT: Final = "Log in: sacnb login at the command line, %sac login in a notebook, tenant.login() in Python."
_MAX_CLAIM_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Who:
    """The owner of a token, as its claims name it; empty where it is opaque. The signature is not checked."""

    user: str = ""
    email: str = ""
    id: str = ""


def who_of(*tokens: Secret | None) -> Who:
    """Return the owner that the first readable JWT among *tokens* names."""
    for token in tokens:
        claims = {} if token is None else _claims(token)
        origin, subject = _text(claims, "origin"), _text(claims, "user_id") or _text(claims, "sub")
        user = _text(claims, "user_name") or _text(claims, "preferred_username") or _text(claims, "email") or subject
        if subject or user:
            return Who(user, _text(claims, "email"), f"{origin}/{subject or user}")
    return Who()


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return printable(value)[:_MAX_CLAIM_CHARS] if isinstance(value, str) else ""


def _claims(token: Secret) -> Mapping[str, Any]:
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


class AuthorizationCode:
    """A named user who logs in with a browser; afterwards refresh tokens renew the access token.

    ``begin`` makes the link, ``exchange`` turns the code that comes back into tokens. ``fetch`` uses the refresh token,
    and never opens a browser: without a login it raises RefreshError, so that no nightly job waits for a person.
    With ``kept`` the refresh token is read from the system's keyring, and written there once ``keep`` was asked for.
    An empty ``client_secret`` means a public client.
    """

    name = "authorization_code"
    renewable = True

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: Secret | str = "",
        *,
        redirect_uri: str,
        scope: str = "",
        kept: KeptLogin | None = None,
        options: EndpointOptions | None = None,
    ) -> None:
        self._secret = client_secret if isinstance(client_secret, Secret) else Secret(client_secret)
        if not client_id:
            raise SettingsError("SAC_CLIENT_ID is missing, and a login of a named user needs it.")
        self.client_id = client_id
        self.authorize_url = authorize_url(token_url)
        self.redirect_uri = redirect_uri
        self._scope = scope
        self._kept = kept
        self._refresh_token: Secret | None = None
        self._pid = os.getpid()
        # Results are cached under the principal. As long as nobody is logged in it is nobody's, in this process or any.
        self._principal = f"{client_id}/nobody-{uuid.uuid4()}"
        self._is_known = False
        self.who = Who()
        self._endpoint = TokenEndpoint(token_url, options or EndpointOptions())
        self._adopt(None if kept is None else kept.read())

    def __repr__(self) -> str:
        return f"AuthorizationCode({self._endpoint.host!r}, client_id={self.client_id!r})"

    @property
    def principal(self) -> str:
        """Return the user; before the first login a name that no user has."""
        return self._principal

    @property
    def is_kept(self) -> bool:
        """Return whether the login is kept in the system's keyring."""
        return self._kept is not None and self._kept.is_there

    def check_keeping(self) -> None:
        """Raise SettingsError or MissingExtraError where a login could not be kept: before anybody logs in."""
        if self._kept is None:
            raise SettingsError("A login to the sandbox is not kept: the sandbox ends with this process.")
        self._kept.check()

    def begin(self, redirect_uri: str) -> LoginAttempt:
        """Return a new login, whose code will be sent to *redirect_uri*."""
        return LoginAttempt.make(self.authorize_url, self.client_id, redirect_uri, self._scope)

    def exchange(self, attempt: LoginAttempt, code: Secret, now: datetime, *, keep: bool) -> TokenEnvelope:
        """Return the token for a *code*; with *keep*, keep the login in the system's keyring.

        Raises RefreshError where the token endpoint refuses, SettingsError where the keyring does not keep it.
        """
        try:
            return self._exchange(attempt, code, now, keep=keep)
        except BaseException as error:
            seal(error)
            raise

    def _exchange(self, attempt: LoginAttempt, code: Secret, now: datetime, *, keep: bool) -> TokenEnvelope:
        form: dict[str, Secret | str] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        try:
            reply = self._post(form, now)
        except RefreshError as refusal:
            if refusal.code != "invalid_grant":
                raise
            message = f"The login is not valid any more: {refusal.message}"
            raise RefreshError(
                message,
                error_code="non_retriable",
                hint=f"A code can be used once, within a few minutes. {LOGIN_HINT}",
            ) from None
        id_token = _token(reply, "id_token")
        _check_nonce(id_token, attempt)
        token = self._endpoint.token_in(reply, now)
        self._recognise(token, id_token, is_login=True)
        self._refresh_token, self._pid = _token(reply, "refresh_token"), os.getpid()
        if self._refresh_token is None:
            log.warning("SAC gave no refresh token: the login ends with this access token.")
        if keep and self._kept is not None:
            if self._refresh_token is None:
                raise SettingsError("SAC gave no refresh token, so this login cannot be kept. Leave keep out.")
            with self._kept.locked():
                self._kept.write(Login(self._refresh_token, self._principal, self.who.user, self.who.email))
        return token

    def fetch(self, now: datetime) -> TokenEnvelope:
        """Use the refresh token once. Raises RefreshError; its traceback holds no secret."""
        try:
            if self._kept is None or not self._kept.is_there:
                return self._refresh(now)
            # Another process may have used the refresh token meanwhile, and kept the one that took its place.
            with self._kept.locked():
                self._adopt(self._kept.read())
                return self._refresh(now)
        except BaseException as error:
            seal(error)
            raise

    def forget(self) -> bool:
        """Forget the login, here and in the system's keyring; return whether there was one."""
        was_there = self._refresh_token is not None
        self._refresh_token = None
        return (self._kept is not None and self._kept.delete()) or was_there

    def _adopt(self, login: Login | None) -> None:
        """Take over a login from the keyring. Raises RefreshError if it is another user's than before."""
        if login is None:
            return
        if self._is_known and login.principal != self._principal:
            raise RefreshError(
                f"The login kept in the keyring is now that of {login.user or 'another login'}, and this connection "
                f"belongs to {self.who.user or 'an earlier one'}.",
                error_code="non_retriable",
                hint="Connect again: sacnb.connect(), or %sac connect.",
            )
        self._refresh_token, self._principal, self._is_known = login.refresh_token, login.principal, True
        self.who = Who(login.user, login.email, login.principal.partition("/")[2])
        self._pid = os.getpid()

    def _refresh(self, now: datetime) -> TokenEnvelope:
        if self._refresh_token is None:
            raise RefreshError("Nobody is logged in.", error_code="non_retriable", hint=LOGIN_HINT)
        if self._pid != os.getpid():
            # Its parent may use the same refresh token, and a server that sees one twice ends the whole login.
            raise RefreshError(
                "A forked process does not share the login of its parent.",
                error_code="non_retriable",
                hint="Keep the login in the system's keyring, where processes share it: sacnb login.",
            )
        try:
            reply = self._post({"grant_type": "refresh_token", "refresh_token": self._refresh_token}, now)
        except RefreshError as refusal:
            if refusal.code != "invalid_grant":
                raise
            self._refresh_token = None
            message = f"The login has ended: {refusal.message}"
            raise RefreshError(message, error_code="non_retriable", hint=LOGIN_HINT) from None
        fresh = _token(reply, "refresh_token")
        # A server that rotates has forgotten the old one by now: keep the new one before anything else can fail.
        if fresh is not None and fresh != self._refresh_token:
            self._refresh_token = fresh
            if self._kept is not None and self._kept.is_there:
                self._keep_rotated(fresh)
        token = self._endpoint.token_in(reply, now)
        self._recognise(token, _token(reply, "id_token"), is_login=False)
        return token

    def _keep_rotated(self, fresh: Secret) -> None:
        assert self._kept is not None  # noqa: S101 - for the type checker
        try:
            self._kept.write(Login(fresh, self._principal, self.who.user, self.who.email))
        except SacError as error:
            # This process keeps the new one in memory; the next has to log in.
            log.warning("The renewed login could not be kept; log in again in the next session. %s", error.message)

    def _post(self, form: Mapping[str, Secret | str], now: datetime) -> TokenReply:
        if self._secret.reveal():
            return self._endpoint.post(form, basic=(self.client_id, self._secret), now=now)
        return self._endpoint.post({**form, "client_id": self.client_id}, basic=None, now=now)  # a public client

    def _recognise(self, token: TokenEnvelope, id_token: Secret | None, *, is_login: bool) -> None:
        """Remember whose token this is. Raises RefreshError if it is another user's than before.

        A connection is for one user: two may see different rows, and a pull must not mix them.
        """
        found = who_of(token.value, id_token)
        if not found.id and self._is_known and not is_login:
            return  # a refreshed opaque token
        principal = f"{self.client_id}/{found.id or f'login-{uuid.uuid4()}'}"
        if self._is_known and principal != self._principal:
            raise RefreshError(
                f"This connection belongs to {self.who.user or 'an earlier login'}, and the token to "
                f"{found.user or 'a login whose user is not known'}.",
                error_code="non_retriable",
                hint="Connect again for another user: sacnb.connect(), or %sac connect.",
            )
        self._principal, self.who, self._is_known = principal, found, True


def authorize_url(token_url: str) -> str:
    """Return the authorization URL beside *token_url*: the last part of its path is another word."""
    parts = urlsplit(token_url)
    if not parts.path.endswith("/token"):
        raise SettingsError(
            f"SAC_TOKEN_URL has the path {parts.path[:80]!r}; for a login it must end in /token, since the "
            "authorization URL is derived from it."
        )
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.removesuffix('token')}authorize", "", ""))


def _token(reply: TokenReply, name: Literal["refresh_token", "id_token"]) -> Secret | None:
    text = reply.fields.get(name)
    return Secret(text) if is_token_text(text) else None


def _check_nonce(id_token: Secret | None, attempt: LoginAttempt) -> None:
    """Raise AuthError for an ID token that was made for another login."""
    nonce = None if id_token is None else _claims(id_token).get("nonce")
    if nonce is not None and nonce != attempt.nonce:
        raise AuthError(
            "The ID token belongs to another login (its nonce differs), so it is not used.", hint=LOGIN_HINT
        )
