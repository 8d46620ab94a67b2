"""Checks of prepared rows: keys, dates and members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import polars as pl

from sacnb._write.target import PRIVATE, VERSION
from sacnb.errors import BadAnswer

if TYPE_CHECKING:
    from sacnb._write.target import Dates, ImportTable, Members

__all__ = ["ROW", "Problems", "check_keys", "check_members", "describe"]

ROW: Final = "\0row"
_PROBLEM_SCHEMA: Final = {
    "row": pl.UInt32,
    "column": pl.String,
    "value": pl.String,
    "problem": pl.String,
    "message": pl.String,
}


@dataclass(slots=True)
class Problems:
    """Everything wrong with a frame, collected until all checks are done."""

    _parts: list[pl.DataFrame] = field(default_factory=list)

    def add(self, problem: str, message: str, *, column: str | None = None, row: int | None = None) -> None:
        """Add a problem of the frame or of a column."""
        entry = {"row": row, "column": column, "value": None, "problem": problem, "message": message}
        self._parts.append(pl.DataFrame([entry], schema=_PROBLEM_SCHEMA))

    def add_rows(self, rows: pl.DataFrame, column: str, problem: str, message: str | pl.Expr) -> None:
        """Add a problem for each row of a frame with ``ROW`` and *column*."""
        if rows.height:
            text = pl.lit(message) if isinstance(message, str) else message
            value = pl.col(column).cast(pl.String) if column in rows.columns else pl.lit(None, pl.String)
            self._parts.append(
                rows.select(
                    row=pl.col(ROW).cast(pl.UInt32),
                    column=pl.lit(column),
                    value=value,
                    problem=pl.lit(problem),
                    message=text,
                )
            )

    def frame(self) -> pl.DataFrame:
        """Return all problems: those of columns first, then by row."""
        if not self._parts:
            return pl.DataFrame(schema=_PROBLEM_SCHEMA)
        return pl.concat(self._parts).sort("row", nulls_last=False, maintain_order=True)


def check_keys(rows: pl.DataFrame, table: ImportTable, problems: Problems, *, may_be_empty: bool = False) -> None:
    """Add a problem for each key without a value, and for each row whose key occurs more than once.

    SAC takes the last of several rows with one key, without a word (seen in the field). Raises BadAnswer for a table
    without a key.
    """
    if not table.keys:
        raise BadAnswer("The import metadata name no key column, so that no row can be told from another.")
    keys = [name for name in table.keys if name in rows.columns]
    for name in keys:
        empty = rows.filter(pl.col(name).is_null() | ((pl.col(name) == "") & (not may_be_empty)))
        problems.add_rows(empty, name, "null", f"{name!r} has no value; for unassigned write '#'.")
    if len(keys) < len(table.keys):
        return
    repeated = rows.filter(pl.struct(keys).is_duplicated())
    if repeated.height:
        firsts = repeated.with_columns(
            pl.col(ROW).first().over(keys).alias("\0first"), pl.len().over(keys).alias("\0n")
        )
        shown = firsts.with_columns(pl.concat_str(keys, separator=", ", ignore_nulls=True).alias("\0key"))
        message = pl.format("The key occurs {} times, first in row {}; SAC would keep the last.", "\0n", "\0first")
        found = shown.select(ROW, pl.col("\0key").alias("key"), message.alias("\0message"))
        problems.add_rows(found, "key", "duplicate key", pl.col("\0message"))


def check_members(
    rows: pl.DataFrame, members: Mapping[str, Members], dates: Mapping[str, Dates], problems: Problems
) -> None:
    """Add a problem for each member or date that takes no facts."""
    for name, known in members.items():
        if name not in rows.columns:
            continue
        private = name == VERSION  # private versions are those of a user, and no list has them
        found = [
            (one, *why)
            for one in _values(rows, name)
            if not (private and one.startswith(PRIVATE)) and (why := known.refuse(one))
        ]
        bad = pl.DataFrame(found, schema={name: pl.String, "\0kind": pl.String, "\0why": pl.String}, orient="row")
        hit = rows.select(ROW, name).join(bad, on=name, how="inner", maintain_order="left")
        for kind in dict.fromkeys(kind for _, kind, _ in found):
            message = pl.format("{} of {} {}.", pl.col(name), pl.lit(repr(name)), "\0why")
            problems.add_rows(hit.filter(pl.col("\0kind") == kind), name, kind, message)
    for name, written in dates.items():
        if name not in rows.columns:
            continue
        wrong = [one for one in _values(rows, name) if not written.accepts(one)]
        hit = rows.select(ROW, name).filter(pl.col(name).is_in(wrong))
        example = f" such as {written.example!r}" if written.example else ""
        problems.add_rows(hit, name, "date format", f"{name!r} takes dates{example}.")


def _values(rows: pl.DataFrame, name: str) -> list[str]:
    return [one for one in rows.get_column(name).unique(maintain_order=True) if one]


_SHOWN = 5


def describe(problems: pl.DataFrame) -> str:
    """Return what is wrong in a sentence, and the first few problems."""
    counts = problems.group_by("problem", maintain_order=True).len()
    summary = ", ".join(f"{kind} ({count:,})" for kind, count in counts.iter_rows())
    lines = [
        f"  {'' if row is None else f'row {row}: '}{'' if value is None else f'{value!r}: '}{message}"
        for row, value, message in problems.select("row", "value", "message").head(_SHOWN).iter_rows()
    ]
    more = problems.height - _SHOWN
    return "\n".join([f"{summary}.", *lines, *([f"  and {more:,} more"] if more > 0 else [])])
