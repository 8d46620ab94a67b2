"""Errors as exit codes and as lines."""

from __future__ import annotations

import inspect

import pytest

from sacnb import errors
from sacnb.cli.failures import ExitCode, exit_code, report
from sacnb.errors import Attempt, RefreshError, RetryOutcome, SacError, ServerError

CODES: dict[str, ExitCode] = {
    "SettingsError": ExitCode.USAGE,
    "AuthError": ExitCode.USAGE,
    "UnknownNameError": ExitCode.USAGE,
    "QueryError": ExitCode.USAGE,
    "NotFetchedError": ExitCode.USAGE,
    "ContractError": ExitCode.USAGE,
    "MissingExtraError": ExitCode.USAGE,
    "ReplayError": ExitCode.USAGE,
    "ExportError": ExitCode.USAGE,
    "SacError": ExitCode.USAGE,
    "RequestError": ExitCode.SAC,
    "ForbiddenError": ExitCode.SAC,
    "NotFoundError": ExitCode.SAC,
    "LiveConnectionError": ExitCode.SAC,
    "ThrottledError": ExitCode.SAC,
    "ServerError": ExitCode.SAC,
    "NoAnswerError": ExitCode.SAC,
    "BadAnswer": ExitCode.SAC,
    "InconsistentAnswer": ExitCode.SAC,
    # A token endpoint that cannot be reached, which is what is assumed unless it is said otherwise.
    "RefreshError": ExitCode.SAC,
    "CacheError": ExitCode.CACHE,
    "WriteError": ExitCode.SAC,
    "UndoError": ExitCode.SAC,
    "ActionError": ExitCode.SAC,
    "BusyError": ExitCode.SAC,
    # Nothing was sent: somebody has to look.
    "StepError": ExitCode.USAGE,
    # Nothing was written: the rows, or the confirmation, are the user's to change.
    "RowsError": ExitCode.USAGE,
    "ConfirmationError": ExitCode.USAGE,
    "ChannelError": ExitCode.SAC,
    "NotCommittedError": ExitCode.SAC,
    # Snowflake works; the rows are not what the table takes.
    "RejectedRowsError": ExitCode.USAGE,
    "Cancelled": ExitCode.INTERRUPTED,
    "UsageError": ExitCode.USAGE,
}


def every_error() -> list[type[SacError]]:
    return [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, SacError)]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_code(kind: type[SacError]) -> None:
    # Made without calling the class, since each wants other arguments.
    error = kind.__new__(kind)
    if isinstance(error, RefreshError):
        error.error_code = "refresh_failed"
    assert exit_code(error) is CODES[kind.__name__]


def test_a_refused_client_is_something_for_the_user_to_change() -> None:
    assert exit_code(RefreshError("no", error_code="non_retriable")) is ExitCode.USAGE


def test_message_hint_notes_attempts_and_request_id_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = RetryOutcome(
        "read",
        (Attempt(503, None, 0.2, None), Attempt(None, "read_timeout", 0.4, None), Attempt(503, None, 0.0, "r-1")),
        503,
        12.34,
    )
    error = ServerError("It answered 503.", hint="Try later.", outcome=outcome, status=503, request_id="r-1")
    error.add_note("There is no earlier result.")
    report(error)
    assert capsys.readouterr().err.splitlines() == [
        "Error: It answered 503. Try later.",
        "  There is no earlier result.",
        "  3 attempts in 12.3 s: 503, read timeout, 503",
        "  SAC's request id, for SAP's support: r-1",
    ]


def test_a_single_attempt_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = RetryOutcome("read", (Attempt(401, None, 0.0, None),), 401, 0.1)
    report(RefreshError("Refused.", hint="Look.", error_code="non_retriable", outcome=outcome))
    assert capsys.readouterr().err == "Error: Refused. Look.\n"


def test_text_of_a_server_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report(SacError("SAC said: \x1b[2J\x1b]0;owned\x07"))
    assert capsys.readouterr().err == "Error: SAC said: \\x1b[2J\\x1b]0;owned\\x07\n"
