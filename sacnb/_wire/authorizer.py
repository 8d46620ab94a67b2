"""Send a request with a valid token, to the tenant only, and renew the token once where it is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

import requests
from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import AuthBase
from requests_oauthlib import OAuth2Session

from sacnb._auth.guard import TokenGuard
from sacnb._auth.token import TokenEnvelope
from sacnb._connections import NoRedirects
from sacnb._endpoints import CSRF_HEADER
from sacnb._http import Origin, read_challenge
from sacnb._redact import redact_url
from sacnb._settings import Secret
from sacnb._wire.failures import unauthorized
from sacnb._wire.message import Received, Request
from sacnb._wire.telemetry import log
from sacnb.errors import AuthError, RefreshError, RequestError

__all__ = ["Authorizer", "Bearer", "GuardedSession", "UselessRenewals", "refuse_foreign"]


class UselessRenewals:
    """Remembers the token with which a 403 stayed although it was fresh: renewing it again would not help."""

    def __init__(self) -> None:
        self._value: Secret | None = None

    def __contains__(self, token: TokenEnvelope) -> bool:
        return self._value == token.value

    def add(self, token: TokenEnvelope) -> None:
        """Remember *token*, in place of an earlier one."""
        self._value = token.value


class Authorizer:
    """Sends a request with a valid token; one that is refused costs one renewal and one more sending, never a third.

    A 401, or a challenge that calls the token invalid, says that the token is dead. Some gateways say 403 instead,
    which usually means a missing right; so it costs a renewal once for a token, and not with every request.
    """

    def __init__(
        self,
        guard: TokenGuard,
        useless: UselessRenewals,
        request: Request,
        count_retry: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._guard = guard
        self._useless = useless
        self._request = request
        self._count_retry = count_retry
        self._refused: TokenEnvelope | None = None

    def send(
        self,
        send: Callable[[TokenEnvelope], Received],
        *,
        again: Callable[[Received], bool] = lambda _: False,
        can_be_sent_again: bool = True,
    ) -> Received:
        """Return the reply to the request, which *send* sends with a token.

        ``again`` returns whether it has done something about the reply that makes another sending worth while.
        Raises AuthError for a 401 that stays, RefreshError where there is no token.
        """
        while True:
            token = self._guard.ensure().token
            received = send(token)
            if again(received):
                continue
            if received.status < 400:
                return received
            if received.status == 401:
                self._reject(token, received, can_be_sent_again=can_be_sent_again)
            elif not (can_be_sent_again and self._renew(token, received)):
                return received

    def _reject(self, token: TokenEnvelope, received: Received, *, can_be_sent_again: bool) -> None:
        if self._refused is not None:
            raise unauthorized(self._request, "also to a fresh token", received)
        if not can_be_sent_again:
            self._guard.reject(token)
            raise unauthorized(self._request, "and its body cannot be sent a second time", received)
        self._announce(received)
        self._guard.reject(token)
        if self._guard.ensure().token.value == token.value:
            raise unauthorized(self._request, "and the token service hands the rejected token out again", received)
        self._refused = token

    def _renew(self, token: TokenEnvelope, received: Received) -> bool:
        """Renew *token* if that may help against a refusal other than 401; return whether there is another one now."""
        challenge = read_challenge(received.headers)
        is_dead = challenge.error == "invalid_token" and received.status < 500
        is_about_csrf = received.headers.get(CSRF_HEADER, "").lower() == "required"
        may_be_dead = received.status == 403 and challenge.error != "insufficient_scope" and not is_about_csrf
        if not (is_dead or may_be_dead):
            return False
        guard, useless = self._guard, self._useless
        if self._refused is not None:  # it is a fresh one already
            useless.add(token)
            return False
        if not guard.source.renewable or token in useless:
            return False
        self._announce(received)
        try:
            current = guard.peek()
            # Another thread may have renewed it meanwhile.
            fresh = (guard.force() if current is None or current.value == token.value else guard.ensure()).token
        except RefreshError as error:
            log.warning("The token could not be renewed: %s", error)
            return False
        if fresh.value == token.value:
            useless.add(token)
            return False
        self._refused = token
        return True

    def _announce(self, received: Received) -> None:
        log.warning(
            "%s: %s answered %d; renewing the token and sending the request once more.",
            self._request.operation,
            self._request.service.name,
            received.status,
            extra={"request_id": received.request_id},
        )
        self._count_retry(str(received.status))


class Bearer(AuthBase):
    """Attach a token to a prepared request, if it goes where the token may go."""

    def __init__(self, token: TokenEnvelope, origin: Origin) -> None:
        self._token = token
        self._origin = origin

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Check the prepared address: it is the one requests connects to.
        refuse_foreign(request.method or "", request.url or "", self._origin)
        request.headers["Authorization"] = f"Bearer {self._token.value.reveal()}"
        return request


def refuse_foreign(method: str, url: str, origin: Origin) -> None:
    """Raise RequestError for an address outside of the tenant."""
    if Origin.of(url) != origin:
        shown = redact_url(url)
        raise RequestError(
            f"{shown} is not an address of the tenant {origin.host}; the token is not sent there.",
            method=method,
            url=shown,
        )


class GuardedSession(NoRedirects, OAuth2Session):
    """An OAuth2Session whose tokens come from a TokenGuard.

    What OAuth2Session does with tokens is replaced: its own renewal cannot serve client credentials (it posts
    ``grant_type=refresh_token`` without a token, and raises TokenUpdated), its DEBUG log prints tokens, and it keeps
    the token where threads overwrite each other's.
    """

    def __init__(self, guard: TokenGuard, now: Callable[[], datetime]) -> None:
        super().__init__(client=BackendApplicationClient(client_id=guard.source.name))
        self.guard = guard
        self.now = now

    def fetch_token(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: tokens come from the guard."""
        raise AuthError("A SacSession gets its tokens by itself.", hint="For a new one now: session.guard.force().")

    def refresh_token(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: tokens come from the guard."""
        self.fetch_token()

    @property
    def authorized(self) -> bool:
        """True if there is a token that has not expired; sending gets one in any case."""
        token = self.guard.peek()
        return token is not None and not token.is_expired(self.now())

    @property
    def token(self) -> dict[str, Any]:
        """The guard's token in the form of OAuth2Session; empty where there is none.

        ``access_token`` shows itself only to ``reveal()``. It cannot be set: SAC_TOKEN is for a token of your own.
        """
        token = self.guard.peek() if hasattr(self, "guard") else None
        if token is None:
            return {}
        return {"access_token": token.value, "token_type": "Bearer", "expires_at": token.expires_at_local.timestamp()}

    @token.setter
    def token(self, value: Mapping[str, Any]) -> None:
        if value:  # OAuth2Session itself sets an empty one
            raise AuthError(
                "A SacSession gets its tokens by itself, and takes none that is set.",
                hint='For a token of your own: sacnb.connect(auth="static", token="...").',
            )

    @property
    def access_token(self) -> Secret | None:
        """The guard's access token, which shows itself only to ``reveal()``."""
        return self.token.get("access_token")

    @access_token.setter
    def access_token(self, value: str) -> None:
        self.token = {"access_token": value}
