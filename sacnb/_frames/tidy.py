"""Build the tidy frame: one row per date, member combination and measure, whatever the model looks like.

``date`` (``Date``, the first day of its period), one ``dim_<name>`` (``String``) per dimension, ``dim_measure`` where
there is more than one measure, and ``value`` (``Float64``); sorted by date, then by the dimensions in the model's
order, then by measure. Attributes are left out. ``docs/data_contract.md`` has the details.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl
import pyarrow as pa

from sacnb._frames.convert import POLARS_DECIMAL_DIGITS, mean_float64, to_float64, with_floats
from sacnb._frames.periods import (
    Dates,
    date_column,
    dates_of,
    grain_as_written,
    how_to_fetch,
    target_grain,
    truncate,
)
from sacnb._frames.preview import preview_of
from sacnb._odata.schema import DateColumn, Grain, Schema
from sacnb._rendering import Paged, Preview
from sacnb.errors import ContractError

__all__ = [
    "CONTRACT_VERSION",
    "Aggregation",
    "TidyFrame",
    "exact_facts",
    "grain_as_written",
    "long_frame",
    "tidy",
    "with_label_columns",
]

# The form of frames and cache entries. Bump it on any change that a reader of either would notice.
CONTRACT_VERSION: Final = 1

Aggregation = Literal["sum", "mean", "min", "max", "first", "last"]
# A tidy frame has no decimals.
_EXACT: Final = "The result has all digits: result.arrow(), or result.polars(decimals=True)."

_AGGREGATIONS: Final = ("sum", "mean", "min", "max", "first", "last")

# Holds the date as SAC sent it while rows are compared. Columns of dimensions begin with "dim_", so no name collides.
_SENT: Final = "sent"


@dataclass(frozen=True, slots=True)
class TidyFrame(Paged):
    """A tidy frame, with counts of the rows and values left out.

    ``rows_without_date`` counts rows of the result whose date is ``#``, empty or unreadable. ``rows_without_value``
    counts, in the other rows, the measures that are null or not a number. ``note`` says both in words, and whether
    values were aggregated; it is empty where there is nothing to say.
    """

    __module__ = "sacnb"

    frame: pl.DataFrame
    grain: Grain
    rows_without_date: int = 0
    rows_without_value: int = 0
    note: str = ""

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return self._preview().text()

    def _preview(self, rows: int = 0) -> Preview:
        title = f"{len(self):,} row{'' if len(self) == 1 else 's'} by {self.grain}"
        notes, ids = (self.note,) if self.note else (), self.frame.columns[:-1]
        return preview_of(self.frame, title=title, notes=notes, kept=("dim_measure",), whole=ids, more_rows=rows)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand the frame to any library that reads Arrow streams."""
        return self.frame.__arrow_c_stream__(requested_schema)


def tidy(
    table: pa.Table,
    schema: Schema,
    grain: Grain | None = None,
    *,
    date: str | DateColumn | None = None,
    agg: Aggregation = "sum",
    rollup: Mapping[str, tuple[pl.DataFrame, bool]] | None = None,
) -> TidyFrame:
    """Return the facts of a table as a tidy frame.

    Args:
        table: Rows of the entity set that ``schema`` describes, with all or some of its columns.
        schema: What the columns are.
        grain: ``"day"``, ``"week"`` (ISO, by its Monday), ``"month"``, ``"quarter"`` or ``"year"``; the model's own by
            default.
        date: The date column where there are several; by default the first of the schema. A ``DateColumn`` also says
            which grain its values have.
        agg: What makes one value of several where the grain gets coarser. ``"sum"`` is right for flows such as revenue
            and wrong for headcounts, balances, prices and rates, for which there are ``"mean"``, ``"last"`` and the
            others; SAC's export does not tell which a measure is. Null values take no part.
        rollup: For dimensions, pairs of members and the nodes that they are added up to (``id``, ``node``), and whether
            members without a node stay as they are. Values are added up before they are aggregated over time.

    Raises:
        ContractError: There is no date column or no measure; the grain is finer than the model's, or weeks are to
            become months; or two rows have the same key.
        UnknownNameError: ``date`` names a column that the table does not have.

    Warns:
        PrecisionWarning: Values have more digits than a float64 keeps.
    """
    if agg not in _AGGREGATIONS:
        raise ContractError(f"There is no aggregation {agg!r}.", hint=f"There are {', '.join(_AGGREGATIONS)}.")
    column = date_column(table, schema, date)
    dates = dates_of(table, column)
    target = target_grain(column.name, dates.grain, grain)
    coarser = target != dates.grain or (dates.instants and grain is not None) or dates.fiscal_rows > 0
    measures = _measures(table, schema)
    sent = pl.Series(table.column(column.name))
    wide = _wide(table, schema, {"date": truncate(dates.days, target), _SENT: sent}, without=column.name)

    dated = wide.filter(pl.col("date").is_not_null())
    keys = _keys(wide)
    # At a coarser grain several rows share a date, and must still differ in the date that SAC sent.
    _refuse_duplicates(dated.select([_SENT, *keys[1:]] if coarser else keys))
    facts = {measure: _facts(dated, measure) for measure in measures}
    without_date = len(wide) - len(dated)
    without_value = sum(len(dated) - len(rows) for rows in facts.values())
    note = f"{_note(len(wide), without_date, dates.unreadable, without_value)} {_fiscal_note(len(wide), dates)}".strip()
    for name, (pairs, keep) in (rollup or {}).items():
        rolled = {measure: _roll_up(rows, f"dim_{name}", pairs, keys, keep=keep) for measure, rows in facts.items()}
        facts = {measure: rows for measure, (rows, _) in rolled.items()}
        left_out = sum(count for _, count in rolled.values())
        note = f"{note} {name} is added up along its hierarchy.".lstrip()
        note += f" {left_out:,} values of members that are below none of the nodes are left out." if left_out else ""
    if coarser:
        facts = {measure: _aggregate(rows, keys, agg) for measure, rows in facts.items()}
        note = f"{note} {_aggregation_note(dates, target, agg)}".lstrip()
    return TidyFrame(_long(facts, keys), target, without_date, without_value, note)


