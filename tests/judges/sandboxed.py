"""The judged rows as a model of the sandbox, and what sacnb gets when it asks for some of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

import sacnb
import sacnb.sandbox

from .conditions import ODATA, POLARS, Condition, Row
from .polars_conditions import PolarsConditions, SqlConditions
from .reading import NotAFilter, filter_of, read_filter
from .rows import TYPES, Conditions, make_rows
from .verdict import Verdict

MODEL = "JUDGED"
_COLUMNS = {
    "Edm.Boolean": pl.Boolean(), "Edm.Byte": pl.UInt8(), "Edm.Int32": pl.Int32(), "Edm.Int64": pl.Int64(),
    "Edm.Decimal": pl.Decimal(31, 7), "Edm.Double": pl.Float64(), "Edm.Single": pl.Float32(),
    "Edm.String": pl.String(), "Edm.Date": pl.Date(), "Edm.TimeOfDay": pl.Time(),
    "Edm.DateTimeOffset": pl.Datetime("us", "UTC"), "Edm.Duration": pl.Duration("us"), "Edm.Guid": pl.String(),
    "Edm.Binary": pl.Binary(),
}  # fmt: skip


@contextmanager
def judged(rows: Sequence[Row], cache_dir: Path) -> Iterator[sacnb.Tenant]:
    """A tenant whose model ``JUDGED`` has these rows."""
    frame = pl.DataFrame(
        {name: [row[name] for row in rows] for name in TYPES},
        schema={name: _COLUMNS[kind] for name, kind in TYPES.items()},
    )
    columns = [
        sacnb.sandbox.Column(
            name,
            kind,
            key=name == "Id",
            nullable=name != "Id",
            **({"precision": 31, "scale": 7} if kind == "Edm.Decimal" else {}),
        )
        for name, kind in TYPES.items()
    ]
    model = sacnb.sandbox.table_model(MODEL, columns=columns, rows=frame)
    with (
        sacnb.sandbox.start(models=[model], scale_rows=0, max_url_chars=100_000) as sandbox,
        sacnb.connect(
            sandbox.tenant_url,
            token_url=sandbox.token_url,
            client_id=sandbox.client_id,
            client_secret=sandbox.client_secret,
            cache_dir=cache_dir,
        ) as tenant,
    ):
        yield tenant


def judge_filters(
    tenant: sacnb.Tenant, rows: Sequence[Row], *, seed: int, count: int, answered: bool = True
) -> Verdict:
    """Judge ``where=``: the filter in the URL means what was said, and the rows that come are those it means.

    Without *answered* only the URL is judged, and the sandbox is not asked.
    """
    verdict = Verdict("filters against plain Python, as written in the URL and as answered by the sandbox")
    model = tenant.model(MODEL)
    conditions = Conditions(random.Random(seed))
    for _ in range(count):
        condition, expression = conditions.one()
        verdict.tried += 1
        wanted = ids(condition.kept(rows, ODATA))
        try:
            facts = model.facts(where=expression, select=["Id"])
            raw = filter_of(facts.url)
            if raw is None or raw == "false":
                written = wanted if len(wanted) == (len(rows) if raw is None else 0) else ["(constant)"]
            else:
                written = ids(read_filter(raw, TYPES).kept(rows, ODATA))
            came = sorted(facts.fetch(progress=None).arrow()["Id"].to_pylist()) if answered else wanted
        except (sacnb.SacError, NotAFilter) as error:
            verdict.wrong.append(f"{expression!r}: {type(error).__name__}: {str(error)[:2000]}")
            continue
        if written != wanted:
            verdict.wrong.append(f"{expression!r} is written {raw}, which keeps {written} and not {wanted}")
        elif came != wanted:
            verdict.wrong.append(f"{expression!r}: the sandbox gave {came} and not {wanted}, for {raw}")
    return verdict


def judge_scans(tenant: sacnb.Tenant, rows: Sequence[Row], *, seed: int, count: int) -> Verdict:
    """Judge ``scan()``: with what is sent and what is left to polars, the rows are those meant."""
    verdict = Verdict("conditions of polars on scan() against plain Python")
    model = tenant.model(MODEL)
    shown = [{**row, "Amount": None if row["Amount"] is None else float(row["Amount"])} for row in rows]
    random_ = random.Random(seed)
    for number in range(count):
        decimals = number % 2 == 0
        condition, predicate = PolarsConditions(random_, decimals=decimals).one()
        verdict.tried += 1
        try:
            found = model.scan(decimals=decimals).filter(predicate).select("Id").collect()
        except (sacnb.SacError, pl.exceptions.PolarsError) as error:
            verdict.wrong.append(f"{predicate}: {type(error).__name__}: {error}")
            continue
        _compare(verdict, str(predicate), condition, rows if decimals else shown, found["Id"].to_list())
    return verdict


def judge_sql(tenant: sacnb.Tenant, rows: Sequence[Row], *, seed: int, count: int) -> Verdict:
    """Judge ``sql()``: a condition behind ``where`` keeps the rows that SQL's three-valued logic keeps."""
    verdict = Verdict("conditions of SQL against plain Python")
    conditions = SqlConditions(random.Random(seed))
    for _ in range(count):
        condition, text = conditions.one()
        verdict.tried += 1
        try:
            found = tenant.sql(f"select Id from {MODEL} where {text}", decimals=True)
        except (sacnb.SacError, pl.exceptions.PolarsError) as error:
            verdict.wrong.append(f"{text}: {type(error).__name__}: {error}")
            continue
        _compare(verdict, text, condition, rows, found["Id"].to_list())
    return verdict


def judged_rows(seed: int) -> list[Row]:
    """Return the rows that everything here is tried on."""
    return make_rows(random.Random(seed), 60)


def ids(rows: Sequence[Row]) -> list[Any]:
    """Return the keys of *rows*, in order."""
    return sorted(row["Id"] for row in rows)


def _compare(verdict: Verdict, shown: str, condition: Condition, rows: Sequence[Row], found: list[Any]) -> None:
    wanted = ids(condition.kept(rows, POLARS))
    if sorted(found) != wanted:
        verdict.wrong.append(f"{shown} gave {sorted(found)} and not {wanted}")


def written_filters(tenant: sacnb.Tenant, *, seed: int, count: int) -> list[tuple[str, Condition]]:
    """Return generated filters as they stand in the URL, each with what plain reading makes of it."""
    model = tenant.model(MODEL)
    conditions = Conditions(random.Random(seed))
    found: dict[str, Condition] = {}
    for _ in range(count):
        _, expression = conditions.one()
        raw = filter_of(model.facts(where=expression, select=["Id"]).url)
        if raw is not None:
            found[raw] = read_filter(raw, TYPES)
    return list(found.items())
