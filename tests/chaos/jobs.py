"""The work of the chaos runs. A job raises ``Wrong`` where rows are not as they must be."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from sales import Facts, facts, plan, sales

from sacnb._tenant import Tenant
from sacnb.errors import SacError

from .world import World

KEYS = ["Version", "Date", "Region", "Channel", "Product", "Customer"]
WHERE = {"Sector": ["31", "32"]}


class Wrong(AssertionError):
    """Rows are lost, doubled or changed, or something else happened that may not."""


@dataclass
class Run:
    """One run: its random numbers, its folder, and the connection through the proxy."""

    world: World
    numbers: random.Random
    folder: Path
    tenant: Tenant
    quiet: Tenant
    expected: dict[str, pl.DataFrame]
    error: SacError | None = None
    lost: int = field(default=0)
    doubled: int = field(default=0)

    def attempt(self, work: Callable[[], Any], *, writes: bool = False) -> Any:
        """Return what *work* returns in the disturbed world, or ``None`` after a typed error that is kept."""
        try:
            with self.world.disturbed(self.numbers, writes=writes), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that something was unusual is no surprise here
                return work()
        except SacError as error:
            self.error = error
            text = f"{error} {error!r}"
            if self.world.secret in text or not str(error).strip():
                raise Wrong(f"an error says nothing, or a secret: {text}") from error
            return None

    def same(self, found: pl.DataFrame, name: str) -> None:
        """Compare the rows with those that SAC has, whatever their order."""
        expected = self.expected[name]
        found = found.select(expected.columns)
        self.lost = expected.join(found, on=expected.columns, how="anti", nulls_equal=True).height
        self.doubled = found.height - found.unique().height
        if not found.sort(found.columns).equals(expected.sort(expected.columns)):
            raise Wrong(f"{found.height} rows instead of {expected.height}; {self.lost} lost, {self.doubled} doubled")


def employment(tenant: Tenant, run: Run | None = None) -> Any:
    page = run.numbers.choice([40, 100, 300, 1000]) if run else 10_000
    return tenant.model("US_EMPLOYMENT").facts(where=WHERE, page_size=page)


def scale(tenant: Tenant, run: Run | None = None) -> Any:
    page = run.numbers.choice([300, 1000]) if run else 10_000
    return tenant.model("SCALE").facts(page_size=page, partitions=run.numbers.choice([None, 3]) if run else None)


def fetch(run: Run) -> None:
    result = run.attempt(lambda: employment(run.tenant, run).fetch())
    if result is not None:
        run.same(result.polars(decimals=True), "employment")


def fetch_partitions(run: Run) -> None:
    result = run.attempt(lambda: scale(run.tenant, run).fetch())
    if result is not None:
        run.same(result.polars(decimals=True), "scale")


def stream(run: Run) -> None:
    batches = run.attempt(lambda: list(employment(run.tenant, run).stream()))
    if batches is not None:
        run.same(pl.DataFrame(pa.Table.from_batches(batches)), "employment")


def across_a_restart(run: Run) -> None:
    left = [run.numbers.randrange(6)]

    def progress(_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            run.world.restart()

    result = run.attempt(lambda: scale(run.tenant, run).fetch(progress=progress))
    if result is not None:
        run.same(result.polars(decimals=True), "scale")


def refresh(run: Run) -> None:
    """A refresh gives the new rows, or the last good ones and a warning; either way these."""
    employment(run.quiet).refresh(announce=lambda _: None)
    result = run.attempt(lambda: employment(run.tenant, run).refresh(announce=lambda _: None))
    if result is not None:
        run.same(result.polars(decimals=True), "employment")
    kept = employment(run.quiet).refresh(max_age_s=1e9, announce=lambda _: None)
    run.same(kept.polars(decimals=True), "employment")


def parquet(run: Run) -> None:
    """An export is whole, or there is none; and once the trouble is over, the same call ends it."""
    target = run.folder / "rows"
    if run.attempt(lambda: scale(run.tenant, run).to_parquet(target, progress=None)) is None and target.exists():
        raise Wrong("an export that failed left its folder")
    scale(run.tenant).to_parquet(target, progress=None)
    run.same(pl.read_parquet(target), "scale")


def scan(run: Run) -> None:
    def collect() -> pl.DataFrame:
        lazy = run.tenant.model("US_EMPLOYMENT").scan(decimals=True)
        return lazy.filter(pl.col("Sector").is_in(["31", "32"])).collect()

    rows = run.attempt(collect)
    if rows is not None:
        run.same(rows, "employment")


def members(run: Run) -> None:
    rows = run.attempt(lambda: run.tenant.model("US_EMPLOYMENT").members("Sector"))
    if rows is not None:
        run.same(rows, "members")


def write(run: Run) -> None:
    """A write is there whole or not at all; and one that returned is there."""
    run.world.sandbox.add_model(sales())
    there = run.quiet.model("SALES")
    frame, before = plan(30), facts(there)
    added = run.numbers.random() < 0.5
    report = run.attempt(
        lambda: run.tenant.model("SALES").write(
            frame, version="public.Plan", method="Append" if added else "Update", progress=None
        ),
        writes=True,
    )
    after: Facts = dict(before)
    for date, store, amount, pieces in frame.rows():
        old = before["public.Plan", date, store] if added else (Decimal(0), Decimal(0))
        after["public.Plan", date, store] = ((old[0] or 0) + amount, (old[1] or 0) + pieces)
    found = facts(there)
    if found != after and (report is not None or found != before):
        run.lost = sum(found.get(key) != values for key, values in after.items())
        raise Wrong(f"{run.lost} of {len(after)} rows are not as written after {report or run.error!r}")


JOBS: tuple[Callable[[Run], None], ...] = (
    fetch, fetch_partitions, stream, across_a_restart, refresh, parquet, scan, members, write,
)  # fmt: skip


def expected(quiet: Tenant) -> dict[str, pl.DataFrame]:
    """Return the right rows, read past the proxy while nothing is spoiled."""
    return {
        "employment": employment(quiet).fetch().polars(decimals=True),
        "scale": scale(quiet).fetch().polars(decimals=True),
        "members": quiet.model("US_EMPLOYMENT").members("Sector"),
    }
