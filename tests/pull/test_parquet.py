"""A folder of Parquet files that any reader opens, whole or not at all, and the same whenever the rows are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from sacnb._cache.staging import StagingArea
from sacnb._pull.checkpoints import Staging
from sacnb._pull.parquet import ParquetFolder, PartWriter, to_parquet
from sacnb._pull.plan import Job, Plan
from sacnb._results.info import principal_digest
from sacnb._tenant import Tenant
from sacnb.errors import ExportError, UnknownNameError
from sacnb.sandbox import Sandbox
from sacnb.sandbox.models.scale import scale

ConnectTo = Callable[..., Tenant]
NOW = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)


@pytest.fixture
def facts(sandbox: Sandbox, connect_to: ConnectTo) -> Callable[..., Any]:
    def facts(**options: Any) -> Any:
        return connect_to(sandbox).model("US_EMPLOYMENT").facts(**{"page_size": 500, **options})

    return facts


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., ParquetFolder]:
    """Exports a job with so many rows a part, into ``tmp_path / "x"``."""

    def export(job: Job, **options: Any) -> ParquetFolder:
        staging = Staging(tmp_path / "staging", {"query": "given"}, lambda: NOW)
        return to_parquet(
            job,
            lambda job: Plan.of(job.query, job.schema, job.tenant_url),
            tmp_path / "x",
            staging,
            about={"provider_id": "GIVEN"},
            **options,
        )

    return export


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [None, 4])
def test_every_reader_opens_the_folder(facts: Callable[..., Any], tmp_path: Path, partitions: int | None) -> None:
    whole = facts(partitions=partitions).fetch().arrow()
    folder = facts(partitions=partitions).to_parquet(tmp_path / "jobs").path
    assert pq.read_table(folder).equals(whole)
    assert pa.dataset.dataset(folder).to_table().equals(whole)
    assert pl.read_parquet(folder).equals(pl.DataFrame(whole))
    assert pl.scan_parquet(folder).collect().equals(pl.DataFrame(whole))
    assert pl.read_parquet(f"{folder}/*.parquet").equals(pl.DataFrame(whole))
    assert len(pd.read_parquet(folder)) == 3420


def test_an_answer_without_rows_is_an_empty_table(facts: Callable[..., Any], tmp_path: Path) -> None:
    for number, where in enumerate([{"Sector": []}, {"Sector": "31", "Date": ["200601", "200602"], "Version": []}]):
        result = facts(where=where).to_parquet(tmp_path / str(number))
        assert (result.row_count, len(result.files)) == (0, 1)
        assert pl.read_parquet(result.path).columns == ["Version", "Date", "Sector", "Employees"]


def test_the_manifest_describes_every_file(facts: Callable[..., Any], tmp_path: Path, time: Any) -> None:
    question = facts(where={"Sector": "31"})
    began = time.now()
    result = question.to_parquet(tmp_path / "deep" / "jobs")
    assert result.manifest == tmp_path / "deep" / "jobs.manifest.json"
    manifest = json.loads(result.manifest.read_text())
    assert manifest["complete"] is True
    assert manifest["provider_id"] == "US_EMPLOYMENT"
    assert manifest["query"] == question.query.canonical(question.schema)
    assert [column["name"] for column in manifest["columns"]] == ["Version", "Date", "Sector", "Employees"]
    assert (manifest["row_count"], manifest["keys_compared"]) == (228, 228)
    assert datetime.fromisoformat(manifest["started_at"]) == began == result.started_at
    for part in manifest["parts"]:
        data = (result.path / part["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (part["size_bytes"], part["sha256"])
    assert sum(part["rows"] for part in manifest["parts"]) == 228
    assert manifest["principal"] == principal_digest(question.connection.principal)


def test_a_limit_holds_over_the_several_requests_of_a_long_list(
    sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path
) -> None:
    small = scale(600)
    sandbox.add_model(small)
    made = small.facts.rows(pl.int_range(600, dtype=pl.Int64, eager=True), ["Product"])["Product"]
    products = made.unique().sort().head(300).to_list()  # more than one address can name
    total = made.is_in(products).sum()
    model = connect_to(sandbox).model("SCALE")
    whole = model.facts(where={"Product": products}, page_size=100).fetch().arrow()
    assert whole.num_rows == total > 250
    for limit in (0, 1, 150, 5000):
        asked = len(sandbox.log)
        facts = model.facts(where={"Product": products}, page_size=100, limit=limit)
        some = facts.fetch().arrow()
        pages = [one for one in sandbox.log[asked:] if one.path.endswith("/FactData") and "$top=0" not in one.query]
        few = len(pages)  # without the proof that each key has one record
        assert few <= limit / 100 + 8 + 4, "requests whose rows are not wanted need not be sent"
        assert some.num_rows == min(limit, total)
        assert set(some["Customer"].to_pylist()) <= set(whole["Customer"].to_pylist())
        assert limit < total or len({re.search("filter=[^&]*", one.query)[0] for one in pages}) > 1
        assert facts.stream().read_all().equals(some)
        assert pq.read_table(facts.to_parquet(tmp_path / str(limit)).path).equals(some)


# -- writing ---------------------------------------------------------------------------------------------------------


def test_the_same_rows_make_the_same_bytes_whatever_pages_they_come_in(
    facts: Callable[..., Any], tmp_path: Path
) -> None:
    folders = [facts(page_size=size).to_parquet(tmp_path / str(size)).path for size in (100, 999, 5000)]
    assert contents(folders[0]) == contents(folders[1]) == contents(folders[2])


def test_parts_are_of_the_same_size_and_one_row_group(
    job_of: Callable[..., Job], export: Callable[..., ParquetFolder]
) -> None:
    pages = [{f"{page}-{row}": "1" for row in range(rows)} for page, rows in enumerate((7, 1, 12, 3))]
    result = export(job_of(*pages), rows_per_part=5)
    tables = [pq.ParquetFile(result.path / file) for file in result.files]
    assert [(one.metadata.num_rows, one.num_row_groups) for one in tables] == [(5, 1)] * 4 + [(3, 1)]
    names = [name for one in tables for name in one.read().column("Name").to_pylist()]
    assert names == [name for page in pages for name in page]


def test_a_page_wider_than_the_others_widens_every_file_and_nothing_is_rounded(
    job_of: Callable[..., Job], export: Callable[..., ParquetFolder]
) -> None:
    pages = [{"a": "1.5", "b": "2.5"}, {"c": "0.000000123456789"}, {"d": "12345678901234567890123456.5"}, {"e": "1"}]
    result = export(job_of(*pages), rows_per_part=1)
    schemas = [pq.read_schema(result.path / file) for file in result.files]
    assert len(schemas) == 5
    assert all(schema.equals(schemas[0]) for schema in schemas)
    amounts = pq.read_table(result.path)["Amount"].to_pylist()
    assert amounts == [Decimal("1.5"), Decimal("2.5"), Decimal("0.000000123456789"),
                       Decimal("12345678901234567890123456.5"), Decimal(1)]  # fmt: skip
    manifest = json.loads(result.manifest.read_text())
    for part in manifest["parts"]:
        assert hashlib.sha256((result.path / part["file"]).read_bytes()).hexdigest() == part["sha256"]


def test_the_memory_of_a_part_is_that_of_its_rows(tmp_path: Path) -> None:
    """A slice of a table keeps the whole table alive; rows that wait to be written must not add up."""
    area = StagingArea.open(tmp_path, {"query": "x"}, now=lambda: NOW)
    assert area is not None
    writer = PartWriter(area, rows_per_part=1000)
    before = pa.total_allocated_bytes()
    for number in range(50):
        writer.add(0, pa.table({"x": pa.array([f"{number:0100d}"] * 1500)}))
    assert pa.total_allocated_bytes() - before < 1_000_000
    writer.finish(0)
    assert pa.total_allocated_bytes() - before < 10_000
    assert sum(part.rows for part in area.segment(0).parts) == 75_000
    area.discard()


# -- replacing -------------------------------------------------------------------------------------------------------


def test_an_export_takes_the_place_of_the_last_one(facts: Callable[..., Any], tmp_path: Path) -> None:
    first = facts(partitions=4).to_parquet(tmp_path / "x")
    assert len(first.files) > 1
    second = facts(where={"Sector": "31"}).to_parquet(tmp_path / "x")
    assert pl.read_parquet(second.path).height == 228
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "x", "x.manifest.json"]


def test_the_last_export_stands_until_the_next_one_is_complete(
    sandbox: Sandbox, facts: Callable[..., Any], tmp_path: Path
) -> None:
    facts().to_parquet(tmp_path / "x")
    before = contents(tmp_path / "x"), (tmp_path / "x.manifest.json").read_bytes()
    with pytest.raises(UnknownNameError):
        facts(where={"Sector": ["31", "3l"]}).to_parquet(tmp_path / "x")
    sandbox.misbehave("html_login", on="facts", after=2)
    with pytest.raises(Exception, match="login page"):
        facts(where={"Version": "public.Plan"}).to_parquet(tmp_path / "x")
    assert (contents(tmp_path / "x"), (tmp_path / "x.manifest.json").read_bytes()) == before


def test_what_no_export_wrote_is_not_replaced(sandbox: Sandbox, facts: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.docx").write_text("ten years of work")
    question = facts()
    with pytest.raises(ExportError, match=r"'thesis.docx'.*not replaced"):
        question.to_parquet(tmp_path / "x")
    assert (tmp_path / "x" / "thesis.docx").read_text() == "ten years of work"
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="is a file"):
        question.to_parquet(tmp_path / "file")
    with pytest.raises(ExportError, match="cannot be written"):
        question.to_parquet(tmp_path / "file" / "below")
    assert sandbox.counts["facts_requests"] == 0, "what cannot be written need not be asked for"


def test_an_empty_folder_may_be_used(facts: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert facts().to_parquet(str(tmp_path / "x")).row_count == 3420


def test_what_another_version_left_in_the_hidden_folder_is_not_published(
    facts: Callable[..., Any], tmp_path: Path
) -> None:
    seen: list[Path] = []

    def progress(_: Any) -> None:
        if not seen:
            seen.extend(tmp_path.glob(".x.*.partial"))
            (seen[0] / "part-0000-99999.parquet").write_bytes(b"from a run that died before it could note it")
            (seen[0] / ".part-0000-00003.parquet.tmp").write_bytes(b"half a")

    result = facts().to_parquet(tmp_path / "x", progress=progress)
    assert sorted(path.name for path in result.path.iterdir()) == list(result.files)
