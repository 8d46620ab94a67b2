"""Plan against actual: what differs, by how much, exactly, and whether that is good news."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import polars as pl
import pyarrow as pa

from sacnb._arguments import texts_by_id
from sacnb._charts.members import listed
from sacnb._charts.variance_plot import Variance
from sacnb._frames.convert import to_float64
from sacnb._frames.periods import date_column, dates_of, how_to_fetch, target_grain, truncate, unfetched
from sacnb._frames.tidy import exact_facts
from sacnb._odata.schema import Grain, Schema, is_account, is_version
from sacnb.errors import ContractError, MixedAccountsWarning, UnknownNameError, warn_user

if TYPE_CHECKING:
    pass

__all__ = ["Accounts", "Better", "Variance", "variance"]

Better = Literal["higher", "lower"]
# What model.members("Account") gives, or a mapping of account ids to SAC's types: INC, EXP, AST, LEQ, NFIN.
Accounts: TypeAlias = Mapping[str, str] | pl.DataFrame

# SAC's name for the type of an account in its master data; seen in public code only (unconfirmed), so read tolerantly.
_TYPE_COLUMNS: Final = ("acctype", "accounttype", "account_type")
_UNKNOWN: Final = "neutral"


def variance(
    table: pa.Table,
    schema: Schema,
    *,
    base: str,
    against: str,
    by: str | Sequence[str] | None = None,
    measure: str | None = None,
    grain: Grain | None = None,
    accounts: Accounts | None = None,
    better: Better | None = None,
    note: str | None = None,
) -> Variance:
    """Compare *against* with *base*; see ``Result.variance``."""
    name = _measure(table, schema, measure)
    version = _version_column(table, schema)
    facts, date, grain, coarser = _facts(table, schema, name, grain)
    _check_versions(facts, version, base, against)
    facts = facts.filter(pl.col(version).is_in([base, against]))
    keys, summed = _keys(facts, date, version, by)
    account = next((key for key in facts.columns if is_account(key)), None)
    if account in summed:
        warn_user(
            "The variances add up accounts of different kinds, revenue and costs alike. Compare by account, or filter.",
            MixedAccountsWarning,
        )
    sides = _sides(facts, version, keys, base, against)
    if better is not None or accounts is None or account is None:
        outcomes, how = _outcomes_of_signs(sides, better)
    else:
        ids = sides[account] if account in keys else _only(facts[account], len(sides))
        outcomes, how = _outcomes_of_accounts(sides, ids, _types(accounts))
    frame = sides.select(
        *keys,
        _floats(sides["base"]),
        _floats(sides["against"]),
        _floats(sides["variance"]),
        pl.Series("relative", [_ratio(*pair) for pair in sides.select("variance", "base").rows()], dtype=pl.Float64),
        pl.Series("outcome", outcomes, dtype=pl.String),
    )
    notes = [
        note or "",
        coarser if "date" in keys else "",
        _note_of_sums(facts, summed),
        _note_of_gaps(sides, base, against),
        how,
    ]
    title = f"{schema.provider_id}: {name}, {against} against {base}"
    return Variance(frame, base, against, name, title, grain, " ".join(part for part in notes if part))


def _measure(table: pa.Table, schema: Schema, measure: str | None) -> str:
    names = [column.name for column in schema.measures if column.name in table.column_names]
    if measure is not None and measure not in names:
        raise unfetched("measure", measure, table, schema)
    if measure is None and len(names) != 1:
        there = f"has {listed([repr(name) for name in names])}" if names else "has none"
        hint = f"Choose it: measure={names[0]!r}." if names else how_to_fetch(table, schema, schema.measures[:1])
        raise ContractError(f"variance() needs one measure; the result {there}.", hint=hint)
    return measure or names[0]


def _version_column(table: pa.Table, schema: Schema) -> str:
    for column in schema.dimensions:
        if column.name in table.column_names and is_version(column.name):
            return f"dim_{column.name}"
    raise ContractError(
        "variance() needs the dimension 'Version', and the result does not have it.",
        hint=how_to_fetch(table, schema, [one for one in schema.dimensions if is_version(one.name)]),
    )


def _facts(
    table: pa.Table, schema: Schema, measure: str, grain: Grain | None
) -> tuple[pl.DataFrame, str | None, Grain | None, str]:
    """Return ``dim_*``, ``date`` and exact ``value``; the date column, its grain, and a note on coarser grains."""
    facts = exact_facts(table, schema, measure)
    dated = any(column.name in table.column_names for column in schema.date_columns)
    if not dated:
        if grain is not None:
            hint = how_to_fetch(table, schema, schema.date_columns[:1]) or "Leave out grain."
            raise ContractError(f"grain={grain!r} needs dates, and the result has none.", hint=hint)
        return facts, None, None, ""
    column = date_column(table, schema, None)
    dates = dates_of(table, column)
    target = target_grain(column.name, dates.grain, grain)
    days = pl.Series("date", truncate(dates.days, target), dtype=pl.Date)
    there = facts.with_columns(days).filter(pl.col("value").is_not_null())
    coarser = f"Each {target} is the sum of its {dates.grain}s." if target != dates.grain else ""
    return there.drop(f"dim_{column.name}", strict=False), column.name, target, coarser


def _check_versions(facts: pl.DataFrame, version: str, base: str, against: str) -> None:
    known = facts[version].unique().drop_nulls().sort().to_list()
    for wanted in (base, against):
        if wanted not in known:
            raise UnknownNameError("version", wanted, known, where="the result")
    if base == against:
        raise ContractError(f"base and against are both {base!r}.", hint="Choose two versions.")


def _keys(
    facts: pl.DataFrame, date: str | None, version: str, by: str | Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Return the columns to compare by, and those whose members are added up."""
    dims = [name for name in facts.columns if name not in {"value", version}]
    varying = [name for name in dims if facts[name].n_unique() > 1]
    if by is None:
        return varying, []
    wanted = [by] if isinstance(by, str) else list(by)
    keys = ["date" if name in {date, "date"} and date is not None else f"dim_{name}" for name in wanted]
    for name, key in zip(wanted, keys, strict=True):
        if key not in dims:
            raise UnknownNameError("dimension", name, [one.removeprefix("dim_") for one in dims], where="the result")
    keys = list(dict.fromkeys(keys))
    return keys, [name for name in varying if name not in keys]


