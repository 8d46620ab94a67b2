"""Log records as one JSON object a line, for programs that collect logs, and as text in the cells of a notebook."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sacnb._redact import redact_text
from sacnb._rendering import printable
from sacnb.errors import SacWarning

# What every record has; whatever else one has was given with it, such as the request id of an answer.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Write a record as one line of JSON: ``time`` in UTC, ``level``, ``logger``, ``message``, and what came with it.

    ``trace_id`` is the same for all that one call of the user does, and ``request_id`` is SAC's; both may be null.
    ``error`` is the text of a traceback. Texts are redacted, as everywhere. *is_replay* tells when to leave the time
    out: a replay shows the same each time.
    """

    def __init__(self, is_replay: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._is_replay = is_replay

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        more = {name: _plain(value) for name, value in vars(record).items() if name not in _USUAL}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            **({} if self._is_replay() else {"time": at}),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(redact_text(record.getMessage())),
            "trace_id": None,
            "request_id": None,
            **more,
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["error"] = printable(redact_text(record.exc_text))
        return json.dumps(line, ensure_ascii=False)


class CellHandler(logging.Handler):
    """Writes records as lines into the output of a cell; on stderr, notebooks show them like a failure.

    Records that are ``printed`` anyway are left out. The formatter is for a log that the user asked for.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a warning or an error as its words, other records and those beside them with time and logger."""
        if getattr(record, "printed", False):
            return
        try:
            is_log = logging.getLogger("sacnb").getEffectiveLevel() <= logging.INFO
            line = self.format(record) if is_log else f"{record.levelname.capitalize()}: {record.getMessage()}"
            sys.stdout.write(printable(line) + "\n")
        except Exception:  # noqa: BLE001 - a record that cannot be shown must not end the cell
            self.handleError(record)


def print_warnings() -> None:
    """From now on print each warning of sacnb as a line, without its place in the code."""
    before = warnings.showwarning
    if getattr(before, "prints", False):
        return

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, SacWarning):
            sys.stdout.write(f"Warning: {printable(str(message))}\n")
        else:
            before(message, category, *place, **more)

    show.prints = True  # type: ignore[attr-defined]
    warnings.showwarning = show


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return printable(redact_text(str(value)))
