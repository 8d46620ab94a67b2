"""A write from end to end: what is sent, what SAC has afterwards, what the report tells, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sales import facts, plan, sales

from sacnb import Model
from sacnb._write.report import append_audit
from sacnb.errors import Cancelled, ConfirmationError, ForbiddenError, QueryError, RowsError, WriteError
from sacnb.sandbox import Sandbox


def steps(sandbox: Sandbox) -> list[str]:
    return [entry.kind.removeprefix("import_") for entry in sandbox.log if entry.kind.startswith("import_")]


def test_an_update_replaces_the_values_at_its_keys_and_no_others(model: Model, sandbox: Sandbox) -> None:
    before = facts(model)
    report = model.write(plan(), version="public.Plan")
    key = ("public.Plan", "202401")
    assert facts(model) == {
        **before,
        (*key, "S0"): (Decimal("0.25"), Decimal(0)),
        (*key, "S1"): (Decimal("1.25"), Decimal(1)),
        (*key, "S2"): (Decimal("2.25"), Decimal(2)),
    }
    assert (report.rows, report.state, report.verified, report.deleted) == (3, "COMPLETED", True, None)
    assert report.changes is not None
    assert report.changes["change"].to_list() == ["changed"] * 3
    assert str(report.changes).splitlines()[0] == "3 rows"  # in the look of every table
    # The first create asks for a CSRF token.
    assert steps(sandbox) == ["models", "jobs", "create", "create", "upload", "validate", "run", "status"]


@pytest.mark.parametrize(
    "convert",
    [
        pl.DataFrame.lazy,
        pl.DataFrame.to_arrow,
        lambda frame: pd.DataFrame(frame.to_dicts()),
        lambda frame: pa.Table.from_pylist(frame.to_dicts()).to_reader(),
        lambda frame: frame.to_dict(as_series=False),
        lambda frame: frame.cast(pl.String),
    ],
)
def test_any_frame_that_speaks_arrow_is_written(model: Model, convert: Callable[[pl.DataFrame], Any]) -> None:
    model.write(convert(plan()), version="public.Plan")
    assert facts(model)["public.Plan", "202401", "S2"] == (Decimal("2.25"), Decimal(2))


def test_a_result_is_written_into_another_version(model: Model) -> None:
    result = model.facts(where={"Version": "public.Actual"}).fetch()
    model.write(result.polars(decimals=True).drop("Version"), version="public.Empty")
    copied = {key[1:]: values for key, values in facts(model, "public.Empty").items()}
    assert copied == {key[1:]: values for key, values in facts(model, "public.Actual").items()}


def test_append_adds(model: Model) -> None:
    before = facts(model)["public.Plan", "202401", "S1"]
    report = model.write(plan(), version="public.Plan", method="Append")
    amount, pieces = before
    assert amount is not None
    assert pieces is not None
    assert facts(model)["public.Plan", "202401", "S1"] == (amount + Decimal("1.25"), pieces + 1)
    assert report.verified


def test_columns_go_by_name_and_mapping_and_defaults_fill_gaps(model: Model) -> None:
    frame = plan().select(pl.col("Amount").alias("value"), pl.col("Store").replace({"S1": None}), period=pl.col("Date"))
    model.write(
        frame,
        mapping={"Amount": "value", "Date": "period"},
        defaults={"Version": "public.Plan", "Pieces": 7, "Store": "S4"},
    )
    found = facts(model)
    assert found["public.Plan", "202401", "S4"] == (Decimal("1.25"), Decimal(7))
    assert found["public.Plan", "202401", "S2"] == (Decimal("2.25"), Decimal(7))


def test_months_as_columns_are_turned_into_rows_and_empty_cells_are_no_facts(model: Model) -> None:
    before = facts(model)
    wide = pl.DataFrame({"Store": ["S0", "S1"], "202401": [1, 2], "202402": [3.5, None]})
    report = model.write(wide, version="public.Plan", pivot=("Date", "Amount"))
    assert report.rows == 3
    found = facts(model)
    assert {key: values[0] for key, values in found.items() if values != before[key]} == {
        ("public.Plan", "202401", "S0"): 1,
        ("public.Plan", "202401", "S1"): 2,
        ("public.Plan", "202402", "S0"): Decimal("3.5"),
    }
    with pytest.raises(RowsError) as caught:
        model.write(wide.rename({"202402": "Total"}), version="public.Plan", pivot=("Date", "Amount"))
    assert caught.value.problems.select("row", "column", "value", "problem").rows() == [
        (0, "Date", "Total", "date format")
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pl.Series([2**53 + 1]), pl.Series([2.5])),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), pl.Series([2])),
        (pl.Series([Decimal("9007199254740993.1234567")]), pl.Series([2.5])),
        (pl.Series(["1e3"]), pl.Series([""])),
    ],
)
def test_headings_of_different_types_keep_all_digits(model: Model, one: pl.Series, other: pl.Series) -> None:
    wide = pl.DataFrame({"Store": ["S0"], "202401": one, "202402": other})
    report = model.write(wide, version="public.Plan", pivot=("Date", "Amount"))
    values = [Decimal(str(value)) for value in (one[0], other[0]) if value != ""]
    assert report.written.sort("Date")["Amount"].to_list() == values


def test_headings_without_a_value_are_a_problem(model: Model) -> None:
    with pytest.raises(RowsError, match="All cells under 202401 are empty"):
        model.write({"Store": ["S0"], "202401": [None]}, version="public.Plan", pivot=("Date", "Amount"))


def test_dates_are_written_at_the_grain_of_the_model(model: Model) -> None:
    frame = plan().with_columns(Date=pl.date(2024, 1, 15))
    model.write(frame, version="public.Plan")
    assert facts(model)["public.Plan", "202401", "S2"] == (Decimal("2.25"), Decimal(2))


def test_an_audit_line_names_a_user_who_has_no_name_by_number(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (KeyError("uid not found"), OSError("No username set in the environment")):
        monkeypatch.setattr("getpass.getuser", Mock(side_effect=error))
        assert model.write(plan(1), version="public.Plan", audit=tmp_path / "audit.jsonl").verified
    users = [json.loads(line)["user"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert users == [f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"] * 2


def test_floats_are_rounded_to_the_model_and_the_report_says_so(model: Model) -> None:
    report = model.write(plan(1).with_columns(Amount=0.1 + 0.2), version="public.Plan")
    assert facts(model)["public.Plan", "202401", "S0"][0] == Decimal("0.3")
    assert report.rounded == {"Amount": 1}


def test_all_digits_arrive(model: Model) -> None:
    value = Decimal("999999999999999999999999.9999999")
    report = model.write(plan(2).with_columns(Amount=pl.lit(value)), version="public.Plan")
    assert report.verified
    assert facts(model)["public.Plan", "202401", "S0"][0] == value


@pytest.mark.parametrize("arguments", [{}, {"defaults": {"Store": "S1"}}])
def test_a_version_is_mandatory(model: Model, sandbox: Sandbox, arguments: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match=r"No version is named, and SAC would write into public\.Actual"):
        model.write(plan(), **arguments)
    with pytest.raises(QueryError, match="named twice"):
        model.write(plan(Version="public.Plan"), version="public.Actual")
    assert "create" not in steps(sandbox)


def test_a_dry_run_goes_as_far_as_the_validation_and_leaves_no_job(model: Model, sandbox: Sandbox) -> None:
    before = facts(model)
    report = model.write(plan(), version="public.Plan", dry_run=True)
    assert (report.state, report.is_dry_run, report.rows) == ("READY_FOR_WRITE", True, 3)
    assert report.changes is not None
    assert report.changes.height == 3
    assert facts(model) == before
    assert steps(sandbox)[-2:] == ["validate", "delete"]
    with pytest.raises(WriteError, match="a dry run writes nothing"):
        report.undo()


def test_uploads_are_cut_by_rows_and_each_is_reported(model: Model, sandbox: Sandbox) -> None:
    seen: list[tuple[str, int, int]] = []
    model.write(
        plan(100),
        version="public.Plan",
        rows_per_upload=40,
        progress=lambda now: seen.append((now.step, now.rows, now.expected_rows)),
    )
    assert steps(sandbox).count("upload") == 3
    assert [row for step, *row in seen if step == "upload"] == [[40, 100], [80, 100], [100, 100]]
    assert [step for step, *_ in seen if step != "upload"] == ["check", "read", "validate", "run", "verify"]


# -- CleanAndReplace --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [None, "affected_rows_counted"])
def test_clean_and_replace_shows_what_it_would_delete_and_needs_the_number(
    model: Model, sandbox: Sandbox, form: str | None
) -> None:
    if form:
        sandbox.misbehave(form)
    before = facts(model)
    for wrong in (None, 4):
        with pytest.raises(ConfirmationError, match="would delete 5 rows of 'SALES'") as caught:
            model.write(plan(2), version="public.Plan", method="CleanAndReplace", confirm=wrong)
        assert caught.value.rows == 5
        assert caught.value.affected.rows() == [("public.Plan", "202401", 5)]
    assert facts(model) == before
    assert steps(sandbox)[-1] == "delete"
    report = model.write(plan(2), version="public.Plan", method="CleanAndReplace", confirm=5)
    assert (report.deleted, report.rows, report.verified) == (5, 2, True)
    assert report.changes is not None
    assert report.changes.group_by("change", maintain_order=True).len().rows() == [("changed", 2), ("removed", 3)]
    assert report.changes.filter(change="removed").select("Store", "Pieces_before", "Pieces_after").rows() == [
        ("S2", Decimal(122), None),
        ("S3", Decimal(123), None),
        ("S4", Decimal(124), None),
    ]
    gone = {("public.Plan", "202401", store) for store in ("S2", "S3", "S4")}
    assert facts(model).keys() == before.keys() - gone


def test_the_slice_is_chosen_and_always_within_the_version(model: Model) -> None:
    with pytest.raises(ConfirmationError) as caught:
        model.write(plan(2), version="public.Plan", method="CleanAndReplace", scope=["Version", "Store"])
    assert caught.value.rows == 48
    with pytest.raises(QueryError, match="rows of other versions would be deleted"):
        model.write(plan(2), version="public.Plan", method="CleanAndReplace", scope=["Store"])
    with pytest.raises(QueryError, match="scope belongs to CleanAndReplace"):
        model.write(plan(2), version="public.Plan", scope=["Version"])


# -- what SAC rejects --------------------------------------------------------------------------------------------------


def test_rows_that_an_upload_drops_are_found_by_its_counts_and_nothing_is_written(
    model: Model, sandbox: Sandbox
) -> None:
    before = facts(model)
    for said in (True, False):
        sandbox.misbehave("upload_drops_rows", rows=2, said=said, times=1)
        with pytest.raises(RowsError, match="SAC rejected 2 of 5 rows") as caught:
            model.write(plan(5), version="public.Plan")
        assert caught.value.problems["row"].to_list() == ([3, 4] if said else [])
    assert facts(model) == before
    assert steps(sandbox).count("delete") == 2
    assert "run" not in steps(sandbox)


@pytest.mark.parametrize("flat", [False, True])
def test_rejected_rows_are_read_in_both_forms_and_matched_to_the_frame(
    model: Model, sandbox: Sandbox, *, flat: bool
) -> None:
    if flat:
        sandbox.misbehave("rejected_rows_flat")
    sandbox.misbehave("upload_drops_rows", rows=1)
    report = model.write(plan(3), version="public.Plan", allow_partial=True)
    assert (report.rows, report.verified) == (2, True)
    ((row, problem, message),) = report.rejected.select("row", "problem", "message").rows()
    assert (row, problem) == (2, "rejected by SAC")
    assert message == "Invalid column value for: dropped by the sandbox (public.Plan, 202401, S2)"


def test_with_allow_partial_the_good_rows_are_written(model: Model) -> None:
    bad = plan(4).with_columns(Store=pl.Series(["S0", "nowhere", "NORTH", "S3"]))
    report = model.write(bad, version="public.Plan", allow_partial=True)
    assert report.rows == 2
    assert report.rejected.select("row", "problem").rows() == [(1, "unknown member"), (2, "parent member")]
    assert report.verified


def test_a_run_that_fails_says_why_and_its_job_is_deleted(model: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("run_fails", text="The version is locked")
    with pytest.raises(WriteError, match=r"The run failed: The version is locked\. Nothing was written") as caught:
        model.write(plan(), version="public.Plan")
    assert caught.value.state == "FAILED"
    assert steps(sandbox)[-1] == "delete"


def test_a_run_that_writes_nothing_is_caught_by_reading_back(model: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("run_writes_nothing")
    with pytest.raises(WriteError, match="says COMPLETED, but 3 of 3 rows read back are not as written") as caught:
        model.write(plan(), version="public.Plan")
    assert caught.value.differences["difference"].to_list() == ["other"] * 3
    assert caught.value.report.verified is False


@pytest.mark.parametrize(("number", "whose"), [(1002, "this user"), (1007, "this model")])
def test_the_limits_of_jobs_are_explained(model: Model, sandbox: Sandbox, number: int, whose: str) -> None:
    sandbox.misbehave("import_limit", number=number)
    with pytest.raises(WriteError, match=rf"{whose} has the maximum of active ones \(error {number}"):
        model.write(plan(), version="public.Plan")


def test_a_missing_grant_names_the_import_service(model: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("forbidden", on="import")
    with pytest.raises(ForbiddenError, match="Data Import Service"):
        model.write(plan(), version="public.Plan")


def test_a_private_version_is_not_for_a_technical_user(model: Model) -> None:
    with pytest.raises(ForbiddenError, match="named user"):
        model.write(plan(), version="private.Mine")


# -- waiting, cancelling, audit ---------------------------------------------------------------------------------------


def test_a_slow_run_is_waited_for_and_at_the_limit_the_job_is_named(model: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("import_is_slow", polls=20)
    assert model.write(plan(), version="public.Plan").verified
    with pytest.raises(WriteError, match="has not ended after 10 s") as caught:
        model.write(plan(), version="public.Plan", timeout_s=10)
    assert caught.value.job_id is not None
    assert f"sacnb import --job {caught.value.job_id}" in str(caught.value)
    assert steps(sandbox)[-1] == "status"  # a job that may run is not deleted


def test_a_cancelled_write_deletes_its_job(model: Model, sandbox: Sandbox) -> None:
    with pytest.raises(Cancelled):
        model.write(plan(100), version="public.Plan", rows_per_upload=10, cancelled=lambda: "upload" in steps(sandbox))
    assert steps(sandbox)[-1] == "delete"


def test_the_audit_file_has_counts_and_a_hash_and_no_values(model: Model, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    model.write(plan(), version="public.Plan", audit=path)
    model.write(plan(), version="public.Plan", audit=path)
    sandbox.misbehave("run_fails")
    with pytest.raises(WriteError):
        model.write(plan(2), version="public.Plan", audit=path)
    first, second, failed = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert first["sha256"] == second["sha256"] != failed["sha256"]
    assert [entry["outcome"] for entry in (first, second, failed)] == ["written", "written", "failed"]
    assert (first["model"], first["method"], first["rows"], failed["rows_sent"]) == ("SALES", "Update", 3, 2)
    assert "0.25" not in path.read_text(encoding="utf-8")
    assert "S1" not in path.read_text(encoding="utf-8")


def test_a_line_of_the_audit_file_that_a_kill_cut_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"number": 0}\n{"numb')
    for number in (1, 2):
        append_audit(path, {"number": number}, principal="p")
    first, torn, *others = path.read_bytes().splitlines()
    assert (first, torn) == (b'{"number": 0}', b'{"numb')
    assert [json.loads(line)["number"] for line in others] == [1, 2]


def test_a_report_shows_itself(model: Model) -> None:
    report = model.write(plan(), version="public.Plan")
    assert "changes: 3 changed" in repr(report)
    assert "<td" in report._repr_html_()


def test_an_upload_that_is_too_large_is_halved(model: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("upload_limit", kib=2)
    report = model.write(plan(100), version="public.Plan")
    assert report.verified
    statuses = [entry.status for entry in sandbox.log if entry.kind == "import_upload"]
    assert statuses.count(413) > 2


def test_a_default_upload_is_not_too_large_for_the_sandbox(model: Model, sandbox: Sandbox) -> None:
    sandbox.add_model(sales(store_count=900))
    rows = model.facts(where={"Version": "public.Actual"}).fetch().polars(decimals=True)
    report = model.write(rows.drop("Version"), version="public.Plan", undo=False, verify=False)
    assert report.rows == 21_600
    assert sandbox.counts["import_upload_requests"] == 1
