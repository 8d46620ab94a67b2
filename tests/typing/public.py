"""The public calls as users write them; mypy and pyright must infer the types that stand here. Nothing is executed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import assert_type

import pandas as pd
import polars as pl
import pyarrow as pa

import sacnb
import sacnb.replay
import sacnb.sandbox
from sacnb import ConnectSpec, Facts, Model, Result, SacError, Schema, Tenant, col
from sacnb.errors import StaleDataWarning, UnknownNameError
from sacnb.replay import ReplaySession, ReplaySummary
from sacnb.sandbox import Sandbox


def connecting() -> None:
    assert_type(sacnb.connect(), Tenant)
    assert_type(sacnb.connect("sandbox", read_timeout_s=30), Tenant)
    with sacnb.connect("sandbox") as sac:
        assert_type(sac.spec, ConnectSpec)
        assert_type(sacnb.connect(sac.spec, client_secret="of the worker"), Tenant)
        assert_type(sac.models(), pl.DataFrame)
        assert_type(sac.model("US_EMPLOYMENT"), Model)
        assert_type(sac.sql("select * from US_EMPLOYMENT"), pl.DataFrame)
        assert_type(sac.sql("select * from US_EMPLOYMENT where Sector = :sector", {"sector": "31"}), pl.DataFrame)
        assert_type(sac.sql("select * from US_EMPLOYMENT", lazy=True), pl.LazyFrame)
        assert_type(sac.read("/api/v1/csrf"), bytes)
        assert_type(sac.renew_token().remaining_s, float)


def asking(jobs: Model) -> Facts:
    assert_type(jobs.id, str)
    assert_type(jobs.schema, Schema)
    assert_type([column.name for column in jobs.schema.columns], list[str])
    assert_type(jobs.members("Sector"), pl.DataFrame)
    jobs.facts(where={"Version": "public.Actual", "Sector": ["31", "32"], "Employees": (100, None)}, since="2010-01")
    jobs.facts(where=(col("Sector").is_in(["31", "32"]) & (col("Employees") > 5000)) | ~col("Note").contains("draft"))
    jobs.facts(since=date(2010, 1, 1), until="2012-06", dims=["Version"], measures=["Employees"], limit=10)
    assert_type(jobs.scan(where={"Version": "public.Actual"}).select("Sector"), pl.LazyFrame)
    return assert_type(jobs.facts(partitions=4, page_size=1000), Facts)


def pulling(facts: Facts, folder: Path) -> Result:
    assert_type(facts.url, str)
    assert_type(facts.count(), int | None)
    assert_type(facts.fetch(progress=None, cancelled=lambda: False), Result)
    with facts.stream() as batches:
        for batch in batches:
            assert_type(batch, pa.RecordBatch)
    assert_type([sacnb.read_slice(one) for one in facts.partitions(4, at_once=2)], list[pa.RecordBatchReader])
    assert_type(facts.to_parquet(folder, resume=False).row_count, int)
    return assert_type(facts.refresh(max_age_s=3600, strict=True), Result)


def using(result: Result, folder: Path) -> None:
    assert_type(len(result), int)
    assert_type(result.polars(decimals=True), pl.DataFrame)
    assert_type(result.pandas(), pd.DataFrame)
    assert_type(result.arrow(), pa.Table)
    assert_type(result.stale, bool)
    assert_type(result.warning, str | None)
    assert_type(result.tidy(grain="quarter", agg="mean").frame, pl.DataFrame)
    result.to_parquet(folder / "jobs.parquet")
    result.to_csv("jobs.csv")
    assert_type(Result.from_parquet("jobs.parquet"), Result)
    result.plot(grain="year", by=["Sector"], kind="line", labels={"Sector": {"31": "Manufacturing"}})
    result.variance(base="public.Plan", against="public.Actual", by="Sector")


def failing(sac: Tenant) -> str | None:
    try:
        sac.model("NO_MODEL")
    except UnknownNameError as error:
        assert_type(error.nearest, tuple[str, ...])
    except SacError as error:
        return assert_type(error.hint, str | None)
    return StaleDataWarning.__doc__


def testing() -> Iterator[str]:
    with sacnb.sandbox.start(token_lifetime_s=60) as sandbox:
        assert_type(sandbox, Sandbox)
        sandbox.misbehave("error_503", times=2)
        yield assert_type(sandbox.tenant_url, str)
    with sacnb.replay.cassette("jobs", "replay") as session:
        assert_type(session, ReplaySession | None)
    sacnb.replay.start("jobs")
    assert_type(sacnb.replay.stop(), ReplaySummary | None)
