"""Exit codes, and errors as lines on stderr or as a JSON object."""

from __future__ import annotations

import enum
import traceback
from typing import Any

from sacnb.cli.output import print_json, say
from sacnb.errors import (
    ActionError,
    BadAnswer,
    CacheError,
    Cancelled,
    ConfirmationError,
    ErrorText,
    NotCommittedError,
    RefreshError,
    RequestError,
    RowsError,
    SacError,
    WriteError,
)

__all__ = ["EXIT_CODES", "ExitCode", "exit_code", "print_error", "report", "report_unexpected"]


class ExitCode(enum.IntEnum):
    """The exit codes of every command; ``sacnb --help`` lists them."""

    __module__ = "sacnb.cli"

    OK = 0
    NO = 1
    USAGE = 2
    SAC = 3
    CACHE = 4
    BUG = 70
    INTERRUPTED = 130
    NO_READER = 141


EXIT_CODES = {
    ExitCode.OK: "success",
    ExitCode.NO: "the answer is no: not healthy, secrets found, a check failed",
    ExitCode.USAGE: "something for you to change: arguments, settings, sign-in, files",
    ExitCode.SAC: "SAC or Snowflake refused, did not answer, or sent an invalid response",
    ExitCode.CACHE: "a cached result cannot be used",
    ExitCode.BUG: "a bug in sacnb: please report it",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.NO_READER: "the reader of stdout closed it early",
}


def exit_code(error: SacError) -> ExitCode:
    """Return the exit code for *error*: the user's turn, SAC's, or the cache's."""
    if isinstance(error, Cancelled):
        return ExitCode.INTERRUPTED
    if isinstance(error, CacheError):
        return ExitCode.CACHE
    # An unreachable token endpoint is SAC's problem; one that refuses the client is the user's.
    unreachable = isinstance(error, RefreshError) and error.error_code == "refresh_failed"
    failed_write = isinstance(error, WriteError) and not isinstance(error, RowsError | ConfirmationError)
    if unreachable or failed_write or isinstance(error, RequestError | BadAnswer | ActionError | NotCommittedError):
        return ExitCode.SAC
    return ExitCode.USAGE


def report(error: SacError) -> None:
    """Write *error* to stderr: its message and remedy in one line, then its details, and never a traceback."""
    text = ErrorText.of(error)
    say(f"Error: {text.headline} {text.hint}".rstrip())
    for line in text.details:
        say(f"  {line}")


def print_error(kind: str, message: str, code: int, *, error: SacError | None = None) -> None:
    """Print the JSON object of an error, for ``--json``; *error* adds its remedy and details."""
    found: dict[str, Any] = {"type": kind, "message": message, "hint": None, "details": [], "exit_code": int(code)}
    if error is not None:
        text = ErrorText.of(error)
        found.update(message=text.headline, hint=text.hint or None, details=list(text.details))
    print_json({"error": found})


def report_unexpected(error: BaseException, *, with_traceback: bool) -> str:
    """Write a bug to stderr, and how to see its traceback; return its line. Secrets are masked."""
    from sacnb._redact import redact_text

    line = redact_text(f"Unexpected error, please report it: {type(error).__name__}: {error}")
    say(line)
    if with_traceback:
        say(redact_text("".join(traceback.format_exception(error)).rstrip()))
    else:
        say("  Run it again as `sacnb --verbose ...` to see the traceback.")
    return line
