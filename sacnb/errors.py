"""Everything sacnb raises or warns on purpose.

    SacError
    ├── SettingsError            a variable or argument is missing or malformed (also a ValueError)
    ├── AuthError                SAC does not accept who we are
    │   └── RefreshError         no valid token could be obtained
    ├── RequestError             SAC answered with a refusal, or did not answer
    │   ├── ForbiddenError       403
    │   ├── NotFoundError        404
    │   ├── LiveConnectionError  412: a live-connection model, which SAC does not export
    │   ├── ThrottledError       429, after all retries
    │   ├── ServerError          408 and 5xx, after all retries
    │   └── NoAnswerError        connection, TLS, proxy or timeout, after all retries
    ├── BadAnswer                an answer came that cannot be trusted; nothing of it was kept
    ├── UnknownNameError         no such model, dimension, measure or member (also a LookupError)
    ├── QueryError               a query SAC cannot answer, or would answer wrongly (also a ValueError)
    ├── ContractError            a frame that does not fit the tidy contract (also a ValueError)
    ├── CacheError               a cache entry that cannot be used; ``repair_command`` says what to run
    ├── ExportError              a pull cannot be written where it was told to
    ├── ReplayError              a request that is not in the cassette, or a cassette that cannot be made or used
    ├── Cancelled                the user stopped it
    └── MissingExtraError        an optional part is not installed (also an ImportError)

    SacWarning (a UserWarning)
    ├── StaleDataWarning         SAC failed and the last good result was served
    ├── DeprecatedTokenWarning   a pasted token is used
    ├── PrecisionWarning         digits would be lost in a float64
    ├── MixedAccountsWarning     accounts of different kinds share one measure
    ├── RowCountWarning          the rows received are not as many as SAC announced
    └── LargeScanWarning         a query is about to pull every row of a large model

Every message says which value, what was expected, and what to do now.
"""

from __future__ import annotations

import difflib
import html
import inspect
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

__all__ = [
    "Attempt",
    "AuthError",
    "BadAnswer",
    "CacheError",
    "Cancelled",
    "ContractError",
    "DeprecatedTokenWarning",
    "ExportError",
    "ForbiddenError",
    "LargeScanWarning",
    "LiveConnectionError",
    "MissingExtraError",
    "MixedAccountsWarning",
    "NoAnswerError",
    "NotFoundError",
    "PrecisionWarning",
    "QueryError",
    "RefreshError",
    "ReplayError",
    "RequestError",
    "RetryOutcome",
    "RowCountWarning",
    "SacError",
    "SacWarning",
    "ServerError",
    "SettingsError",
    "StaleDataWarning",
    "ThrottledError",
    "UnknownNameError",
    "warn_user",
]


_MOST_CHARS: Final = 8000
# As the tables of rendering, which stands beside this file and does not know it.
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]<>|$~#])")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a request: what came back, how long we then slept, and SAC's request id."""

    status: int | None
    error_kind: str | None
    delay_s: float
    request_id: str | None


@dataclass(frozen=True, slots=True)
class RetryOutcome:
    """What it took to send one request: every attempt, the last status and the seconds it lasted."""

    operation: str
    attempts: tuple[Attempt, ...]
    final_status: int | None
    elapsed_s: float


class SacError(Exception):
    """The one base of everything sacnb raises on purpose.

    ``hint`` says what to do now and is part of the message; ``outcome`` holds the attempts where a request was sent.
    """

    def __init__(self, message: str, *, hint: str | None = None, outcome: RetryOutcome | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.outcome = outcome

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def _repr_html_(self) -> str:
        """An error that is looked at, and not raised: what it is, what happened, what to do now."""
        name, *lines = (html.escape(line) for line in self._lines())
        return f"<div><p><strong>{name}</strong></p>{''.join(f'<p>{line}</p>' for line in lines)}</div>"

    def _repr_markdown_(self) -> str:
        name, *lines = (_MARKDOWN.sub(r"\\\1", line.replace("&", "&amp;")) for line in self._lines())
        return "\n\n".join([f"**{name}**", *lines])

    def _lines(self) -> list[str]:
        said = "\n".join([self.message, self.hint or "", *getattr(self, "__notes__", ())])
        if len(said) > _MOST_CHARS:
            said = f"{said[:_MOST_CHARS]} …\nOnly the beginning is shown, to keep the notebook small."
        return [type(self).__name__, *filter(None, said.splitlines())]


class SettingsError(SacError, ValueError):
    """A variable or argument is missing or malformed; ``problems`` lists all of them at once."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class AuthError(SacError):
    """SAC does not accept who we are."""


class RefreshError(AuthError):
    """No valid token could be obtained.

    ``error_code`` is ``"refresh_failed"`` (try again later) or ``"non_retriable"`` (something must be changed first);
    ``last_attempt_at`` is the UTC time of the last try; ``retry_after_s`` the seconds the token endpoint asked for.
    """

    def __init__(
        self,
        message: str,
        *,
        error_code: str = "refresh_failed",
        last_attempt_at: datetime | None = None,
        retry_after_s: float | None = None,
        hint: str | None = None,
        outcome: RetryOutcome | None = None,
    ) -> None:
        super().__init__(message, hint=hint, outcome=outcome)
        self.error_code = error_code
        self.last_attempt_at = last_attempt_at
        self.retry_after_s = retry_after_s


class RequestError(SacError):
    """SAC refused a request, or did not answer it.

    ``url`` is redacted. ``sac_number`` is the number SAC puts in brackets at the end of its message, ``[1402]``.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str = "GET",
        url: str = "",
        status: int | None = None,
        sac_number: int | None = None,
        request_id: str | None = None,
        hint: str | None = None,
        outcome: RetryOutcome | None = None,
    ) -> None:
        super().__init__(message, hint=hint, outcome=outcome)
        self.method = method
        self.url = url
        self.status = status
        self.sac_number = sac_number
        self.request_id = request_id


