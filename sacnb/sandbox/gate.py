"""Who may come in: bearer tokens and CSRF tokens at the API."""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace
from typing import Final

from sacnb.sandbox.exchange import Answer, Exchange
from sacnb.sandbox.journal import Journal
from sacnb.sandbox.oauth import TokenService
from sacnb.sandbox.problems import Refusal

__all__ = ["Gate"]

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
