"""The status of a channel, read tolerantly: the reference and the service differ in names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sacnb._redact import one_line, redact_text
from sacnb.errors import BadAnswer

__all__ = ["ChannelStatus", "read_object", "row_number"]

# The reference shows ACTIVE, the SDK and the page about errors take everything but SUCCESS for a broken channel.
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_HEALTHY: Final = frozenset({"SUCCESS", "ACTIVE", "OPEN"})


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """The state of a channel. ``committed_token`` is the offset of the last committed append, ``None`` before one.

    ``rows_inserted``, ``rows_parsed`` and ``rows_errors`` count since the channel was created.
    """

    channel: str
    code: str
    committed_token: str | None
    rows_inserted: int
    rows_parsed: int
    rows_errors: int
    last_error: str | None
    last_error_offset: str | None

    @property
    def is_healthy(self) -> bool:
        """True unless the channel has to be opened again."""
        return self.code.upper() in _HEALTHY

    @classmethod
    def read(cls, value: object, name: str) -> ChannelStatus:
        """Return the status in a parsed answer. Raises BadAnswer for one that has none."""
        if not isinstance(value, Mapping):
            raise BadAnswer(f"Snowflake's answer holds no status of the channel {name!r}.")
        token = value.get("last_committed_offset_token")
        return cls(
            channel=name,
            code=str(value.get("channel_status_code") or "SUCCESS"),
            committed_token=None if token in (None, "") else str(token),
            rows_inserted=_number(value.get("rows_inserted")),
            rows_parsed=_number(value.get("rows_parsed")),
            rows_errors=_number(value.get("rows_error_count", value.get("rows_errors"))),
            last_error=_words(value.get("last_error_message")),
            last_error_offset=_words(value.get("last_error_offset_upper_bound")),
        )


def read_object(body: bytes, what: str) -> Mapping[str, Any]:
    """Return the JSON object in *body*. Raises BadAnswer."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, Mapping):
        raise BadAnswer(f"Snowflake's answer to {what} is no JSON object.", truncated=True)
    return value


def row_number(token: str | None) -> int | None:
    """Return the number of rows that an offset token of ours says; ``None`` for one that somebody else made."""
    if token is None:
        return 0
    return int(token) if _DIGITS.fullmatch(token) else None


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    try:
        return int(value)
    except (ValueError, OverflowError):
        return 0


def _words(value: object) -> str | None:
    return None if value in (None, "") else one_line(redact_text(str(value)), 300)
