"""``POST /oauth/token``, with the ways a token endpoint misbehaves."""

from __future__ import annotations

import asyncio
import json

from sacnb.sandbox.exchange import Answer, Exchange
from sacnb.sandbox.faults import retry_after
from sacnb.sandbox.journal import Journal
from sacnb.sandbox.oauth import TokenService, invalid_client, oauth_error

__all__ = ["token_answer"]


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
