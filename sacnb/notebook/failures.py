"""What went wrong, as the few lines that a notebook shows."""

from __future__ import annotations

from sacnb._wire.redact import redact_text
from sacnb.errors import RequestError, SacError, SettingsError

__all__ = ["failure_lines"]


def failure_lines(error: BaseException) -> list[str]:
    """An error in words: what it is and what happened, then what to do now, and what else is known. No secrets.

    An error that is not ours is a mistake somewhere; of it there is one line, with secrets taken out.
    """
    if not isinstance(error, SacError):
        return [redact_text(f"{type(error).__name__}: {error}")]
    if isinstance(error, SettingsError) and len(error.problems) > 1:
        lines = [f"SettingsError: {len(error.problems)} things in the settings need a change."]
        lines += [f"- {problem}" for problem in error.problems]
    else:
        lines = [f"{type(error).__name__}: {error.message}"]
    lines += [error.hint] if error.hint else []
    lines += getattr(error, "__notes__", [])
    if isinstance(error, RequestError) and error.request_id:
        lines.append(f"SAC's request id, for SAP's support: {error.request_id}")
    return [line for text in lines for line in text.splitlines()]
