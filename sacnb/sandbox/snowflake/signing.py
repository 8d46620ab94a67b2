"""Tokens: a JWT of the user is checked against the registered public key, a scoped token is made and checked."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from sacnb.sandbox.snowflake.store import Refused

__all__ = ["Signatures", "new_key_pair"]

_MAX_LIFETIME_S: Final = 3600
_FUTURE_S: Final = 60
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def new_key_pair() -> tuple[bytes, bytes]:
    """Return a new private and public key in PEM, for those who have none."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


class Signatures:
    """Checks tokens for one account and user, whose public key is registered, as Snowflake documents it."""

    def __init__(
        self,
        account: str,
        user: str,
        public_key: bytes,
        *,
        scoped_lifetime_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        key = load_pem_public_key(public_key)
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._key: Any = key
        self._subject = f"{account.upper()}.{user.upper()}"
        self._issuer = f"{self._subject}.SHA256:{base64.b64encode(hashlib.sha256(der).digest()).decode()}"
        self._secret = secrets.token_bytes(32)
        self._generation = 0
        self._expires = 0
        self.scoped_lifetime_s = scoped_lifetime_s
        self._clock = clock

    def admit_user(self, bearer: str | None, token_type: str | None) -> None:
        """Raise Refused where the JWT of a user is none, has expired, or was signed with another key."""
        if token_type != "KEYPAIR_JWT":  # noqa: S105 - the kind of a token
            raise _unauthorized(f"unexpected token type {token_type}")
        try:
            claims = jwt.decode(
                bearer or "",
                self._key,
                algorithms=["RS256"],
                issuer=self._issuer,
                options={"require": ["iss", "sub", "iat", "exp"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError as error:
            raise _unauthorized(f"JWT token is invalid: {error}") from None
        now, (issued, expires) = self._clock(), (_seconds(claims[name]) for name in ("iat", "exp"))
        if claims["sub"] != self._subject:
            raise _unauthorized("JWT token is invalid: sub")
        if issued > now + _FUTURE_S:
            raise _unauthorized("JWT_TOKEN_INVALID_ISSUE_TIME")
        # Valid for at most an hour after its issue, whatever it says itself.
        if now >= min(expires, issued + _MAX_LIFETIME_S):
            raise _unauthorized("JWT token has expired")

    def exchange(self, grant_type: str, scope: str, host: str) -> str:
        """Return a scoped token for *scope*, which must be the *host* of the ingest endpoint."""
        if grant_type != _GRANT:
            raise Refused(400, "390304", "Invalid grant_type.")
        if scope != host:
            raise Refused(400, "390305", f"Invalid scope {scope}.")
        now = self._clock()
        # Later than that of the one before, also within a second.
        self._expires = max(int(now + self.scoped_lifetime_s), self._expires + 1)
        claims = {
            "iss": "sacnb-sandbox",
            "sub": self._subject,
            "aud": host,
            "iat": int(now),  # whole: the SDK reads unsigned numbers only
            "exp": self._expires,
            "generation": self._generation,
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def admit_scoped(self, bearer: str | None, token_type: str | None, host: str) -> None:
        """Raise Refused where a scoped token is none of ours, was revoked or has expired."""
        if token_type not in {None, "OAUTH"}:
            raise _unauthorized(f"unexpected token type {token_type}")
        try:
            claims = jwt.decode(
                bearer or "", self._secret, algorithms=["HS256"], audience=host, options={"verify_exp": False}
            )
        except jwt.InvalidTokenError as error:
            raise _unauthorized(f"scoped token is invalid: {error}") from None
        if claims["generation"] != self._generation or self._clock() >= claims["exp"]:
            raise _unauthorized("scoped token has expired")

    def revoke(self) -> None:
        """Let every scoped token given so far count as expired."""
        self._generation += 1


def _seconds(moment: float) -> float:
    return moment / 1000 if moment > 1e11 else moment  # clients of both kinds exist


def _unauthorized(message: str) -> Refused:
    return Refused(401, "390144", message)