def _sides(facts: pl.DataFrame, version: str, keys: list[str], base: str, against: str) -> pl.DataFrame:
    """Return the exact sums of both versions side by side, sorted by the keys."""
    sums = [
        facts.filter(pl.col(version) == side)
        .group_by(keys or [pl.lit(0).alias("all")])
        .agg(pl.col("value").sum().alias(name))
        for side, name in ((base, "base"), (against, "against"))
    ]
    sides = sums[0].join(sums[1], on=keys or ["all"], how="full", coalesce=True, nulls_equal=True)
    sides = sides.with_columns((pl.col("against").fill_null(0) - pl.col("base").fill_null(0)).alias("variance"))
    return sides.sort(keys) if keys else sides


def _floats(values: pl.Series) -> pl.Series:
    if not isinstance(values.dtype, pl.Decimal):
        return values
    exact = pa.chunked_array([values.to_arrow()])
    return pl.Series(values.name, to_float64(exact), dtype=pl.Float64)


def _ratio(difference: Decimal | float, base: Decimal | float | None) -> float | None:
    """Return the difference as a share of the base's absolute value, rounded once."""
    if not base:
        return None
    if isinstance(difference, float) or isinstance(base, float):
        return float(difference) / abs(float(base))
    return float(Fraction(difference) / abs(Fraction(base)))


def _outcomes_of_signs(sides: pl.DataFrame, better: Better | None) -> tuple[list[str], str]:
    """Return each variance's outcome by its sign alone, and a note on the rule."""
    if better is None:
        unknown = "Favourable or not is unknown: pass better= or accounts=."
        return [_UNKNOWN] * len(sides), unknown
    if better not in {"higher", "lower"}:
        raise UnknownNameError("direction", str(better), ("higher", "lower"))
    sign = 1 if better == "higher" else -1
    return [_of_sign(sign * value) for value in sides["variance"]], f"{better.capitalize()} is favourable."


def _outcomes_of_accounts(sides: pl.DataFrame, accounts: pl.Series, types: Mapping[str, str]) -> tuple[list[str], str]:
    """Return each variance's outcome by the type of its account, and a note on the rule."""
    rows = zip(accounts, sides["base"], sides["against"], strict=True)
    how = "Favourable: income further from zero, expenses nearer to zero, whatever their sign in the model."
    return [_of_account(types.get(one, ""), base, against) for one, base, against in rows], how


def _only(accounts: pl.Series, count: int) -> pl.Series:
    known = accounts.unique()
    if len(known) != 1:
        raise ContractError(
            "The variances add up accounts of several types, so no type applies to the sum.",
            hint="Compare by the account too, or filter to one account.",
        )
    return pl.Series([known[0]] * count, dtype=pl.String)


def _types(accounts: Accounts) -> dict[str, str]:
    if not isinstance(accounts, pl.DataFrame):
        return {one: kind.upper() for one, kind in texts_by_id("accounts", accounts).items()}
    found = next((name for name in accounts.columns if name.casefold() in _TYPE_COLUMNS), None)
    if found is None or "id" not in accounts.columns:
        raise ContractError(
            f"accounts needs the columns id and a type, got {listed(accounts.columns or ['none'])}.",
            hint="Pass model.members('Account'), or a mapping of account ids to INC, EXP, AST, LEQ or NFIN.",
        )
    return {str(one): str(kind).upper() for one, kind in accounts.select("id", found).rows() if kind is not None}


def _of_sign(value: Any) -> str:
    return "favourable" if value > 0 else "unfavourable" if value < 0 else "neutral"


def _of_account(kind: str, base: Any, against: Any) -> str:
    """Return the outcome by size, because models store income with either sign; neutral if the sign changed."""
    base, against = base or 0, against or 0
    if kind not in {"INC", "EXP"} or base * against < 0:
        return _UNKNOWN
    growth = abs(against) - abs(base)
    return _of_sign(growth if kind == "INC" else -growth)


def _note_of_sums(facts: pl.DataFrame, summed: list[str]) -> str:
    if not summed:
        return ""
    words = [f"{name.removeprefix('dim_')} ({facts[name].n_unique():,})" for name in summed]
    return f"Adds up {listed(words)}, which is wrong for headcounts, balances, prices and rates."


def _note_of_gaps(sides: pl.DataFrame, base: str, against: str) -> str:
    gaps = [(side, sides[name].null_count()) for side, name in ((base, "base"), (against, "against"))]
    said = [f"{count:,} of {len(sides):,} have no value in {side}" for side, count in gaps if count]
    return f"{listed(said)}, which counts as 0." if said else ""
