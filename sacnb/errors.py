"""Everything sacnb raises or warns on purpose.

    SacError
    ├── SettingsError            a variable or argument is missing or malformed (also a ValueError)
    ├── AuthError                SAC does not accept the client
    │   └── RefreshError         no valid token could be obtained
    ├── RequestError             SAC answered with a refusal, or did not answer
    │   ├── ForbiddenError       403
    │   ├── NotFoundError        404
    │   ├── LiveConnectionError  412: a model with a live connection or data in Datasphere, which SAC does not export
    │   ├── ThrottledError       429, after all retries
    │   ├── ServerError          408, 425 and 5xx, after all retries
    │   ├── ChannelError         a Snowflake channel that cannot be written to any more
    │   └── NoAnswerError        connection, TLS, proxy or timeout, after all retries
    ├── NotCommittedError        Snowflake has not committed the rows in time
    ├── RejectedRowsError        Snowflake could not load some of the rows
    ├── BadAnswer                an answer that cannot be trusted; nothing of it was kept
    │   └── InconsistentAnswer   rows that contradict each other, or SAC's count of them
    ├── UnknownNameError         no such model, dimension, measure or member (also a LookupError)
    ├── QueryError               a query SAC cannot answer, or would answer wrongly (also a ValueError)
    │   └── NotFetchedError      a query was used as if it were its result (also an AttributeError)
    ├── WriteError               a write that SAC did not carry out, or not as asked
    │   ├── BusyError            another import job of this program has the model
    │   ├── RowsError            rows that SAC rejects, or would reject (also a ValueError)
    │   ├── ConfirmationError    CleanAndReplace without the number of rows that it deletes
    │   └── UndoError            a write that the import service cannot take back
    ├── ActionError              a multi-action that failed, or may be running
    ├── StepError                a step of a checkpoint that may have run, or ran with other input
    ├── ContractError            a frame that does not fit the tidy contract (also a ValueError)
    ├── CacheError               a cache entry that cannot be used; ``repair_command`` is the command to run
    ├── ExportError              the result cannot be written to the chosen place
    ├── UsageError               a magic got arguments that it does not take (also a ValueError)
    ├── ReplayError              a request that is not in the cassette, or a cassette that cannot be made or used
    ├── Cancelled                the user stopped the operation
    └── MissingExtraError        an optional part is not installed (also an ImportError)

    SacWarning (a UserWarning)
    ├── StaleDataWarning         SAC failed and the last good result was served
    ├── DeprecatedTokenWarning   a pasted token is used
    ├── PrecisionWarning         digits would be lost in a float64
    ├── MixedAccountsWarning     accounts of different kinds share one measure
    ├── MixedVersionsWarning     values of several versions, such as actuals and plan, are added up
    ├── ParentMemberWarning      a filter names a parent, whose rows are those of the members below it
    ├── RowCountWarning          fewer or more rows arrived than SAC announced
    ├── RepeatedKeysWarning      several records for one key were added up
    ├── TrackingWarning          changes could not be followed, and all rows were read
    └── LargeScanWarning         a query is about to pull every row of a large model

Every message names the value, what was expected, and what to do now. Errors can be pickled and copied with all their
attributes, so they survive the way from a worker process. ``sacnb.SacError`` is the same class as
``sacnb.errors.SacError``.
"""

from __future__ import annotations

import difflib
import inspect
import linecache
import sys
import traceback
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from sacnb._rendering import Paragraphs, printable

__all__ = [
    "ActionError",
    "Attempt",
    "AuthError",
    "BadAnswer",
    "BusyError",
    "CacheError",
    "Cancelled",
    "ChannelError",
    "ConfirmationError",
    "ContractError",
    "DeprecatedTokenWarning",
    "ExportError",
    "ForbiddenError",
    "InconsistentAnswer",
    "LargeScanWarning",
    "LiveConnectionError",
    "MissingExtraError",
    "MixedAccountsWarning",
    "MixedVersionsWarning",
    "NoAnswerError",
    "NotCommittedError",
    "NotFetchedError",
    "NotFoundError",
    "ParentMemberWarning",
    "PrecisionWarning",
    "QueryError",
    "RefreshError",
    "RejectedRowsError",
    "RepeatedKeysWarning",
    "ReplayError",
    "RequestError",
    "RetryOutcome",
    "RowCountWarning",
    "RowsError",
    "SacError",
    "SacWarning",
    "ServerError",
    "SettingsError",
    "StaleDataWarning",
    "StepError",
    "ThrottledError",
    "TrackingWarning",
    "UndoError",
    "UnknownNameError",
    "UsageError",
    "WriteError",
    "warn_user",
]