def with_label_columns(frame: pl.DataFrame, texts: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    """Return a tidy frame with ``label_<name>`` right of ``dim_<name>``, null where there is no description."""
    for name, words in texts.items():
        column = f"dim_{name}"
        label = frame[column].replace_strict(dict(words), default=None, return_dtype=pl.String).alias(f"label_{name}")
        frame = frame.insert_column(frame.columns.index(column) + 1, label)
    return frame


def long_frame(table: pa.Table, schema: Schema) -> pl.DataFrame:
    """Return the facts of a table in the form of ``tidy`` but without a date, for results that have none.

    Raises:
        ContractError: There is no measure, or two rows have the same key.

    Warns:
        PrecisionWarning: Values have more digits than a float64 keeps.
    """
    measures = _measures(table, schema)
    wide = _wide(table, schema, {}, without=None)
    keys = _keys(wide)
    if keys:
        _refuse_duplicates(wide.select(keys))
    return _long({measure: _facts(wide, measure) for measure in measures}, keys)


def exact_facts(table: pa.Table, schema: Schema, measure: str) -> pl.DataFrame:
    """Return all rows: dimensions as ``dim_<name>`` (String), and one measure as ``value``, with all its digits.

    Null where a float is not a number.
    """
    value = pl.col(f"value_{measure}").alias("value")
    facts = _wide(table, schema, {}, without=None).select(pl.exclude("^value_.*$"), value)
    return facts.with_columns(pl.col("value").fill_nan(None)) if facts["value"].dtype.is_float() else facts


def _measures(table: pa.Table, schema: Schema) -> list[str]:
    names = [one.name for one in schema.measures if one.name in table.column_names]
    if not names:
        raise ContractError(
            f"The result of {schema.provider_id!r} has no measure.",
            hint=how_to_fetch(table, schema, schema.measures[:1]),
        )
    if len(names) > 1 and any(one.name == "measure" for one in schema.dimensions if one.name in table.column_names):
        raise ContractError(
            f"A dimension is called 'measure', and so is the column that would tell the measures "
            f"{', '.join(map(repr, names))} apart.",
            hint=f"Fetch one measure at a time: facts(measures=[{names[0]!r}]).",
        )
    return names


def _wide(table: pa.Table, schema: Schema, first: dict[str, pl.Series], *, without: str | None) -> pl.DataFrame:
    """Return the first columns, then the dimensions as ``dim_<name>``, then the measures as ``value_<name>``."""
    there = [one for one in schema.columns if one.name in table.column_names]
    dimensions = [one.name for one in there if one.role == "dimension" and one.name != without]
    return pl.DataFrame(
        {
            **first,
            **{f"dim_{name}": _as_text(table.column(name)) for name in dimensions},
            **{f"value_{one.name}": _exact(table.column(one.name)) for one in there if one.role == "measure"},
        }
    )


def _keys(wide: pl.DataFrame) -> list[str]:
    return [name for name in wide.columns if name == "date" or name.startswith("dim_")]


def _as_text(values: pa.ChunkedArray) -> pl.Series:
    series = pl.Series(values)
    return series.bin.encode("base64") if series.dtype == pl.Binary else series.cast(pl.String)


def _exact(values: pa.ChunkedArray) -> pl.Series:
    """Convert decimals and integers to decimals that can be summed without loss; floats stay floats."""
    if pa.types.is_decimal256(values.type):
        return pl.Series(to_float64(values))  # polars has no such decimals
    series = pl.Series(values)
    if series.dtype.is_float():
        return series.cast(pl.Float64)
    return series.cast(
        pl.Decimal(POLARS_DECIMAL_DIGITS, series.dtype.scale if isinstance(series.dtype, pl.Decimal) else 0)
    )


def _facts(wide: pl.DataFrame, measure: str) -> pl.DataFrame:
    """Return the rows that have a value of this measure, which then is in the column ``value``."""
    value = pl.col("value")
    rows = wide.select(pl.exclude("^value_.*$"), pl.col(f"value_{measure}").alias("value"))
    there = value.is_not_null() & value.is_not_nan() if rows["value"].dtype.is_float() else value.is_not_null()
    return rows.filter(there)


def _refuse_duplicates(keys: pl.DataFrame) -> None:
    double = keys.is_duplicated()
    if not double.any():
        return
    example = keys.filter(double).row(0, named=True)
    shown = ", ".join(f"{name.removeprefix('dim_')}={value!s}" for name, value in example.items())
    raise ContractError(
        f"{double.sum():,} rows share their key with another, such as {shown}; which one counts is not known.",
        hint="Select every dimension, refresh the result, or ask for a coarser grain if SAC sends dates in two forms.",
    )


def _roll_up(
    facts: pl.DataFrame, column: str, pairs: pl.DataFrame, keys: list[str], *, keep: bool
) -> tuple[pl.DataFrame, int]:
    """Return the facts with the members of *column* added up to nodes, and the number of values left out."""
    one_each = pairs.select(pl.col("id").cast(pl.String).alias(column), pl.col("node").cast(pl.String))
    joined = facts.join(one_each, on=column, how="left", nulls_equal=True)
    left_out = 0 if keep else int(joined["node"].null_count())
    node = pl.coalesce("node", column) if keep else pl.col("node")
    kept = joined if keep else joined.filter(pl.col("node").is_not_null())
    kept = kept.with_columns(node.alias(column)).drop("node")
    return kept.group_by(*keys, _SENT).agg(pl.col("value").sum()).select(facts.columns), left_out


def _aggregate(facts: pl.DataFrame, keys: list[str], agg: Aggregation) -> pl.DataFrame:
    value = pl.col("value")
    if agg == "mean":
        sums = facts.group_by(keys).agg(value.sum(), pl.len().cast(pl.Int64).alias("count"))
        means = mean_float64(pa.chunked_array([sums["value"].to_arrow()]), sums["count"].to_numpy())
        return sums.drop("count").with_columns(pl.Series("value", means))
    if agg in {"first", "last"}:
        by_date = value.sort_by(_SENT)
        made = by_date.first() if agg == "first" else by_date.last()
    else:
        made = {"sum": value.sum(), "min": value.min(), "max": value.max()}[agg]
    return facts.group_by(keys).agg(made)


def _long(facts: dict[str, pl.DataFrame], keys: list[str]) -> pl.DataFrame:
    """Stack the facts of all measures, sorted, with their values as correctly rounded float64."""
    parts: list[pl.DataFrame] = []
    for measure, rows in facts.items():
        exact = pa.table({measure: rows["value"].to_arrow()})
        value = pl.Series("value", with_floats(exact, remedy=_EXACT).column(0), dtype=pl.Float64)
        name = [pl.lit(measure).alias("dim_measure")] if len(facts) > 1 else []
        parts.append(rows.select(*keys, *name, value))
    frame = pl.concat(parts)
    return frame.sort(frame.columns[:-1]) if len(frame.columns) > 1 else frame


def _note(rows: int, without_date: int, unreadable: tuple[str, ...], without_value: int) -> str:
    parts: list[str] = []
    if without_date:
        such = f" (such as {', '.join(unreadable)})" if unreadable else ""
        parts.append(
            f"{without_date:,} of {rows:,} rows {'has' if without_date == 1 else 'have'} no date that can be read{such}"
        )
    if without_value:
        parts.append(f"{without_value:,} {'value is' if without_value == 1 else 'values are'} null")
    return f"{' and '.join(parts)}: left out." if parts else ""


def _fiscal_note(rows: int, dates: Dates) -> str:
    if not dates.fiscal_rows:
        return ""
    are = "is" if dates.fiscal_rows == 1 else "are"
    such = ", ".join(map(repr, dates.fiscal))
    return (
        f"{dates.fiscal_rows:,} of {rows:,} rows {are} in fiscal periods (such as {such}): period 00 counts as "
        "January, 13 to 16 as December."
    )


def _aggregation_note(dates: Dates, target: Grain, agg: Aggregation) -> str:
    parts = "time stamps" if dates.instants else "fiscal periods" if dates.fiscal_rows else f"{dates.grain}s"
    note = f"Each {target} is the {agg} of its {parts}"
    return note + ('; for headcounts, balances and rates ask for agg="mean" or agg="last".' if agg == "sum" else ".")
