"""What polars says about a query, as errors of ours that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import polars as pl

from sacnb.errors import QueryError, SacError, UnknownNameError

__all__ = ["as_our_error", "missing_table"]

_TABLE: Final = re.compile(r"relation '(?P<name>.*)' was not found", re.DOTALL)
# Of a column alone, and of one with its table.
_COLUMN: Final = re.compile(
    r"""unable to find column "(?P<name>.*?)"; valid columns|no column named '(?P<of_table>.*?)' found in table""",
    re.DOTALL,
)
_TEXT_WITH_OTHER: Final = re.compile(r"cannot compare (string|'date/datetime/time' to a string)", re.IGNORECASE)


def missing_table(error: pl.exceptions.PolarsError) -> str | None:
    """The table that polars does not know, if that is what it says."""
    found = _TABLE.search(_first(error))
    return found["name"] if found else None


def as_our_error(error: pl.exceptions.PolarsError, columns: Iterable[str]) -> SacError:
    """The error of ours for one of polars about a query over ``columns``."""
    said = _first(error)
    column = _COLUMN.search(said)
    if column:
        return UnknownNameError("column", column["name"] or column["of_table"], columns, where="the query")
    hint = None
    if _TEXT_WITH_OTHER.match(said):
        hint = (
            "SAC's dimensions are text, its dates too: compare them with text as SAC writes it, such as '201001' or "
            "'0042', in single quotes."
        )
    return QueryError(f"The query cannot be run: {said.rstrip('.')}.", hint=hint)


def _first(error: pl.exceptions.PolarsError) -> str:
    """What polars says, without the plan it prints below."""
    return str(error).partition("\n\n")[0].strip()