class ForbiddenError(RequestError):
    """403: the OAuth client or the user lacks a right."""


class NotFoundError(RequestError):
    """404: no such path, provider or entity set."""


class LiveConnectionError(RequestError):
    """412: the model has a live connection, and SAC exports acquired models only."""


class ThrottledError(RequestError):
    """429: still throttled after all retries."""


class ServerError(RequestError):
    """408 or 5xx after all retries."""


class NoAnswerError(RequestError):
    """No answer after all retries: connection, TLS, proxy or timeout."""


class BadAnswer(SacError):
    """An answer came that cannot be trusted: cut short, foreign, or against the schema. Nothing of it was kept.

    ``truncated`` is true where asking again may help. ``row`` and ``column`` say where, if it is known.
    """

    def __init__(
        self,
        message: str,
        *,
        truncated: bool = False,
        row: int | None = None,
        column: str | None = None,
        hint: str | None = None,
        outcome: RetryOutcome | None = None,
    ) -> None:
        super().__init__(message, hint=hint, outcome=outcome)
        self.truncated = truncated
        self.row = row
        self.column = column


class UnknownNameError(SacError, LookupError):
    """There is no model, dimension, measure or member of that name; ``nearest`` holds those that come close."""

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), *, where: str = "") -> None:
        self.kind = kind
        self.name = name
        names = list(dict.fromkeys(known))
        folded = {n.casefold(): n for n in names}
        close = difflib.get_close_matches(name.casefold(), list(folded), n=5, cutoff=0.5)
        self.nearest: tuple[str, ...] = tuple(folded[c] for c in close)
        place = f" in {where}" if where else ""
        if self.nearest:
            hint = "Did you mean " + " or ".join(repr(n) for n in self.nearest) + "?"
        elif names:
            shown = ", ".join(repr(n) for n in names[:12]) + (", …" if len(names) > 12 else "")
            hint = f"There is: {shown}."
        else:
            hint = None
        super().__init__(f"There is no {kind} {name!r}{place}.", hint=hint)


class QueryError(SacError, ValueError):
    """A query that SAC cannot answer, or would answer wrongly without saying so."""


class ContractError(SacError, ValueError):
    """A frame that does not fit the tidy contract, such as two rows with the same key."""


class CacheError(SacError):
    """A cache entry that cannot be used; ``repair_command`` is the command that mends it."""

    def __init__(self, message: str, *, repair_command: str = "sacnb cache repair") -> None:
        super().__init__(message, hint=f"Run: {repair_command}")
        self.repair_command = repair_command


class ReplayError(SacError):
    """A request that the cassette has no answer to, or a cassette that cannot be recorded, found or read.

    ``method`` and ``url`` (redacted) are those of the missing request, empty where it is not about one; ``nearest``
    says of the recorded requests that come close how they differ.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        url: str = "",
        nearest: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.method = method
        self.url = url
        self.nearest = tuple(nearest)


class ExportError(SacError):
    """A pull cannot be written where it was told to: something else is there, or the system refuses."""


class Cancelled(SacError):
    """The user stopped the operation; the last good result is untouched."""


class MissingExtraError(SacError, ImportError):
    """An optional part is not installed; the message holds the command that installs it."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs an optional part of sacnb.", hint=f'Run: pip install "sacnb[{extra}]"')
        self.extra = extra


class SacWarning(UserWarning):
    """The base of every warning of ours."""


class StaleDataWarning(SacWarning):
    """SAC failed, and the last good result was served instead."""


class DeprecatedTokenWarning(SacWarning):
    """A pasted token is used: it cannot be renewed."""


class PrecisionWarning(SacWarning):
    """Digits would be lost in a float64."""


class MixedAccountsWarning(SacWarning):
    """Accounts of different kinds share one measure, and are about to be summed."""


class RowCountWarning(SacWarning):
    """The rows received are not as many as SAC announced."""


class LargeScanWarning(SacWarning):
    """A query is about to pull every row of a large model."""


def warn_user(message: str, category: type[SacWarning]) -> None:
    """Warn at the line of the user's code that led here, however deep in sacnb this is called."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "sacnb":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
