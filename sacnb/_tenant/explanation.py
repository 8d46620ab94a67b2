"""What SAC would be asked for a LazyFrame, and what polars would do itself, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sacnb._pushdown.pushdown import Kept

__all__ = ["Explanation", "ScanExplanation"]

# Longer conditions and addresses, those of long lists, are shown by their beginning.
_MOST_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class ScanExplanation:
    """One reading of a model.

    ``columns`` is what comes over the wire: on ``FactData`` always every dimension, since SAC refuses anything else.
    ``filter`` is the OData filter, empty for every row; ``sent`` the conditions of polars it stands for, and ``kept``
    those that polars checks alone. ``requests`` are the first page of each request, readable, without the host; there
    is none where no row can match. ``rows`` is SAC's own count, where it was asked for and SAC gave one.
    """

    model: str
    entity_set: str
    columns: tuple[str, ...]
    filter: str
    sent: tuple[str, ...]
    kept: tuple[Kept, ...]
    limit: int | None
    requests: tuple[str, ...]
    rows: int | None = None

    def __str__(self) -> str:
        lines = [
            f"{self.model}/{self.entity_set}",
            f"  columns  {', '.join(self.columns)}",
            f"  filter   {_short(self.filter) or 'none'}",
        ]
        lines += [f"  limit    {self.limit:,} rows"] if self.limit is not None else []
        lines += [f"  polars   {_short(kept.text)}: {kept.reason}" for kept in self.kept]
        lines += [f"  request  {_short(request)}" for request in self.requests[:1]]
        lines += [f"           and {len(self.requests) - 1:,} more"] if len(self.requests) > 1 else []
        lines += [] if self.requests else ["  request  none: no row can match"]
        lines += [f"  rows     {self.rows:,}"] if self.rows is not None else []
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Explanation:
    """What SAC would be asked, one reading of a model after the other; printing it says so."""

    scans: tuple[ScanExplanation, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.scans)) or "SAC is asked nothing."

    __repr__ = __str__


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}… ({len(text):,} characters)"