_MAX_CHARS: Final = 8000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a request: the status or the kind of error, the wait after it, and SAC's request id."""

    status: int | None
    error_kind: str | None
    delay_s: float
    request_id: str | None


@dataclass(frozen=True, slots=True)
class RetryOutcome:
    """All attempts of one request, its last status and the seconds it took."""

    operation: str
    attempts: tuple[Attempt, ...]
    final_status: int | None
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class ErrorText:
    """The text of an error in the order in which people need it; every surface shows this one."""

    headline: str
    hint: str
    details: tuple[str, ...]

    @classmethod
    def of(cls, error: SacError) -> Self:
        """Return the text of *error*: its message, the remedy, its notes, its attempts and SAC's request id."""
        headline, details = error.message, []
        if isinstance(error, SettingsError) and len(error.problems) > 1:
            headline = f"{len(error.problems)} settings need a change."
            details += [f"- {problem}" for problem in error.problems]
        details += getattr(error, "__notes__", ())
        if error.outcome is not None and len(error.outcome.attempts) > 1:
            seen = ", ".join(
                str(attempt.status or (attempt.error_kind or "?").replace("_", " "))
                for attempt in error.outcome.attempts
            )
            details.append(f"{len(error.outcome.attempts)} attempts in {error.outcome.elapsed_s:.1f} s: {seen}")
        if isinstance(error, RequestError):
            # The address of a query fills the screen, and the request id has a line of its own.
            what, found, answer = headline.partition(f": {error.method} {error.url} was answered ")
            if found:
                answer = answer.replace(f" (request id {error.request_id})", "", 1)
                headline = f'The request "{what}" was answered {answer}'
                details.append(f"{error.method} {error.url}")
        if isinstance(error, RequestError) and error.request_id:
            details.append(f"SAC's request id, for SAP's support: {error.request_id}")
        return cls(headline, error.hint or "", tuple(line for text in details for line in text.splitlines()))

    def lines(self) -> list[str]:
        """Return the lines to show below the name of the error, cut where they would fill a notebook."""
        text = "\n".join([self.headline, self.hint, *self.details])
        if len(text) > _MAX_CHARS:
            text = f"{text[:_MAX_CHARS]} …\nOnly the beginning is shown, to keep the notebook small."
        return [line for line in text.splitlines() if line]


class SacError(Exception):
    """Base class of every error that sacnb raises on purpose.

    ``hint`` is the remedy and part of the message; ``outcome`` holds the attempts of a request that was sent.
    """

    __module__ = "sacnb"
    # The option %config SacMagics.full_tracebacks; ``None`` while there are no magics to configure.
    _full_tracebacks: ClassVar[bool | None] = None

    def __init__(self, message: str, *, hint: str | None = None, outcome: RetryOutcome | None = None) -> None:
        message = printable(message)  # it may quote a server
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.outcome = outcome

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is pickled as a call of its class with ``args``, the message. The constructors here take other
        # arguments, and a failing call would hang multiprocessing.Pool. So make the error without its constructor.
        reduced = super().__reduce__()
        return (_new_error, (type(self), self.args), *reduced[2:])

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows: a few, or the traceback where ``%tb`` asks for the same error again."""
        about = vars(self)
        again = about.get("_shown_with") == id(self.__traceback__)  # an id, since a traceback cannot be pickled
        about["_shown_with"] = id(self.__traceback__)
        if again or SacError._full_tracebacks:
            return _ipython_traceback(self)
        first, *rest = ErrorText.of(self).lines() or [""]
        lines = [f"{type(self).__name__}: {first}", *rest]
        if isinstance(self, UsageError):  # the typed line is all there is to see
            return lines
        line = _line_of_cell(self.__traceback__)
        where = f"Raised by line {line} of the cell. " if line else ""
        each_time = "; %config SacMagics.full_tracebacks = True shows it each time"
        always = "" if SacError._full_tracebacks is None else each_time
        return [*lines, f"{where}%tb shows the traceback{always}."]

    def _repr_html_(self) -> str:
        return self._paragraphs().html()

    def _repr_markdown_(self) -> str:
        return self._paragraphs().markdown()

    def _paragraphs(self) -> Paragraphs:
        return Paragraphs(type(self).__name__, tuple(ErrorText.of(self).lines()))


def _ipython_traceback(error: SacError) -> list[str]:
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return traceback.format_exception(error)
    shown: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
    # Frames that held secrets are cleared, so IPython does not find their arguments.
    return [line.replace("(***failed resolving arguments***)", "(...)") for line in shown]


def _line_of_cell(trace: TracebackType | None) -> int | None:
    """Return the line of the user's cell that raised, if the cell has several and is not a magic."""
    found = None
    for frame, line in traceback.walk_tb(trace):
        if frame.f_globals.get("__name__") == "__main__":
            lines = linecache.getlines(frame.f_code.co_filename)
            is_magic = 0 < line <= len(lines) and lines[line - 1].startswith("get_ipython()")
            found = line if len(lines) > 1 and not is_magic else None
    return found


