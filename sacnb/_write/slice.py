"""The facts around a write: read before and after it, compared, and kept for an undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from sacnb._frames.preview import shown_frame
from sacnb._odata.literal import check_text
from sacnb._redact import one_line
from sacnb._write.frame import read_frame
from sacnb.errors import BadAnswer, QueryError

if TYPE_CHECKING:
    import pyarrow as pa

    from sacnb._write.target import Destination

__all__ = ["Place", "Slice", "as_decimal", "changes", "differences", "expected_after"]

# Dimensions with more members than this are not part of a filter: the address would be too long.
_MOST_IN_FILTER: Final = 30
_DIGITS: Final = 38


@dataclass(frozen=True, slots=True)
class Place:
    """The model that is written into, and how it is read: functions that the layer above hands in.

    ``read_members`` returns the master data of a dimension, or ``None`` where SAC has none. ``read_facts`` returns all
    columns of the facts that a filter lets through, one row a key.
    """

    destination: Destination
    read_members: Callable[[str], Sequence[Mapping[str, Any]] | None] = field(repr=False)
    read_facts: Callable[[Mapping[str, list[str]]], pa.Table] = field(repr=False)

    @property
    def model_id(self) -> str:
        """The id of the model."""
        return self.destination.id


@dataclass(frozen=True, slots=True)
class Slice:
    """Facts with keys as texts, and measures as decimals of the scale that an import takes."""

    keys: tuple[str, ...]
    scales: Mapping[str, int]
    rows: pl.DataFrame = field(repr=False)

    @classmethod
    def around(
        cls, place: Place, rows: pl.DataFrame, by: Sequence[str], keys: Sequence[str], scales: Mapping[str, int]
    ) -> Slice:
        """Read the facts that share the members of *rows* in the dimensions *by*."""
        where: dict[str, list[str]] = {}
        for name in by:
            members = rows.get_column(name).unique().sort().to_list()
            if len(members) <= _MOST_IN_FILTER and all(map(_can_be_sent, members)):
                where[name] = members
        facts = read_frame(place.read_facts(where))
        try:
            found = facts.select(
                *(pl.col(name).cast(pl.String) for name in keys),
                *(as_decimal(name, scale, facts.schema[name]) for name, scale in scales.items()),
            )
        except pl.exceptions.PolarsError as error:
            raise BadAnswer(
                f"The facts of {place.model_id!r} hold a value that no import can write: {one_line(str(error), 200)}",
                hint="Leave them as they are: write(..., undo=False, verify=False).",
            ) from error
        return cls(tuple(keys), dict(scales), found.join(rows.select(by).unique(), on=list(by), how="semi"))

    @property
    def measures(self) -> list[str]:
        """The names of all measures."""
        return list(self.scales)

    def at(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the facts at the keys of *rows*."""
        return self.rows.join(rows.select(self.keys), on=list(self.keys), how="semi")

    def matching(self, rows: pl.DataFrame, scope: Sequence[str]) -> pl.DataFrame:
        """Return the facts that share a combination of members in *scope* with a row of *rows*."""
        return self.rows.join(rows.select(scope).unique(), on=list(scope), how="semi")


def _can_be_sent(member: str) -> bool:
    try:
        check_text(member, "a member")
    except QueryError:  # a line end, which no filter can hold
        return False
    return True


def as_decimal(name: str, scale: int, kind: pl.DataType) -> pl.Expr:
    """Return a column of the type *kind* as decimals of that scale."""
    if kind.is_decimal():
        return pl.col(name).cast(pl.Decimal(_DIGITS, scale))
    if kind.is_float():  # through text, because a cast of a float is inexact
        return pl.col(name).round(scale).cast(pl.String).str.to_decimal(scale=scale).cast(pl.Decimal(_DIGITS, scale))
    return pl.col(name).cast(pl.Decimal(_DIGITS, scale))


def expected_after(before: Slice, rows: pl.DataFrame, method: str) -> pl.DataFrame:
    """Return what the facts at the keys of *rows* have to be after the write."""
    measures = [name for name in before.measures if name in rows.columns]
    if method != "Append":
        return rows.select(*before.keys, *measures)
    old = before.at(rows).select(*before.keys, *(pl.col(m).alias(f"\0{m}") for m in measures))
    joined = rows.select(*before.keys, *measures).join(old, on=list(before.keys), how="left")
    sums = [
        pl.when(pl.col(m).is_null())
        .then(pl.col(f"\0{m}"))
        .otherwise(pl.col(m) + pl.col(f"\0{m}").fill_null(0))
        .cast(pl.Decimal(_DIGITS, before.scales[m]))
        .alias(m)
        for m in measures
    ]
    return joined.select(*before.keys, *sums)


def changes(
    before: Slice | None, expected: pl.DataFrame | None, rows: pl.DataFrame, scope: Sequence[str]
) -> pl.DataFrame | None:
    """Return each key to write with ``change`` (new, changed, same), and each measure before and after.

    With *scope*, the facts that are cleared first and not among *rows* are ``removed``. ``None`` where the facts were
    not read.
    """
    if before is None or expected is None:
        return None
    measures = [name for name in expected.columns if name not in before.keys]
    old = before.at(expected).select(*before.keys, *(pl.col(m).alias(f"{m}_before") for m in measures))
    joined = expected.join(old.with_columns(pl.lit(value=True).alias("\0had")), on=list(before.keys), how="left")
    same = pl.all_horizontal(pl.col(m).eq_missing(pl.col(f"{m}_before")) for m in measures)
    kind = pl.when(pl.col("\0had").is_null()).then(pl.lit("new")).when(same).then(pl.lit("same"))
    columns = [column for m in measures for column in (pl.col(f"{m}_before"), pl.col(m).alias(f"{m}_after"))]
    made = joined.select(kind.otherwise(pl.lit("changed")).alias("change"), *before.keys, *columns)
    ids = ("change", *before.keys)
    if not scope:
        return shown_frame(made, whole=ids)
    gone = before.matching(rows, scope).join(expected, on=list(before.keys), how="anti")
    nothing = [pl.lit(None, made.schema[f"{m}_after"]).alias(f"{m}_after") for m in measures]
    removed = gone.select(
        pl.lit("removed").alias("change"), *before.keys, *(pl.col(m).alias(f"{m}_before") for m in measures), *nothing
    )
    return shown_frame(pl.concat([made, removed.select(made.columns)]), whole=ids)


def differences(found: pl.DataFrame, expected: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return the rows that are not as expected: ``difference`` (missing, other, unexpected), keys, both values."""
    measures = [name for name in expected.columns if name not in keys]
    left = expected.with_columns(pl.lit(value=True).alias("\0wanted"))
    right = found.select(*keys, *(pl.col(m).alias(f"{m}_found") for m in measures), pl.lit(value=True).alias("\0is"))
    joined = left.join(right, on=list(keys), how="full", coalesce=True)
    is_other = pl.any_horizontal(pl.col(m).ne_missing(pl.col(f"{m}_found")) for m in measures)
    kind = (
        pl.when(pl.col("\0wanted").is_null())
        .then(pl.lit("unexpected"))
        .when(pl.col("\0is").is_null())
        .then(pl.lit("missing"))
        .when(is_other)
        .then(pl.lit("other"))
    )
    columns = [column for m in measures for column in (pl.col(m).alias(f"{m}_written"), pl.col(f"{m}_found"))]
    return joined.select(kind.alias("difference"), *keys, *columns).filter(pl.col("difference").is_not_null())
