"""The CSRF token that writing requests carry."""

from __future__ import annotations

import threading

from sacnb._auth.token import TokenEnvelope
from sacnb._settings import Secret


class CsrfKeeper:
    """Keeps the one CSRF token, with the bearer token it was given for; a new bearer token makes it worthless."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[TokenEnvelope, Secret] | None = None

    def get(self, bearer: TokenEnvelope) -> Secret | None:
        """The CSRF token for ``bearer``, if there is one."""
        kept = self._kept
        return kept[1] if kept is not None and kept[0].value == bearer.value else None

    def learn(self, bearer: TokenEnvelope, header: str | None) -> None:
        """Keep what a reply to ``bearer`` carried in ``x-csrf-token``, unless it is a word of the protocol."""
        if header and header.strip().lower() not in {"fetch", "required"}:
            with self._lock:
                self._kept = (bearer, Secret(header.strip()))

    def drop(self, refused: Secret | None) -> None:
        """Forget the token ``refused``, unless another thread has fetched a newer one meanwhile."""
        with self._lock:
            if self._kept is not None and refused is not None and self._kept[1] == refused:
                self._kept = None