def _new_error(error_class: type[SacError], args: tuple[Any, ...]) -> SacError:
    error = error_class.__new__(error_class, *args)
    if isinstance(error, ImportError):
        ImportError.__init__(error, *args)  # sets ``msg``, which is not part of the pickled state
    return error


class SettingsError(SacError, ValueError):
    """A variable or argument is missing or malformed; ``problems`` lists all of them at once."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class AuthError(SacError):
    """SAC does not accept the client or its token."""


class RefreshError(AuthError):
    """No valid token could be obtained.

    ``error_code`` is ``"refresh_failed"`` (try again later) or ``"non_retriable"`` (change something first). ``code``
    is the word of the token service, such as ``"invalid_grant"``, where it gave one. ``last_attempt_at`` is the UTC
    time of the last attempt, ``retry_after_s`` the wait that the endpoint asked for.
    """

    def __init__(
        self,
        message: str,
        *,
        error_code: str = "refresh_failed",
        code: str | None = None,
        last_attempt_at: datetime | None = None,
        retry_after_s: float | None = None,
        hint: str | None = None,
        outcome: RetryOutcome | None = None,
    ) -> None:
        super().__init__(message, hint=hint, outcome=outcome)
        self.error_code = error_code
        self.code = code
        self.last_attempt_at = last_attempt_at
        self.retry_after_s = retry_after_s


class RequestError(SacError):
    """SAC refused a request, or did not answer it.

    ``url`` is redacted. ``sac_number`` is the number SAC puts in brackets at the end of its message, ``[1402]``;
    ``code`` is the code in the body: a correlation id of SAC's, or Snowflake's name of the error.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str = "GET",
        url: str = "",
        status: int | None = None,
        code: str | None = None,
        sac_number: int | None = None,
        request_id: str | None = None,
        hint: str | None = None,
        outcome: RetryOutcome | None = None,
    ) -> None:
        super().__init__(message, hint=hint, outcome=outcome)
        self.method = method
        self.url = url
        self.status = status
        self.code = code
        self.sac_number = sac_number
        self.request_id = request_id


class ForbiddenError(RequestError):
    """403: the OAuth client or the user lacks a right."""


class NotFoundError(RequestError):
    """404: no such path, provider or entity set."""


class LiveConnectionError(RequestError):
    """412: SAC exports acquired models only, and this one has a live connection, or its data are in Datasphere."""


class ThrottledError(RequestError):
    """429: still throttled after all retries."""


class ServerError(RequestError):
    """408, 425 and 5xx after all retries."""


class NoAnswerError(RequestError):
    """No answer after all retries: connection, TLS, proxy or timeout."""


class ChannelError(RequestError):
    """A Snowflake channel cannot be written to any more: another program writes to it, or its history is gone.

    ``code`` is Snowflake's name of the reason, where it gave one.
    """


