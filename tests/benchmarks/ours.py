"""sacnb: every way to pull, and the cache."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from benchmarks.server import PAGE_ROWS, Target
from benchmarks.worker import Run


def _facts(target: Target, folder: Path, *, streams: int = 4, **question: Any) -> Any:
    import sacnb

    tenant = sacnb.connect(
        target.tenant_url,
        token_url=target.token_url,
        client_id=target.client_id,
        client_secret=target.client_secret,
        page_size=PAGE_ROWS,
        streams=streams,
        cache_dir=folder / "cache",
    )
    return tenant.model(target.model).facts(**question)


def fetch(target: Target, folder: Path) -> Run:
    """An Arrow table."""
    facts = _facts(target, folder)
    return lambda: {"rows": len(facts.fetch())}


def polars(target: Target, folder: Path) -> Run:
    """A polars frame."""
    facts = _facts(target, folder)
    return lambda: {"rows": len(facts.fetch().polars())}


def pandas(target: Target, folder: Path) -> Run:
    """A pandas frame."""
    facts = _facts(target, folder)
    return lambda: {"rows": len(facts.fetch().pandas())}


def parquet(target: Target, folder: Path) -> Run:
    """A folder of Parquet files."""
    facts = _facts(target, folder)
    return lambda: {"rows": facts.to_parquet(folder / "rows").row_count}


def stream(target: Target, folder: Path) -> Run:
    """Record batches, each looked at and let go of."""
    facts = _facts(target, folder)

    def run() -> dict[str, Any]:
        began, first_s, rows = time.perf_counter(), 0.0, 0
        for batch in facts.stream():
            first_s = first_s or time.perf_counter() - began
            rows += batch.num_rows
        return {"rows": rows, "first_s": round(first_s, 4)}

    return run


def partitioned(target: Target, folder: Path, *, partitions: int) -> Run:
    """An Arrow table, by as many streams as there are partitions."""
    if target.is_small:
        return fetch(target, folder)
    facts = _facts(target, folder, streams=partitions, partitions=partitions)
    return lambda: {"rows": len(facts.fetch())}


def cache_write(target: Target, folder: Path) -> Run:
    """Keep a result that is in memory; the time is that of keeping it alone."""
    facts = _facts(target, _kept(target, folder))
    result = facts.fetch()

    def run() -> dict[str, Any]:
        path = facts.connection.cache.save(facts.cache_key, result)
        return {"rows": len(result), "file_mb": path.stat().st_size / 1e6}

    return run


def cache_read(target: Target, folder: Path) -> Run:
    """What another process kept, back as a polars frame."""
    facts = _facts(target, _kept(target, folder))
    if target.is_small:
        facts.refresh()
    return lambda: {"rows": len(facts.refresh(max_age_s=1e9).polars())}


def cache_file(target: Target, folder: Path) -> Run:
    """The same file read by polars alone, which looks at no checksum and at no metadata."""
    facts = _facts(target, _kept(target, folder))
    if target.is_small:
        facts.refresh()
    import polars as pl

    path = facts.connection.cache.show(facts.cache_key).path
    return lambda: {"rows": pl.read_parquet(path).with_columns(pl.col(pl.Decimal).cast(pl.Float64)).height}


def _kept(target: Target, folder: Path) -> Path:
    return folder if target.is_small else Path(os.environ["BENCHMARK_KEPT"])
