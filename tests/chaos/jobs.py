"""The work of the chaos runs. A job raises ``Wrong`` where rows are not as they must be."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from sales import Facts, facts, plan, sales

from sacnb._tenant import Tenant
from sacnb.errors import SacError
from sacnb.snowflake import SnowflakeClient

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
    stall_s: float = field(default=0.0)
    retries: Counter[str] = field(default_factory=Counter)

    def attempt(self, work: Callable[[], Any], **disturbed: bool) -> Any:
        """Return what *work* returns in the disturbed world, or ``None`` after a typed error that is kept."""
        started = self.world.time.clock()
        try:
            with self.world.disturbed(self.numbers, **disturbed), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that something was unusual is no surprise here
                return work()
        except SacError as error:
            self.error = error
            text = f"{error} {error!r}"
            if self.world.secret in text or not str(error).strip():
                raise Wrong(f"an error says nothing, or a secret: {text}") from error
            return None
        finally:
            self.stall_s = max(self.stall_s, self.world.time.clock() - started)

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
    rows = run.attempt(lambda: run.tenant.model("US_EMPLOYMENT").members("Sector"), counted=False)
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


def append(run: Run) -> None:
    """Rows appended piece by piece are there once and in order, by this program or by the one that goes on."""
    table, count = f"T{run.folder.name}", run.numbers.randint(50, 400)
    numbers = pl.int_range(count, eager=True)
    rows = pl.DataFrame({"Number": numbers, "Amount": (numbers / 8).cast(pl.Decimal(31, 7)), "Text": numbers.cast(str)})

    def pieces(client: SnowflakeClient, *, most: int) -> None:
        with client.open_channel(table, "chaos", commit_timeout_s=20) as channel:
            at = channel.committed
            while at < count:
                size = run.numbers.randint(1, most)
                channel.append_rows(rows[at : at + size])
                channel.flush()
                at += size
            channel.wait_for_commit(20)

    with closing(run.world.connect_snowflake(run.numbers)) as client:
        done = run.attempt(lambda: pieces(client, most=count) or True, appends=True)
        run.retries.update(client.telemetry.retries)
    if not done:
        with closing(run.world.connect_snowflake()) as client:
            pieces(client, most=count)
    found = [row["Number"] for row in run.world.snowflake.rows("DB", "PUBLIC", table)]
    run.lost, run.doubled = len(set(range(count)) - set(found)), len(found) - len(set(found))
    if found != list(range(count)):
        raise Wrong(f"{len(found)} of {count} rows are in the table; {run.lost} lost, {run.doubled} doubled")


def load(run: Run) -> None:
    """A model loaded into a table is there once, by this call or by the same one later."""
    table = f"T{run.folder.name}"

    def whole() -> Any:
        with closing(run.world.connect_snowflake(run.numbers)) as client:
            try:
                channels = 1 + len(table) % 2
                return employment(run.tenant, run).to_snowflake(table, client=client, channels=channels, progress=None)
            finally:
                run.retries.update(client.telemetry.retries)

    if run.attempt(whole, appends=True) is None:
        whole()
    found = pl.DataFrame(run.world.snowflake.rows("DB", "PUBLIC", table), infer_schema_length=None)
    run.same(found.cast(pl.String), "employment as text")


JOBS: tuple[Callable[[Run], None], ...] = (
    fetch, fetch_partitions, stream, across_a_restart, refresh, parquet, scan, members, write, append, load,
)  # fmt: skip


def expected(quiet: Tenant) -> dict[str, pl.DataFrame]:
    """Return the right rows, read past the proxy while nothing is spoiled."""
    rows = employment(quiet).fetch().polars(decimals=True)
    return {
        "employment": rows,
        "employment as text": rows.cast(pl.String),
        "scale": scale(quiet).fetch().polars(decimals=True),
        "members": quiet.model("US_EMPLOYMENT").members("Sector"),
    }