class NotCommittedError(SacError):
    """Snowflake has not committed all rows in time; ``committed`` of ``appended`` rows of the channel are.

    Rows that are not committed are not lost: they may still be, and opening the channel again tells.
    """

    def __init__(self, message: str, *, committed: int = 0, appended: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.committed = committed
        self.appended = appended


class RejectedRowsError(SacError):
    """Snowflake could not load ``rows`` of the rows, and left them out; ``last_message`` is what it says of one."""

    def __init__(self, message: str, *, rows: int = 0, last_message: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.rows = rows
        self.last_message = last_message


class BadAnswer(SacError):
    """SAC's answer cannot be trusted: cut short, foreign, or against the schema. Nothing of it was kept.

    ``truncated`` is true where asking again may help. ``row`` and ``column`` name the place, if it is known.
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


class InconsistentAnswer(BadAnswer):
    """Rows contradict each other, or SAC's count of them; all of them were discarded.

    ``changed`` is true where SAC counts other rows now than when the download began.
    """

    def __init__(self, message: str, *, changed: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.changed = changed


class UnknownNameError(SacError, LookupError):
    """There is no model, dimension, measure or member of that name; ``nearest`` holds similar names."""

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), *, where: str = "") -> None:
        self.kind = kind
        self.name = name
        names = list(dict.fromkeys(known))
        folded = {n.casefold(): n for n in names}
        close = difflib.get_close_matches(str(name).casefold(), list(folded), n=5, cutoff=0.5)
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


class NotFetchedError(QueryError, AttributeError):
    """A query was used as if it were its result; also an AttributeError, so that ``hasattr`` answers no."""


class WriteError(SacError):
    """A write that SAC did not carry out, or did not carry out as asked.

    ``job_id`` names the import job and ``state`` its last known state, ``None`` where there is no job. ``report`` is
    the WriteReport if rows were written, and can undo the write. ``differences`` is a frame of the rows that SAC
    returns otherwise than they were written.
    """

    def __init__(
        self,
        message: str,
        *,
        job_id: str | None = None,
        state: str | None = None,
        report: Any = None,
        differences: Any = None,
        hint: str | None = None,
        outcome: RetryOutcome | None = None,
    ) -> None:
        super().__init__(message, hint=hint, outcome=outcome)
        self.job_id = job_id
        self.state = state
        self.report = report
        self.differences = differences


class BusyError(WriteError):
    """Another write of this program has the model, with the import job ``job_id``. Nothing was written."""


class RowsError(WriteError, ValueError):
    """Rows that SAC rejects, or would reject. Nothing was written.

    ``problems`` is a polars frame with ``row`` (its number in your frame, from 0; null for a whole column), ``column``,
    ``value``, ``problem`` and ``message``.
    """

    def __init__(self, message: str, *, problems: Any, **about: Any) -> None:
        super().__init__(message, **about)
        self.problems = problems


class ConfirmationError(WriteError):
    """CleanAndReplace would delete rows, and ``confirm`` is not their number. Nothing was written.

    ``rows`` is the number of rows that would be deleted, ``affected`` a polars frame of the members whose rows those
    are.
    """

    def __init__(self, message: str, *, rows: int, affected: Any, **about: Any) -> None:
        super().__init__(message, **about)
        self.rows = rows
        self.affected = affected


class UndoError(WriteError):
    """A write cannot be taken back: it added rows, and the import service cannot remove them. Nothing was written."""


class ActionError(SacError):
    """A multi-action failed, did not end in time, or may be running although no answer came.

    ``run`` is the run, ``None`` where it is not known; ``run.messages`` is a frame of what SAC says.
    """

    def __init__(
        self, message: str, *, run: Any = None, hint: str | None = None, outcome: RetryOutcome | None = None
    ) -> None:
        super().__init__(message, hint=hint, outcome=outcome)
        self.run = run


class StepError(SacError):
    """A step of a checkpoint may have run, or ran with other input, so it is not run now; ``step`` is its name."""

    def __init__(self, message: str, *, step: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.step = step


class ContractError(SacError, ValueError):
    """A frame that does not fit the tidy contract, such as two rows with the same key."""


class CacheError(SacError):
    """A cache entry cannot be used; ``repair_command`` is the command that repairs it."""

    def __init__(self, message: str, *, repair_command: str = "sacnb cache repair") -> None:
        super().__init__(message, hint=f"Run: {repair_command}")
        self.repair_command = repair_command


class UsageError(SacError, ValueError):
    """A magic got arguments that it does not take."""


class ReplayError(SacError):
    """The cassette has no answer to a request, or cannot be recorded, found or read.

    ``method`` and ``url`` (redacted) are those of the missing request, empty where the error concerns none; ``nearest``
    lists similar recorded requests and how they differ.
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
    """The result cannot be written: the place is taken, or the system refuses."""


class Cancelled(SacError):
    """The user stopped the operation; the last good result is untouched."""


class MissingExtraError(SacError, ImportError):
    """An optional part is not installed; the hint is the command that installs it."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs an optional part of sacnb.", hint=f'Run: pip install "sacnb[{extra}]"')
        self.extra = extra


class SacWarning(UserWarning):
    """Base class of every warning that sacnb gives."""


class StaleDataWarning(SacWarning):
    """SAC failed, and the last good result was served instead."""


class DeprecatedTokenWarning(SacWarning):
    """A pasted token is used, which cannot be refreshed."""


class PrecisionWarning(SacWarning):
    """Digits would be lost in a float64."""


class MixedAccountsWarning(SacWarning):
    """Accounts of different kinds share one measure, and are about to be summed."""


class MixedVersionsWarning(SacWarning):
    """Values of several versions, such as actuals and plan, are about to be summed, or not told apart."""


class ParentMemberWarning(SacWarning):
    """A filter names a parent of a hierarchy, and SAC has rows of the members below it only."""


class RowCountWarning(SacWarning):
    """Fewer or more rows arrived than SAC announced."""


class RepeatedKeysWarning(SacWarning):
    """SAC sent several records for one key, and they were added up."""


class TrackingWarning(SacWarning):
    """Changes could not be followed, or not be merged, and all rows were read; the result is right."""


class LargeScanWarning(SacWarning):
    """A query is about to pull every row of a large model."""


def warn_user(message: str, category: type[SacWarning]) -> None:
    """Warn at the line of the user's code, however deep in sacnb the call is."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "sacnb":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
