"""Downloads and writes that are awaited: the event loop goes on, and cancelling the task ends them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from IPython.core.interactiveshell import InteractiveShell

from sacnb._pull.progress import Progress
from sacnb._tenant import Tenant
from sacnb.errors import NotFoundError, QueryError
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]
WHERE = {"Version": "public.Actual", "Sector": ["31", "32"]}


@pytest.fixture
def sac(sandbox: Sandbox, connect_to: ConnectTo) -> Tenant:
    return connect_to(sandbox)


def awaiting() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "sacnb-await"]


def test_awaited_is_what_is_returned_and_the_loop_goes_on(sac: Tenant, tmp_path: Path) -> None:
    facts = sac.model("US_EMPLOYMENT").facts(where=WHERE)

    async def all_of_them() -> list[object]:
        in_loop = threading.Event()
        asyncio.get_running_loop().call_soon(in_loop.set)

        def progress(now: Progress) -> None:
            assert in_loop.wait(20), "the loop stood still"

        return await asyncio.gather(
            facts.fetch_async(progress=progress),
            facts.refresh_async(progress=None, announce=lambda _: None),
            facts.to_parquet_async(tmp_path / "out", progress=None),
        )

    fetched, refreshed, folder = asyncio.run(all_of_them())
    wanted = facts.fetch(progress=None).polars()
    assert fetched.polars().equals(wanted)  # type: ignore[attr-defined]
    assert refreshed.polars().equals(wanted)  # type: ignore[attr-defined]
    assert folder.row_count == len(wanted)  # type: ignore[attr-defined]
    assert not awaiting()


def test_a_cancelled_task_ends_its_download_while_a_page_is_awaited(sac: Tenant, sandbox: Sandbox) -> None:
    facts = sac.model("US_EMPLOYMENT").facts(where=WHERE, page_size=50)
    facts.count()

    async def cancel() -> None:
        loop = asyncio.get_running_loop()
        second = asyncio.Event()

        def progress(now: Progress) -> None:
            loop.call_soon_threadsafe(second.set)

        sandbox.misbehave("slow_bytes", on="facts", after=1, chunks=10, pause_s=30)
        task = asyncio.ensure_future(facts.fetch_async(progress=progress))
        await second.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not awaiting()

    asyncio.run(asyncio.wait_for(cancel(), 30))


def test_errors_are_raised_where_it_is_awaited(sac: Tenant, sandbox: Sandbox) -> None:
    facts = sac.model("US_EMPLOYMENT").facts(where=WHERE)
    sandbox.misbehave("error_404", on="facts")
    with pytest.raises(NotFoundError):
        asyncio.run(facts.fetch_async(progress=None))
    with pytest.raises(QueryError, match="labels"):
        asyncio.run(facts.fetch_async(labels="yes"))  # type: ignore[arg-type]


def test_a_write_is_awaited(sac: Tenant) -> None:
    model = sac.model("US_EMPLOYMENT")
    rows = model.facts(where=WHERE, limit=2).fetch(progress=None).polars()
    changed = rows.with_columns(pl.col(rows.columns[-1]) + 1)
    report = asyncio.run(model.write_async(changed, dry_run=True, progress=None))
    assert report.rows == 2


def test_a_cell_awaits_it(sac: Tenant) -> None:
    facts = sac.model("US_EMPLOYMENT").facts(where=WHERE)
    shell = InteractiveShell.instance()
    try:
        shell.user_ns["facts"] = facts

        cell = "rows = len(await facts.fetch_async(progress=None))"

        async def run_as_the_kernel_does() -> object:
            return await shell.run_cell_async(cell, store_history=False, transformed_cell=cell)

        asyncio.run(run_as_the_kernel_does()).raise_error()  # type: ignore[attr-defined]
        assert shell.user_ns["rows"] == len(facts.fetch(progress=None))
    finally:
        InteractiveShell.clear_instance()
