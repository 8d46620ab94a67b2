"""Token sources for Snowflake: a JWT signed with the user's key, and the token that it is exchanged for."""

from __future__ import annotations

import json
import math
import threading
from datetime import UTC, datetime, timedelta
from typing import Final

from sacnb._auth.sources import expiry_of_jwt
from sacnb._auth.token import (
    MAX_LIFETIME_S,
    PROCESS_WARNINGS,
    TokenEnvelope,
    WarnOnce,
    clamp_chosen_lifetime_s,
    is_token_text,
)
from sacnb._fork import renew_after_fork
from sacnb._http import seal
from sacnb._settings import Secret
from sacnb._wire.context import DispatchContext
from sacnb.errors import (
    AuthError,
    BadAnswer,
    NoAnswerError,
    RefreshError,
    RequestError,
    ServerError,
    ThrottledError,
)
from sacnb.snowflake.keys import PrivateKey, account_name, user_name

__all__ = ["JWT_LIFETIME_SETTING", "KeyPairJwt", "ScopedToken", "read_text_or_json"]

JWT_LIFETIME_SETTING: Final = "SNOWFLAKE_JWT_LIFETIME_S"
_TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class KeyPairJwt:
    """Signs a JWT for the account's host with the user's RSA key (RS256); nothing is sent for it.

    ``lifetime_s`` is clamped to 30 to 3600 seconds, with one warning for the life of the process. ``iat`` increases
    with each token, also where two are signed within a second or the clock is set back.
    """

    name = "key_pair_jwt"
    renewable = True

    def __init__(
        self,
        account: str,
        user: str,
        key: PrivateKey,
        *,
        lifetime_s: float = MAX_LIFETIME_S,
        warn_once: WarnOnce = PROCESS_WARNINGS,
    ) -> None:
        self.principal = f"{account_name(account)}.{user_name(user)}"
        self._key = key
        self._lifetime_s = clamp_chosen_lifetime_s(lifetime_s, setting=JWT_LIFETIME_SETTING, warn_once=warn_once)
        self._was_clamped = self._lifetime_s != lifetime_s
        self._last_iat = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Make the lock anew: a thread of the parent may have held it."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"KeyPairJwt({self.principal!r}, {self._key.fingerprint})"

    def fetch(self, now: datetime) -> TokenEnvelope:
        """Return a new token, signed at *now*."""
        with self._lock:
            iat = self._last_iat = max(math.floor(now.timestamp()), self._last_iat + 1)
        expires = iat + math.floor(self._lifetime_s)
        claims = {
            "iss": f"{self.principal}.{self._key.fingerprint}",
            "sub": self.principal,
            "iat": iat,
            "exp": expires,
        }
        return TokenEnvelope(
            self._key.sign(claims),
            issued_at=datetime.fromtimestamp(iat, UTC),
            expires_at=datetime.fromtimestamp(expires, UTC),
            was_clamped=self._was_clamped,
        )


class ScopedToken:
    """Exchanges the token of ``control``, the engine for the account's host, for one for *ingest_host*.

    The answer is the token as text, or JSON with a ``token``: Snowflake's reference describes the latter, its SDK
    accepts only the former. Its ``exp`` is read from it; without one ``lifetime_s`` is assumed.
    """

    name = "scoped_token"
    renewable = True

    def __init__(self, control: DispatchContext, ingest_host: str, *, lifetime_s: float = MAX_LIFETIME_S) -> None:
        self.principal = control.guard.principal
        self.ingest_host = ingest_host
        self._control = control
        self._lifetime_s = lifetime_s

    def __repr__(self) -> str:
        return f"ScopedToken({self.ingest_host!r}, {self._control.guard.source!r})"

    def fetch(self, now: datetime) -> TokenEnvelope:
        """Ask for a token; the engine repeats what may be repeated. Raises RefreshError, and Cancelled."""
        failure: RefreshError | None = None
        try:
            answer = self._control.session.fetch(
                "POST",
                _TOKEN_PATH,
                operation="scoped token",
                data={"grant_type": _GRANT, "scope": self.ingest_host},
                idempotent=True,
                accept="*/*",
                expect="any",
            )
        except RefreshError:
            raise
        except (AuthError, BadAnswer, RequestError) as error:
            failure = _refused(error)
        if failure is not None:
            raise failure  # out here, so that the request is not its context
        try:
            return self._envelope(read_text_or_json(answer.body, "token"), now)
        except BaseException as error:
            seal(error)
            raise

    def _envelope(self, text: str, now: datetime) -> TokenEnvelope:
        if not is_token_text(text):
            raise RefreshError(
                "Snowflake answered the request for a scoped token with something else than a token.",
                error_code="non_retriable",
                hint="Look at SNOWFLAKE_ACCOUNT and SNOWFLAKE_URL: do they lead to Snowflake itself, or to a proxy?",
            )
        value = Secret(text)
        expires = expiry_of_jwt(value) or now + timedelta(seconds=self._lifetime_s)
        latest = now + timedelta(seconds=MAX_LIFETIME_S)
        return TokenEnvelope(
            value,
            issued_at=now,
            expires_at=min(expires, latest),
            scope=self.ingest_host,
            was_clamped=expires > latest,
        )


def _refused(error: AuthError | BadAnswer | RequestError) -> RefreshError:
    # Here an attempt is one of the engine below, with all its retries.
    may_pass = isinstance(error, NoAnswerError | ServerError | ThrottledError | BadAnswer)
    return RefreshError(
        error.message,
        error_code="refresh_failed" if may_pass else "non_retriable",
        hint=error.hint,
        outcome=error.outcome,
    )


def read_text_or_json(body: bytes, field: str) -> str:
    """Return *field* of a JSON object, or the text of a JSON string or of a plain text; empty where there is none."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if text[:1] not in {"{", '"'}:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    found = value.get(field) if isinstance(value, dict) else value
    return found.strip() if isinstance(found, str) else ""
