"""The engine of sacnb, in Snowflake's words: what a request to it goes through, and the remedies for its refusals."""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from sacnb._auth.sources import TokenSource
from sacnb._auth.token import MIN_MARGIN_S, RefreshPolicy, utc_now
from sacnb._settings.variables import Bound, Limits
from sacnb._wire.context import DispatchContext, context_for
from sacnb._wire.message import Service
from sacnb._wire.retry import RetryPlan
from sacnb._wire.telemetry import Telemetry

__all__ = ["MIGRATE_HINT", "TOKEN_TYPE_HEADER", "engine", "retry_plan"]

TOKEN_TYPE_HEADER: Final = "X-Snowflake-Authorization-Token-Type"  # noqa: S105 - the name of a header
MIGRATE_HINT: Final = (
    "Register a public key for the user (alter user ... set rsa_public_key='...'), set SNOWFLAKE_USER and "
    "SNOWFLAKE_PRIVATE_KEY_FILE, and remove SNOWFLAKE_TOKEN: tokens are then made and refreshed automatically."
)
# 429 is waited out once, for 1 to 3 seconds or as Snowflake says; the next one is raised.
_THROTTLES: Final = 1

_HINTS: Final[Mapping[int | str, str]] = {
    400: "Snowflake did not understand the request; check the names of database, schema, table and pipe.",
    403: "The user's default role needs USAGE on database and schema, OPERATE on the pipe and INSERT on the table.",
    404: "Check database, schema, table and pipe; names are case-sensitive, and unquoted ones are upper case.",
    408: "Snowflake took too long; try again later.",
    409: "The channel was opened by somebody else, or its table changed. One program at a time can write to a channel.",
    413: "One append holds at most 4 MB after compression.",
    429: "Snowflake throttles: a channel takes 10 requests a second. Send fewer, larger appends, or use more channels.",
    500: "Snowflake failed; try again later.",
    502: "Snowflake failed; try again later.",
    503: "Snowflake is busy; try again later.",
    504: "Snowflake took too long; try again later.",
    "login": "Look at SNOWFLAKE_ACCOUNT and SNOWFLAKE_URL: do they lead to Snowflake itself, or to a proxy or portal?",
    "unauthorized": "Likely causes: RSA_PUBLIC_KEY of the user is another one (compare RSA_PUBLIC_KEY_FP of 'describe "
    "user'), SNOWFLAKE_ACCOUNT or SNOWFLAKE_USER is another one, a network policy, or the clock of this machine.",
    "certificate": "Set SNOWFLAKE_CA_BUNDLE to a PEM file with your company's certificate authority.",
    "network": "Look at SNOWFLAKE_ACCOUNT and at the network: VPN, private link, proxy variables.",
    "doubt": "It was not sent again, because Snowflake may have taken the rows; the channel's offset tells.",
    "too_long": "Such an answer is none of Snowflake's: is there a proxy between?",
    "deadline": "Raise deadline_s, or send smaller appends.",
}


def engine(
    url: str,
    source: TokenSource,
    *,
    token_type: str,
    verify: bool | str,
    plan: RetryPlan | None = None,
    margin_s: float = MIN_MARGIN_S,
    timeout: tuple[float, float] = (10.0, 60.0),
    max_answer_mb: int = 64,
    telemetry: Telemetry | None = None,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> DispatchContext:
    """Return what requests to *url* go through, with tokens of *source*, which are of Snowflake's kind *token_type*.

    A token is refreshed ``margin_s`` seconds before its end. No source here is asked again by the guard: signing sends
    nothing, and the exchange goes through an engine with retries of its own.
    """
    return context_for(
        url,
        source,
        policy=RefreshPolicy(margin_s=margin_s),
        plan=plan or retry_plan(),
        token_plan=None,
        service=Service("Snowflake", "SNOWFLAKE_URL", {TOKEN_TYPE_HEADER: token_type}, _HINTS),
        telemetry=telemetry,
        timeout=timeout,
        limits=Limits(answer=Bound(max_answer_mb, "SNOWFLAKE_MAX_ANSWER_MB")),
        verify=verify,
        now=now,
        clock=clock,
        sleep=sleep,
        random=random,
    )


def retry_plan(*, max_attempts: int = 4, deadline_s: float = 300.0) -> RetryPlan:
    """Return the plan for requests to Snowflake."""
    return RetryPlan(max_attempts=max_attempts, deadline_s=deadline_s, max_throttles=_THROTTLES)
