"""What a failure looks like from the outside: an exit code, and lines on stderr that say what to do."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Iterator

from sacnb.cli.output import say
from sacnb.errors import (
    BadAnswer,
    CacheError,
    Cancelled,
    RefreshError,
    RequestError,
    RetryOutcome,
    SacError,
    SettingsError,
)

__all__ = ["EXIT_CODES", "ExitCode", "exit_code", "report", "report_unexpected"]


class ExitCode(enum.IntEnum):
    """The exit codes of every command; ``sacnb --help`` shows them."""

    OK = 0
    NO = 1
    YOURS = 2
    SAC = 3
    CACHE = 4
    BUG = 70
    INTERRUPTED = 130
    NO_READER = 141


EXIT_CODES = {
    ExitCode.OK: "done",
    ExitCode.NO: "the answer is no: not healthy, secrets found, a check that failed",
    ExitCode.YOURS: "yours to change: arguments, settings, sign-in, a file or folder",
    ExitCode.SAC: "SAC refused, did not answer, or answered nonsense",
    ExitCode.CACHE: "a kept result cannot be used",
    ExitCode.BUG: "a mistake in sacnb: please report it",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.NO_READER: "the reader of the output left early",
}


def exit_code(error: SacError) -> ExitCode:
    """The exit code that says whose turn it is: the user's, SAC's, or the cache's."""
    if isinstance(error, Cancelled):
        return ExitCode.INTERRUPTED
    if isinstance(error, CacheError):
        return ExitCode.CACHE
    # A token endpoint that is away is SAC's matter; one that refuses us is ours.
    away = isinstance(error, RefreshError) and error.error_code == "refresh_failed"
    if away or isinstance(error, RequestError | BadAnswer):
        return ExitCode.SAC
    return ExitCode.YOURS


def report(error: SacError) -> None:
    """Show an error of ours on stderr: one line where that is enough, and never a traceback."""
    for line in _lines(error):
        say(line)


def _lines(error: SacError) -> Iterator[str]:
    if isinstance(error, SettingsError) and len(error.problems) > 1:
        yield f"Error: {len(error.problems)} things in the settings need a change."
        yield from (f"  - {problem}" for problem in error.problems)
    else:
        yield f"Error: {error}"
    yield from (f"  {note}" for note in getattr(error, "__notes__", ()))
    if error.outcome is not None and len(error.outcome.attempts) > 1:
        yield f"  {_summary(error.outcome)}"
    if isinstance(error, RequestError) and error.request_id:
        yield f"  SAC's request id, for SAP's support: {error.request_id}"


def _summary(outcome: RetryOutcome) -> str:
    """``4 attempts in 12.3 s: 503, 503, timeout, 503``."""
    seen = ", ".join(str(attempt.status or _words(attempt.error_kind)) for attempt in outcome.attempts)
    return f"{len(outcome.attempts)} attempts in {outcome.elapsed_s:.1f} s: {seen}"


def _words(kind: str | None) -> str:
    return (kind or "?").replace("_", " ")


def report_unexpected(error: BaseException, *, with_traceback: bool) -> None:
    """Show a mistake of ours: what it is called, and how to see where it happened. Secrets are taken out."""
    from sacnb._redact import redact_text

    say(redact_text(f"Unexpected error, please report it: {type(error).__name__}: {error}"))
    if with_traceback:
        say(redact_text("".join(traceback.format_exception(error)).rstrip()))
    else:
        say("  Run it again as `sacnb --verbose ...` to see where it happened.")
