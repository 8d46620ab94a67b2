"""What a failure looks like from the outside: an exit code, and lines on stderr that say what to do."""

from __future__ import annotations

import enum
import traceback

from sacnb.cli.output import say
from sacnb.errors import (
    BadAnswer,
    CacheError,
    Cancelled,
    ErrorText,
    RefreshError,
    RequestError,
    SacError,
)

__all__ = ["EXIT_CODES", "ExitCode", "exit_code", "report", "report_unexpected"]


class ExitCode(enum.IntEnum):
    """The exit codes of every command; ``sacnb --help`` shows them."""

    OK = 0
    NO = 1
    USAGE = 2
    SAC = 3
    CACHE = 4
    BUG = 70
    INTERRUPTED = 130
    NO_READER = 141


EXIT_CODES = {
    ExitCode.OK: "done",
    ExitCode.NO: "the answer is no: not healthy, secrets found, a check that failed",
    ExitCode.USAGE: "yours to change: arguments, settings, sign-in, a file or folder",
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
    return ExitCode.USAGE


def report(error: SacError) -> None:
    """Show an error of ours on stderr: one line where that is enough, and never a traceback."""
    text = ErrorText.of(error)
    say(f"Error: {text.headline} {text.hint}".rstrip())
    for line in text.details:
        say(f"  {line}")


def report_unexpected(error: BaseException, *, with_traceback: bool) -> None:
    """Show a mistake of ours: what it is called, and how to see where it happened. Secrets are taken out."""
    from sacnb._redact import redact_text

    say(redact_text(f"Unexpected error, please report it: {type(error).__name__}: {error}"))
    if with_traceback:
        say(redact_text("".join(traceback.format_exception(error)).rstrip()))
    else:
        say("  Run it again as `sacnb --verbose ...` to see where it happened.")
