"""Decide how to go on when a page cannot be fetched: restart its segment, with smaller pages, or give up."""

from __future__ import annotations

from typing import Final, Literal

from sacnb.errors import BadAnswer, NoAnswerError, RequestError, ServerError

__all__ = ["DataChanged", "Inconsistent", "Position", "Remedy", "remedy_for"]

Position = Literal["beginning", "link", "resumed link", "link that failed before"]
Remedy = Literal["give up", "restart", "smaller pages"]

_TOO_LARGE: Final = 413
# A cursor that SAC has forgotten may look like each of these (unconfirmed).
_DEAD_LINK: Final = frozenset({400, 404, 410})
_TIMEOUTS: Final = frozenset({"read_timeout", "deadline"})


class Inconsistent(BadAnswer):
    """Rows are inconsistent with each other or with SAC's count. Discard them; do not resume."""


class DataChanged(BadAnswer):
    """SAC counts other rows now than when the pull began, so the rows pulled before do not fit the rest."""


def remedy_for(error: BaseException, position: Position) -> Remedy:
    """Return the remedy for *error*, after all retries of the request itself.

    ======================  ==================  ==================  ==================  =======================
    error                   first page          later page          resumed link        link that failed before
    ======================  ==================  ==================  ==================  =======================
    413                     smaller pages       smaller pages       smaller pages       smaller pages
    5xx, 408, timeouts      smaller pages       give up             give up             smaller pages
    400, 404, 410           give up             restart             restart             restart
    other counts than then  (cannot happen)     (cannot happen)     restart             restart
    anything else           give up             give up             give up             give up
    ======================  ==================  ==================  ==================  =======================

    A page that fails for good in the middle most likely means that SAC is down: discarding the pages before it and
    fetching them again would not help. They stay for the next run, and only a link that fails in that run too counts as
    one that does not work with this page size.
    """
    if isinstance(error, DataChanged):
        return "restart"
    if not isinstance(error, RequestError):
        return "give up"
    if error.status == _TOO_LARGE:
        return "smaller pages"
    if isinstance(error, ServerError) or _timed_out(error):
        return "smaller pages" if position in {"beginning", "link that failed before"} else "give up"
    if error.status in _DEAD_LINK and position != "beginning":
        return "restart"
    return "give up"


def _timed_out(error: RequestError) -> bool:
    if not isinstance(error, NoAnswerError) or error.outcome is None or not error.outcome.attempts:
        return False
    return error.outcome.attempts[-1].error_kind in _TIMEOUTS
