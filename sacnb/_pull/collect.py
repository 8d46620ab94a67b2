"""Ask SAC, keep what it says, and serve the last good result, with a warning, when it does not answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sacnb.errors import AuthError, BadAnswer, CacheError, NoAnswerError, SacError, ServerError, ThrottledError

if TYPE_CHECKING:
    from sacnb._cache.keys import CacheKey
    from sacnb._cache.store import Cache
    from sacnb._results.result import Result

_log = logging.getLogger("sacnb.export")

_QUERY = re.compile(r"\?[$\w]+=\S*")

# SAC is away, overloaded, answers nonsense, or no token can be had: the last good result helps. A clear refusal (403,
# 404, 412) is an answer, and a mistake in the question stays the user's to mend: those are raised.
SAC_IS_AWAY = (AuthError, BadAnswer, NoAnswerError, ServerError, ThrottledError)


def refresh(
    pull: Callable[[], Result],
    cache: Cache,
    key: CacheKey,
    *,
    strict: bool = False,
    max_age_s: float = 0.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    announce: Callable[[str], None] = print,
) -> Result:
    """The result of ``pull``, kept in ``cache`` under ``key``; or the last good one if SAC fails.

    A kept result younger than ``max_age_s`` seconds is served without asking. A result served because SAC failed has
    ``stale`` set, and its ``warning`` (also handed to ``announce``) says how old it is and why; ``strict`` raises.

    Raises what ``pull`` raises where there is nothing to serve, or SAC's answer was a clear refusal.
    """
    if max_age_s > 0:
        kept = _load(cache, key)
        if isinstance(kept, CacheError):
            _log.warning("The kept result cannot be used and SAC is asked: %s", kept)
        elif kept is not None and now() - kept.info.last_refresh_time < timedelta(seconds=max_age_s):
            return kept
    try:
        result = pull()
    except SAC_IS_AWAY as error:
        if strict:
            raise
        return _last_good(cache, key, error, now(), announce)
    try:
        cache.save(key, result)
    except CacheError as error:
        if strict:
            raise
        warning = f"The data is fresh, but could not be kept: {error}"
        _log.warning("%s", warning)
        announce(warning)
        return replace(result, warning=warning)
    return result


def _load(cache: Cache, key: CacheKey) -> Result | CacheError | None:
    """The kept result, ``None`` where there is none, or the reason why it cannot be used."""
    if not cache.has(key):
        return None
    try:
        return cache.load(key)
    except CacheError as error:
        return error


def _last_good(cache: Cache, key: CacheKey, error: SacError, now: datetime, announce: Callable[[str], None]) -> Result:
    kept = _load(cache, key)
    if kept is None:
        error.add_note("There is no earlier result of this query to serve instead.")
        raise error
    if isinstance(kept, CacheError):
        error.add_note(f"The earlier result cannot be served instead: {kept}")
        raise error
    refreshed = kept.info.last_refresh_time
    warning = (
        f"SAC did not deliver; showing the data of {refreshed.astimezone(UTC):%Y-%m-%d %H:%M} UTC, "
        f"{age_in_words(now - refreshed)} old. Reason: {_briefly(error)}"
    )
    _log.warning("%s", warning)
    _log.info("What went wrong, in full: %s", error)
    announce(warning)
    return replace(kept, stale=True, warning=warning)


def _briefly(error: SacError) -> str:
    """The error's message without the queries of addresses: a warning is shown in a line, and the log has the rest."""
    return _QUERY.sub("", error.message)


def age_in_words(age: timedelta) -> str:
    """An age as people say it: ``52 minutes``, ``3 hours``, ``2 days``."""
    seconds = max(0, int(age.total_seconds()))
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {word}{'' if count == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
