"""A pull that was killed resumes where it stopped: no row is lost, and none comes twice."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

import sacnb.sandbox
from sacnb._cache.staging import list_staging, staging_root
from sacnb._pull.checkpoints import Staging
from sacnb._pull.parquet import to_parquet
from sacnb._pull.plan import Job, Plan
from sacnb._pull.progress import Progress
from sacnb._tenant import Tenant
from sacnb.errors import BadAnswer, Cancelled, ExportError, NoAnswerError, RequestError, SacError, ServerError
from sacnb.sandbox import Column, Sandbox, table_model
from sacnb.sandbox.models.scale import scale as scale_model

ConnectTo = Callable[..., Tenant]
StartPull = Callable[..., subprocess.Popen[str]]

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
KEYS = ["Version", "Date", "Region", "Channel", "Product", "Customer"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def finish(process: subprocess.Popen[str]) -> list[int]:
    """The rows after each page that a process said it has; it has to end well."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    *rows, done = out.splitlines()
    assert done.startswith("done ")
    return [int(line) for line in rows]


# -- kill -9 ---------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("tenant", "where", "partitions", "tenths"),
    [
        ("far_sandbox", None, 4, (3, 6)),
        pytest.param("far_million", {"Channel": "Direct"}, None, (1, 5, 9), marks=pytest.mark.long),
        pytest.param("far_million", None, None, range(1, 10), marks=pytest.mark.long),
        pytest.param("far_million", None, 4, range(1, 10), marks=pytest.mark.long),
    ],
    ids=["few in 4", "part", "million", "million in 4"],
)
def test_a_pull_killed_again_and_again_is_like_an_undisturbed_one(
    request: pytest.FixtureRequest,
    start_pull: StartPull,
    tmp_path: Path,
    *,
    tenant: str,
    where: dict[str, str] | None,
    partitions: int | None,
    tenths: Iterable[int],
) -> None:
    far = request.getfixturevalue(tenant)
    page_size = 5_000 if tenant == "far_sandbox" else 10_000 if where else 50_000
    facts = {"where": where, "partitions": partitions, "page_size": page_size}
    undisturbed = far.connect(tmp_path / "other").model("SCALE").facts(**facts).to_parquet(tmp_path / "whole")
    total = undisturbed.row_count
    assert total > 100_000

    folder = tmp_path / "killed"
    reached = 0
    for tenth in tenths:
        process = start_pull("to_parquet", far, facts=facts, call={"folder": str(folder)}, kill_at=tenth * total // 10)
        out, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
        rows = [int(line) for line in out.splitlines()]
        assert rows[0] >= reached, "what the last one had pulled has to be there"
        reached = rows[-1]
        assert not folder.exists()
    (left,) = list_staging(staging_root(tmp_path / "cache"))
    assert (left.rows, left.is_running, left.target) == (reached, False, str(folder))

    rows = finish(start_pull("to_parquet", far, facts=facts, call={"folder": str(folder)}))
    assert (rows[0] >= reached, rows[-1]) == (True, total)
    assert files_of(folder) == files_of(tmp_path / "whole")
    assert list_staging(staging_root(tmp_path / "cache")) == ()
    assert sorted(path.name for path in tmp_path.glob("*killed*")) == ["killed", "killed.manifest.json"]


@posix
@pytest.mark.timeout(120)
@pytest.mark.parametrize("partitions", [None, pytest.param(3, marks=pytest.mark.long)])
def test_a_refresh_killed_at_any_moment_resumes(
    far_sandbox: Any, start_pull: StartPull, tmp_path: Path, partitions: int | None
) -> None:
    facts = {"where": {"Channel": "Direct"}, "partitions": partitions, "page_size": 1_500}
    undisturbed = far_sandbox.connect(tmp_path / "other").model("SCALE").facts(**facts).fetch()
    reached = 0
    for pages in (3, 9):
        process = start_pull("refresh", far_sandbox, facts=facts)
        assert process.stdout is not None
        lines = [int(process.stdout.readline()) for _ in range(pages)]
        process.kill()  # from outside, wherever it is by now
        process.wait()
        assert lines[0] >= reached
        reached = lines[-1]
    assert finish(start_pull("refresh", far_sandbox, facts=facts))[0] >= reached
    tenant = far_sandbox.connect(tmp_path / "cache")
    (entry,) = tenant.cache.entries()
    assert entry.info is not None
    kept = tenant.model("SCALE").facts(**facts).refresh(max_age_s=3600)
    assert kept.arrow().equals(undisturbed.arrow())
    assert tenant.cache.staging() == ()


# -- a page that a power cut tore ------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [False, True])
def test_a_torn_page_across_the_end_of_a_part_is_fetched_again_and_the_part_is_kept(
    job_of: Callable[..., Job], tmp_path: Path, *, changed: bool
) -> None:
    def pages(value: int) -> list[dict[str, str]]:
        return [{f"{page}-{row}": str(value) for row in range(4)} for page in range(5)]

    def export(job: Job) -> Any:
        staging = Staging(tmp_path / "staging", {"query": "given"}, lambda: datetime(2026, 11, 20, tzinfo=UTC))
        plan = lambda job: Plan.of(job.query, job.schema, job.tenant_url)  # noqa: E731
        return to_parquet(job, plan, tmp_path / "x", staging, about={}, rows_per_part=6)

    with pytest.raises(KeyboardInterrupt):
        export(job_of(*pages(1), progress=stop_after(3)))
    (rows,) = tmp_path.glob(".x.*.partial")
    assert {path.name for path in rows.glob("part-*")} == {"part-0000-00000.parquet"}
    torn = rows / "page-0000-00001.arrow"
    torn.write_bytes(torn.read_bytes()[:100])
    if changed:
        with pytest.raises(BadAnswer, match="other rows now than when the download was begun"):
            export(job_of(*pages(2)))
        assert not rows.exists()
    result = export(job_of(*pages(1)))
    assert (result.row_count, result.resumed_rows) == (20, 0 if changed else 6)
    names = pq.read_table(result.path)["Name"].to_pylist()
    assert names == [f"{page}-{row}" for page in range(5) for row in range(4)]


# -- what else ends a pull early -------------------------------------------------------------------------------------


def stop_after(pages: int) -> Callable[[Progress], None]:
    def progress(now: Progress) -> None:
        if now.pages == pages:
            raise KeyboardInterrupt

    return progress


def interrupted(call: Callable[..., Any], **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        call(progress=stop_after(4), **options)
    # The request that was on its way is counted by the sandbox when it arrives, and not after the test has counted.
    for thread in threading.enumerate():
        if thread.name.startswith("sacnb-stream"):
            thread.join(30)


@pytest.fixture
def sandbox(time: Any) -> Iterator[Sandbox]:
    with sacnb.sandbox.start(scale_rows=6_000, clock=time.clock, now=time.now) as started:
        yield started


@pytest.fixture
def large(sandbox: Sandbox) -> Sandbox:
    """The sandbox with more rows, since pages of 5,000 are never made smaller."""
    sandbox.add_model(scale_model(100_000))
    return sandbox


@pytest.fixture
def scale(sandbox: Sandbox, connect_to: ConnectTo) -> Any:
    """SCALE with 6,000 rows, asked for in pages of 600."""

    def facts(**options: Any) -> Any:
        return connect_to(sandbox, **options.pop("settings", {})).model("SCALE").facts(page_size=600, **options)

    return facts


def pages_asked(sandbox: Sandbox) -> int:
    return sum(entry.kind == "facts" for entry in sandbox.log)


def beginnings(sandbox: Sandbox) -> int:
    """Return how often the first page was asked for.

    Later pages are no measure of a pull that was interrupted: one of them may still be on its way, and is noted by the
    sandbox whenever it gets there.
    """
    return sum(entry.kind == "facts" and "skiptoken" not in entry.query for entry in sandbox.log)


def test_a_second_run_pulls_only_what_the_first_one_had_not(sandbox: Sandbox, scale: Any, tmp_path: Path) -> None:
    undisturbed = scale().fetch()
    interrupted(scale().to_parquet, folder=tmp_path / "x")
    seen: list[Progress] = []
    result = scale().to_parquet(tmp_path / "x", progress=seen.append)
    assert beginnings(sandbox) == 2, "that of the undisturbed pull, and that of the first run"
    assert (result.resumed_rows, result.row_count) == (2_400, 6_000)
    assert (seen[0].rows, seen[0].resumed_rows, seen[0].expected_rows) == (2_400, 2_400, 6_000)
    assert seen[-1].rows == 6_000
    assert pq.read_table(result.path).equals(undisturbed.arrow())
    assert "2,400 of them pulled by an earlier run" in repr(result)


def test_a_resumed_refresh_is_as_old_as_its_first_page(scale: Any, time: Any) -> None:
    interrupted(scale().refresh)
    began = time.now()
    time.advance(3600)
    result = scale().refresh()
    assert (len(result), result.info.last_refresh_time) == (6_000, began)
    time.advance(60)
    assert scale().refresh().info.last_refresh_time == time.now()


def test_a_pull_of_one_page_leaves_nothing_on_the_disk(sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path) -> None:
    tenant = connect_to(sandbox)
    tenant.model("US_EMPLOYMENT").refresh()
    assert not staging_root(tmp_path / "cache").exists()


@pytest.mark.parametrize("method", ["refresh", "to_parquet"])
def test_resume_can_be_declined(sandbox: Sandbox, scale: Any, tmp_path: Path, method: str) -> None:
    call = {"folder": tmp_path / "x"} if method == "to_parquet" else {}
    interrupted(getattr(scale(), method), **call)
    seen: list[Progress] = []
    getattr(scale(), method)(resume=False, progress=seen.append, **call)
    assert (beginnings(sandbox), seen[0].rows, seen[-1].pages) == (2, 600, 10)


def test_after_twelve_hours_a_pull_starts_over(sandbox: Sandbox, scale: Any, time: Any) -> None:
    interrupted(scale().refresh)
    time.advance(12 * 3600 + 1)
    seen: list[Progress] = []
    scale().refresh(progress=seen.append)
    assert (beginnings(sandbox), seen[0].rows, seen[-1].pages) == (2, 600, 10)


def test_another_question_starts_over(sandbox: Sandbox, scale: Any, tmp_path: Path) -> None:
    interrupted(scale().to_parquet, folder=tmp_path / "x")
    seen: list[Progress] = []
    scale(since="2018").to_parquet(tmp_path / "x", progress=seen.append)
    assert (beginnings(sandbox), seen[0].rows) == (2, 600)
    assert 1_200 < seen[-1].rows < 5_400


def test_a_pull_starts_over_if_the_row_count_has_changed(sandbox: Sandbox, scale: Any) -> None:
    interrupted(scale().refresh)
    sandbox.add_model(scale_model(5_400))
    result = scale().refresh()
    assert len(result) == 5_400
    assert result.polars().select(KEYS).n_unique() == 5_400


def test_the_plan_of_the_first_run_holds_for_the_second_one(sandbox: Sandbox, scale: Any, tmp_path: Path) -> None:
    whole = scale(partitions=3, settings={"streams": 1}).fetch()
    interrupted(scale(partitions=3, settings={"streams": 1}).to_parquet, folder=tmp_path / "x")
    result = scale(partitions=8).to_parquet(tmp_path / "x")
    assert result.resumed_rows == 2_091  # the first of three partitions has four pages
    assert pq.read_table(result.path).equals(whole.arrow())


def test_a_full_disk_ends_an_export_and_keeps_its_pages(
    scale: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where the hidden folder should be: the system refuses, as it would on a full disk."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "part-0000-00000.parquet").write_bytes(b"the last good result")
    target = tmp_path / "x"
    seen: list[Progress] = []

    def progress(now: Progress) -> None:
        seen.append(now)
        if now.pages == 3:
            for folder in tmp_path.glob(".x.*.partial"):
                folder.rename(tmp_path / "away")
                folder.write_text("no folder")

    with pytest.raises(ExportError, match="resumes where it stopped"):
        scale().to_parquet(target, progress=progress)
    assert files_of(target) == {"part-0000-00000.parquet": b"the last good result"}
    (blocker,) = tmp_path.glob(".x.*.partial")
    blocker.unlink()
    (tmp_path / "away").rename(blocker)
    assert scale().to_parquet(target).resumed_rows >= 1_200


def test_a_cache_that_cannot_be_written_costs_the_resume_and_not_the_refresh(
    scale: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    result = scale(settings={"cache_dir": tmp_path / "file"}).refresh(announce=said.append)
    assert len(result) == 6_000
    assert "could not be cached" in said[0]
    assert "cannot be resumed" in caplog.text


def test_two_at_once_do_not_get_into_each_others_way(scale: Any, tmp_path: Path) -> None:
    inside: list[Any] = []

    def progress(now: Progress) -> None:
        if now.pages == 2 and not inside:
            inside.append(None)
            inside.append(len(scale().refresh()))
            with pytest.raises(ExportError, match="Another process is exporting to"):
                scale().to_parquet(tmp_path / "x")

    assert scale().to_parquet(tmp_path / "x", progress=progress).row_count == 6_000
    inside.clear()

    def in_refresh(now: Progress) -> None:
        if now.pages == 2 and not inside:
            inside.append(None)
            inside.append(len(scale().refresh()))

    assert len(scale().refresh(progress=in_refresh)) == 6_000
    assert inside == [None, 6_000]


# -- links and pages that SAC no longer gives ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "partitions"), [(404, 3), (410, None), pytest.param(400, None, marks=pytest.mark.long)]
)
def test_a_dead_link_restarts_its_partition_only(
    sandbox: Sandbox, scale: Any, caplog: pytest.LogCaptureFixture, status: int, partitions: int | None
) -> None:
    whole = scale(partitions=partitions).fetch()
    asked = pages_asked(sandbox)
    sandbox.misbehave("next_link_expired", status=status, times=1, after=3)
    seen: list[Progress] = []
    again = scale(partitions=partitions, settings={"streams": 1}).fetch(progress=seen.append)
    assert again.arrow().equals(whole.arrow())
    assert seen[-1].rows == 6_000
    assert caplog.text.count("restarting part") == 1
    if partitions:
        counts = sum("$top=0" in entry.query for entry in sandbox.log[-60:])
        assert pages_asked(sandbox) - asked - counts <= 12 + 4 + 1, "the other partitions are not asked for again"


def test_links_that_die_again_and_again_are_given_up(sandbox: Sandbox, scale: Any) -> None:
    sandbox.misbehave("next_link_expired", status=410)
    with pytest.raises(RequestError, match="410"):
        scale().fetch()


def test_a_link_that_died_meanwhile_restarts_the_pull(sandbox: Sandbox, scale: Any, tmp_path: Path) -> None:
    whole = scale().fetch()
    sandbox.misbehave("next_link_expired", status=410, times=1, after=3)
    interrupted(scale().to_parquet, folder=tmp_path / "x")
    sandbox.behave()
    result = scale().to_parquet(tmp_path / "x")
    assert result.resumed_rows == 0
    assert pq.read_table(result.path).equals(whole.arrow())


def test_an_outage_in_the_middle_loses_nothing_however_long_it_is(sandbox: Sandbox, scale: Any, tmp_path: Path) -> None:
    sandbox.misbehave("error_504", on="facts", after=3)
    for _ in range(3):
        with pytest.raises(ServerError):
            scale().to_parquet(tmp_path / "x")
    sandbox.behave()
    assert scale().to_parquet(tmp_path / "x").resumed_rows == 1_800


def test_a_link_that_fails_in_two_runs_restarts_its_partition_with_smaller_pages(
    large: Sandbox, connect_to: ConnectTo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = connect_to(large).model("SCALE").facts(page_size=6_000)
    large.misbehave("next_link_expired", status=504, times=1, after=2)
    with pytest.raises(ServerError):
        facts.to_parquet(tmp_path / "x")
    result = facts.to_parquet(tmp_path / "x")
    assert (result.row_count, result.resumed_rows) == (100_000, 0)
    assert "with pages of 5,000 rows because" in caplog.text


def test_a_page_that_is_too_large_is_asked_for_in_halves(
    large: Sandbox, connect_to: ConnectTo, caplog: pytest.LogCaptureFixture
) -> None:
    large.misbehave("error_504", on="facts", times=4)  # as often as a request is tried
    result = connect_to(large).model("SCALE").facts(page_size=40_000).fetch()
    assert len(result) == 100_000
    sizes = [entry.query.rpartition("pagesize=")[2] for entry in large.log if entry.kind == "facts"]
    assert [size.partition("&")[0] for size in sizes] == ["40000"] * 4 + ["20000"] * 5
    assert "with pages of 20,000 rows because" in caplog.text


def test_a_stream_cannot_take_back_what_it_gave(sandbox: Sandbox, scale: Any) -> None:
    sandbox.misbehave("next_link_expired", status=410, times=1, after=1)
    stream = scale().stream()
    assert next(stream).num_rows == 600
    with pytest.raises(RequestError, match="410"):
        list(stream)
    assert isinstance(stream.error, RequestError)


# -- rows that contradict each other ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "misbehaviour"),
    [
        ("refresh", "rows_missing"),
        ("to_parquet", "rows_repeated"),
        pytest.param("refresh", "rows_repeated", marks=pytest.mark.long),
        pytest.param("to_parquet", "rows_missing", marks=pytest.mark.long),
    ],
)
def test_nothing_is_kept_of_a_pull_whose_rows_do_not_add_up(
    sandbox: Sandbox, scale: Any, tmp_path: Path, misbehaviour: str, method: str
) -> None:
    call = {"folder": tmp_path / "x"} if method == "to_parquet" else {"strict": True}
    sandbox.misbehave(misbehaviour, times=1, after=2)
    with pytest.raises(BadAnswer):
        getattr(scale(), method)(**call)
    assert not (tmp_path / "x").exists()
    assert list_staging(staging_root(tmp_path / "cache")) == ()
    asked = pages_asked(sandbox)
    getattr(scale(), method)(**call)
    assert pages_asked(sandbox) - asked == 10


def test_a_key_that_comes_twice_is_found_across_the_run_that_died(
    sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path
) -> None:
    """The rows agree with SAC's count, one of them comes twice and another one not at all."""
    names = [f"row {number}" for number in range(1000)]
    names[900] = names[3]
    rows = pl.DataFrame({"Name": names, "Amount": [1.0] * 1000})
    columns = [Column("Name", key=True), Column("Amount", "Edm.Double")]
    sandbox.add_model(table_model("TWICE", columns=columns, rows=rows))
    facts = connect_to(sandbox).model("TWICE").facts(page_size=100, repeated="error")
    interrupted(facts.to_parquet, folder=tmp_path / "x")
    with pytest.raises(BadAnswer, match=r"2 rows of TWICE/FactData share their key.*'row 3'"):
        facts.to_parquet(tmp_path / "x")
    with pytest.raises(BadAnswer, match=r"2 rows of TWICE/FactData share their key.*'row 3'"):
        facts.fetch()
    with pytest.raises(BadAnswer, match="at least 1 of them"):
        list(facts.stream())


@pytest.mark.parametrize("error", [Cancelled, NoAnswerError])
def test_a_stale_result_is_served_and_the_next_refresh_resumes(
    sandbox: Sandbox, scale: Any, error: type[SacError]
) -> None:
    first = scale().refresh()
    if error is Cancelled:
        seen: list[int] = []
        with pytest.raises(Cancelled):
            scale().refresh(
                cancelled=lambda: max(seen, default=0) >= 4 * 600, progress=lambda now: seen.append(now.rows)
            )
    else:
        sandbox.misbehave("reset_before_body", on="facts", after=4)
        served = scale().refresh(announce=lambda _: None)
        assert served.stale
        assert served.arrow().equals(first.arrow())
        sandbox.behave()
    asked = pages_asked(sandbox)
    assert scale().refresh().arrow().equals(first.arrow())
    assert pages_asked(sandbox) - asked <= 6
