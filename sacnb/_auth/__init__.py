"""Get a valid token: ``token``, ``endpoint``, ``sources``, ``guard``."""

from __future__ import annotations

from sacnb._auth.endpoint import ClientCredentials
from sacnb._auth.guard import EnsureResult, RefreshEvent, RefreshRunner, TokenGuard
from sacnb._auth.sources import StaticToken, TokenSource
from sacnb._auth.token import RefreshPolicy, TokenEnvelope, envelope_from_reply

__all__ = [
    "ClientCredentials",
    "EnsureResult",
    "RefreshEvent",
    "RefreshPolicy",
    "RefreshRunner",
    "StaticToken",
    "TokenEnvelope",
    "TokenGuard",
    "TokenSource",
    "envelope_from_reply",
]
