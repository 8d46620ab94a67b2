"""Several records for one key are data: added up, kept or refused as asked; rows that came twice stay an error."""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Context, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import sacnb.sandbox
from sacnb._odata.schema import Column
from sacnb._pull import collect
from sacnb._pull.collect import sum_tables
from sacnb._pull.duplicates import KeyWatch, Repeats, copied_run, row_hashes, sum_per_key
from sacnb._pull.totals import Tally
from sacnb._settings import Settings
from sacnb._tenant import Model, Tenant
from sacnb._tenant.connector import connect_with
from sacnb.errors import BadAnswer, ContractError, MixedVersionsWarning, QueryError, RepeatedKeysWarning
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]
KEYS = ["Version", "Date", "CostCenter"]
ROWS, CELLS, SHARED = 438, 24, 23
c = pl.col


@pytest.fixture
def records(sandbox: Sandbox, connect_to: ConnectTo) -> Model:
    return connect_to(sandbox).model("RECORDS")


def added_up(model: Model, **question: Any) -> pl.DataFrame:
    """What ``fetch()`` gives, sorted, after its notice."""
    with pytest.warns(RepeatedKeysWarning) as noted:
        found = model.facts(**question).fetch()
    assert len(noted) == 1
    return found.polars(decimals=True).sort(KEYS)


def by_sac(model: Model, **question: Any) -> pl.DataFrame:
    """What SAC's own sums over all dimensions are."""
    facts = model.facts(**question)
    facts = replace(facts, query=replace(facts.query, entity_set="FactDataAggregation", select=facts.schema.names))
    return facts.fetch().polars(decimals=True).sort(KEYS)


# -- SAC's own sums are the reference --------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [pytest.param(1, marks=pytest.mark.long), 5, 22, 1000])
def test_fetch_gives_what_sac_adds_up_however_long_the_pages(records: Model, page_size: int) -> None:
    assert added_up(records, page_size=page_size).equals(by_sac(records))


@pytest.mark.parametrize("partitions", [["Date"], "package"])
def test_partitions_are_added_up_too(sandbox: Sandbox, connect_to: ConnectTo, partitions: Any) -> None:
    records = connect_to(sandbox, streams=2).model("RECORDS")
    assert added_up(records, partitions=partitions, page_size=60).equals(by_sac(records))


@examples(max_examples=6)
@given(st.sets(st.sampled_from(["202401", "202402", "202403", "202404"]), min_size=1), st.integers(3, 90))
def test_fetch_gives_what_sac_adds_up_under_a_filter(sandbox_records: Model, months: set[str], size: int) -> None:
    where = {"Date": sorted(months)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepeatedKeysWarning)
        found = sandbox_records.facts(where=where, page_size=size).fetch()
    assert found.polars(decimals=True).sort(KEYS).equals(by_sac(sandbox_records, where=where))


@pytest.fixture(scope="module")
def sandbox_records() -> Iterator[Model]:
    """The model for the examples of a property, which cannot share a fixture of one test."""
    with sacnb.sandbox.start() as one:
        settings = Settings.resolve(environ={"SAC_TENANT_URL": "sandbox"})
        tenant = connect_with(settings, sandbox=one)
        yield tenant.model("RECORDS")
        tenant.close()


def test_one_notice_says_how_many_and_how_to_see_them(records: Model) -> None:
    message = rf"{SHARED} keys of RECORDS/FactData .*437 rows.*prices.*repeated='keep'"
    with pytest.warns(RepeatedKeysWarning, match=message) as noted:
        result = records.facts(page_size=100).fetch()
    assert len(noted) == 1
    assert (result.info.repeated, result.info.repeated_keys, result.info.row_count) == ("sum", SHARED, CELLS)
    tidy = result.tidy().frame.filter(c("dim_measure") == "Quantity")
    assert tidy["value"].sum() == float(by_sac(records)["Quantity"].sum())


def test_records_can_be_kept_or_refused(records: Model) -> None:
    kept = records.facts(repeated="keep").fetch()
    assert (len(kept), kept.info.repeated, kept.info.repeated_keys) == (ROWS, "keep", SHARED)
    with pytest.raises(BadAnswer, match=r"437 rows .* share their key"):
        records.facts(repeated="error").fetch()
    with pytest.raises(QueryError, match="repeated"):
        records.facts(repeated="first")  # type: ignore[arg-type]


def test_a_model_without_such_keys_costs_no_request_more(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    result = connect_to(sandbox).model("US_EMPLOYMENT").facts(where={"Sector": "31"}).fetch()
    assert result.info.repeated_keys == 0
    assert [entry.path.rpartition("/")[2] for entry in sandbox.log] == ["token", "$metadata", "FactData"]


@pytest.mark.parametrize("limit", [1, 5, CELLS])
def test_a_limit_cuts_no_record_of_a_key_off(records: Model, limit: int) -> None:
    with pytest.warns(RepeatedKeysWarning):
        found = records.facts(limit=limit).fetch().polars(decimals=True)
    assert len(found) == limit
    assert len(found.join(by_sac(records), on=found.columns, how="semi", nulls_equal=True)) == limit


def test_a_limit_that_is_not_reached_needs_no_proof(sandbox: Sandbox, records: Model) -> None:
    assert added_up(records, limit=ROWS + 1).equals(by_sac(records))
    assert not any("$top=0" in entry.query for entry in sandbox.log)


def test_a_limit_on_a_plain_model_asks_whether_each_key_has_one_record(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    assert len(connect_to(sandbox).model("US_EMPLOYMENT").facts(limit=7).fetch()) == 7
    assert next(entry.rows for entry in sandbox.log if entry.path.endswith("/FactData")) == 7
    assert sum(entry.path.endswith("/FactDataAggregation") for entry in sandbox.log) == 1


# -- the cache, streams and exports ----------------------------------------------------------------------------------


def test_a_kept_result_never_serves_a_sum(sandbox: Sandbox, records: Model) -> None:
    assert len(records.facts(repeated="keep").refresh()) == ROWS
    with pytest.warns(RepeatedKeysWarning):
        assert len(records.facts().refresh()) == CELLS
    assert len(records.facts().refresh(max_age_s=3600)) == CELLS
    served = records.facts(repeated="keep").refresh(max_age_s=3600)
    assert (len(served), served.info.repeated, served.info.repeated_keys) == (ROWS, "keep", SHARED)
    sandbox.misbehave("error_503", on="facts")
    with pytest.raises(Exception, match="503"):
        records.facts(repeated="error").refresh(announce=lambda _: None)


def test_a_stream_hands_records_over_and_counts_their_keys(records: Model) -> None:
    stream = records.facts(page_size=100).stream()
    assert stream.read_all().num_rows == ROWS
    assert (stream.repeated, stream.records.keys) == ("keep", SHARED)
    with pytest.raises(BadAnswer, match="share their key"):
        records.facts().stream(repeated="error").read_all()
    with pytest.raises(QueryError, match="'keep' or 'error'"):
        records.facts().stream(repeated="sum")  # type: ignore[arg-type]


def test_an_export_keeps_records_or_adds_them_up(records: Model, tmp_path: Path) -> None:
    kept = records.facts(page_size=100).to_parquet(tmp_path / "facts")
    assert kept.row_count == ROWS
    assert json.loads(kept.manifest.read_text())["repeated_keys"] == SHARED
    summed = records.facts(page_size=100).to_parquet(tmp_path / "facts", repeated="sum")
    manifest = json.loads(summed.manifest.read_text())
    assert (manifest["repeated"], manifest["repeated_keys"], manifest["row_count"]) == ("sum", SHARED, CELLS)
    assert pl.read_parquet(tmp_path / "facts" / "*.parquet").sort(KEYS).equals(by_sac(records))
    with pytest.raises(BadAnswer, match="share their key"):
        records.facts(repeated="error").to_parquet(tmp_path / "other")
    with pytest.raises(QueryError, match="limit"):
        records.facts(limit=3).to_parquet(tmp_path / "other", repeated="sum")


# -- scans -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["held", "spooled"])
def scanned(request: Any, records: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    if request.param == "spooled":
        monkeypatch.setattr(collect, "_HELD_BYTES", 0)
    return records


@pytest.mark.filterwarnings("ignore:.* several versions of 'RECORDS':sacnb.errors.MixedVersionsWarning")
@pytest.mark.filterwarnings("ignore::sacnb.errors.RepeatedKeysWarning")
def test_every_step_of_a_scan_sees_sums(scanned: Model) -> None:
    sums = scanned.facts().fetch().polars(decimals=True)
    scan = scanned.scan(decimals=True, page_size=100)
    assert scan.collect().equals(sums)
    for keep in (c("Amount") > 50_000, (c("Quantity") == 0) & (c("Date") > "202401")):
        assert scan.filter(keep).collect().equals(sums.filter(keep))
    assert scan.filter(c("Amount") > 50_000).head(2).collect().height == 2
    assert scan.select(pl.len()).collect().item() == CELLS
    assert scan.select("CostCenter").collect().height == CELLS
    first = scan.head(3).collect()
    assert len(first.join(sums, on=first.columns, how="semi", nulls_equal=True)) == 3
    assert scanned.scan(repeated="keep").collect().height == ROWS


@pytest.mark.filterwarnings("ignore::sacnb.errors.RepeatedKeysWarning")
def test_sql_adds_up_too(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    sac = connect_to(sandbox)
    sums = sac.model("RECORDS").facts().fetch().polars().filter(c("Amount") > 0)
    with pytest.warns(MixedVersionsWarning):
        found = sac.sql("select count(*) as n, sum(Quantity) as q from RECORDS where Amount > 0")
    assert found.row(0) == (len(sums), sums["Quantity"].sum())


def test_a_scan_gives_its_notice_once(records: Model) -> None:
    with pytest.warns(RepeatedKeysWarning, match="repeated='keep'") as noted:
        records.scan().collect()
    assert len(noted) == 1


def test_rows_of_a_large_plain_model_pass_once_each_key_is_known_to_have_one_record(
    sandbox: Sandbox, connect_to: ConnectTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "_HELD_BYTES", 0)
    jobs = connect_to(sandbox, page_size=1000).model("US_EMPLOYMENT")
    assert jobs.scan().collect().equals(jobs.facts().fetch().polars())
    assert sum(entry.path.endswith("/FactDataAggregation") for entry in sandbox.log) == 1


# -- rows that came twice --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 2])
def test_a_repeated_page_is_found_among_records(sandbox: Sandbox, records: Model, tmp_path: Path, after: int) -> None:
    facts = records.facts(page_size=100)
    for pull in (
        facts.fetch,
        lambda: facts.stream().read_all(),
        lambda: facts.to_parquet(tmp_path / "facts", resume=False),
        lambda: records.scan(page_size=100).collect(),
    ):
        sandbox.behave()
        sandbox.misbehave("page_repeated", times=1, after=after, on="facts")
        with pytest.raises(BadAnswer, match=r"total|two pages"):
            pull()


def test_without_a_total_records_are_kept_and_the_notice_says_so(sandbox: Sandbox, records: Model) -> None:
    sandbox.misbehave("forbidden", on="aggregation")
    with pytest.warns(RepeatedKeysWarning, match="could not be compared"):
        assert len(records.facts(page_size=100).fetch()) == CELLS


def test_pages_that_overlap_leave_a_run_and_records_that_look_alike_do_not() -> None:
    rows = np.arange(30, dtype=np.uint64)
    twice = np.concatenate([rows[:10], rows[:10], rows[20:]])
    assert copied_run(twice, [0, 10, 20, 30]) == 10
    overlap = np.concatenate([rows[:10], rows[7:17], rows[20:]])
    assert copied_run(overlap, [0, 10, 20, 30]) == 3
    alike = np.concatenate([rows[:10], [50], rows[3:8], [51, 52, 53, 54], rows[20:]]).astype(np.uint64)
    assert copied_run(alike, [0, 10, 20, 30]) == 0
    assert copied_run(np.zeros(30, np.uint64), [0, 10, 20, 30]) == 20
    assert copied_run(rows, [0, 10, 10, 30]) == 0


def compared(amounts: list[Decimal | None], total: Decimal | None, *, more: dict[str, Any] | None = None) -> Any:
    columns = [Column("Amount", "Edm.Decimal", "measure"), Column("Size", "Edm.Double", "measure")]
    tally = Tally(columns)
    size = pa.array([0.1] * len(amounts), pa.float64())
    tally.add(pa.table({"Amount": pa.array(amounts, pa.decimal128(31, 7)), "Size": size}))
    return tally.compare({"Amount": total, "Size": None, **(more or {})}, Repeats(2, {}, 1))


def test_a_total_is_compared_by_what_it_may_be() -> None:
    amounts = [Decimal("0.1"), Decimal("0.2"), None, Decimal("9999999999999999.0000001")]
    whole = Decimal("9999999999999999.3000001")
    assert compared(amounts, whole).matched == ("Amount",)
    assert compared(amounts, whole + Decimal("0.0000001")).differing == ("Amount",)
    for other in (Decimal("0.1"), Decimal("9999999999999999.0000001"), Decimal(3), None):  # smallest, largest, number
        assert compared(amounts, other).other == ("Amount", "Size")
    assert compared([Decimal(2), Decimal(4)], Decimal(3)).other[0] == "Amount"  # the mean
    assert compared(amounts, whole, more={"Size": Decimal("0.4000000001")}).matched == ("Amount", "Size")
    assert compared([None, None], Decimal(0), more={}).matched == ()


# -- sums ------------------------------------------------------------------------------------------------------------

COLUMNS = [
    Column("Key", "Edm.String", "dimension"),
    Column("Amount", "Edm.Decimal", "measure"),
    Column("Count", "Edm.Int32", "measure"),
    Column("Note", "Edm.String", "attribute"),
]
EXACT = Context(prec=200)
AMOUNTS = st.none() | st.decimals(-(10**30), 10**30, places=7, allow_nan=False)
RECORDS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None, "#"]), AMOUNTS, st.none() | st.integers(-(2**31), 2**31 - 1)),
    max_size=12,
)


def table_of(rows: list[tuple[Any, ...]], *, digits: int = 38) -> pa.Table:
    keys, amounts, counts = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "Key": pa.array(keys, pa.string()),
            "Amount": pa.array(amounts, pa.decimal128(digits, 7)),
            "Count": pa.array(counts, pa.int32()),
            "Note": pa.array([None if key is None else key * 2 for key in keys], pa.string()),
        }
    )


@examples(max_examples=60)
@given(RECORDS, st.integers(1, 3))
def test_sums_are_exact_and_nulls_take_no_part(rows: list[tuple[Any, ...]], shares: int) -> None:
    expected: dict[Any, list[Any]] = defaultdict(lambda: [None, None])
    for key, *values in rows:
        for place, value in enumerate(values):
            if value is not None:
                before = expected[key][place]
                expected[key][place] = value if before is None else EXACT.add(Decimal(before), Decimal(value))
        expected[key]
    table, watch = table_of(rows), KeyWatch(COLUMNS)
    watch.add(0, watch.hashes(table))
    for suspects in (None, watch.suspects()):
        tables = [table.slice(0, 5), table.slice(5)]
        found = pa.concat_tables(
            list(sum_tables(tables, COLUMNS, suspects, watch, shares=shares)), promote_options="permissive"
        ).to_pylist()
        assert {one["Key"]: [one["Amount"], one["Count"]] for one in found} == expected
        assert len(found) == len(expected)
        if shares == 1:
            assert [one["Key"] for one in found] == list(expected)
        assert all(one["Note"] == (one["Key"] and one["Key"] * 2) for one in found)


def test_sums_get_a_wider_type_where_they_need_one_and_end_at_76_digits() -> None:
    nines = Decimal("9" * 31 + "." + "9" * 7)
    table = table_of([("a", nines, 2**31 - 1), ("a", nines, 1)])
    found = sum_per_key(table, COLUMNS, None, KeyWatch(COLUMNS))
    assert found["Amount"][0].as_py() == EXACT.add(nines, nines)
    assert [str(field.type) for field in found.schema][1:3] == ["decimal256(76, 7)", "int64"]
    assert sum_per_key(table_of([("a", Decimal(1), 1)] * 2), COLUMNS, None, KeyWatch(COLUMNS)).schema == table.schema
    huge = pa.array([Decimal("9" * 76)] * 2, pa.decimal256(76, 0))
    with pytest.raises(ContractError, match=r"more than 76 digits in 'Amount'"):
        sum_per_key(table.set_column(1, "Amount", huge), COLUMNS, None, KeyWatch(COLUMNS))


@pytest.mark.parametrize(("digits", "scale"), [(15, 4), (4, 4), (38, 38)])
def test_nulls_are_no_matter_where_a_column_has_few_digits_before_its_point(digits: int, scale: int) -> None:
    one = Decimal(1).scaleb(-scale)
    amounts = pa.array([one, None, one], pa.decimal128(digits, scale))
    table = table_of([("a", None, 1)] * 3).set_column(1, "Amount", amounts)
    assert sum_per_key(table, COLUMNS, None, KeyWatch(COLUMNS))["Amount"].to_pylist() == [2 * one]
    tally = Tally([Column("Amount", "Edm.Decimal", "measure", precision=digits, scale=scale)])
    tally.add(table)
    assert tally._values["Amount"].sum == 2 * one


def test_floats_are_added_up_and_what_is_no_number_must_agree() -> None:
    columns = [*COLUMNS[:1], Column("Rate", "Edm.Double", "measure"), COLUMNS[3]]
    table = pa.table(
        {"Key": ["a", "b", "a", "b"], "Rate": pa.array([0.5, None, 0.25, None]), "Note": ["x", "y", "x", "y"]}
    )
    found = sum_per_key(table, columns, None, KeyWatch(columns))
    assert found.to_pylist() == [{"Key": "a", "Rate": 0.75, "Note": "x"}, {"Key": "b", "Rate": None, "Note": "y"}]
    for other in ("z", None):
        differing = table.set_column(2, "Note", pa.array(["x", "y", other, "y"]))
        with pytest.raises(ContractError, match=r"1 keys differ in 'Note'.*repeated='keep'"):
            sum_per_key(differing, columns, None, KeyWatch(columns))


def test_rows_with_decimals_of_256_bits_can_be_hashed() -> None:
    wide = pa.table({"Amount": pa.array([Decimal("9" * 60), Decimal(1), Decimal(1)], pa.decimal256(76, 0))})
    assert len(np.unique(row_hashes(wide))) == 2


# -- pages that end early --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("links", [True, False])
def test_streams_and_exports_read_on_too(sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path, links: bool) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(where={"Sector": "31"}, page_size=100)
    expected = facts.fetch().arrow()
    sandbox.misbehave("page_cap", rows=50, links=links)
    assert facts.stream().read_all().equals(expected)
    assert facts.to_parquet(tmp_path / "facts").row_count == len(expected)


def test_without_a_count_for_some_columns_it_is_asked_for_with_all(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    jobs = connect_to(sandbox).model("US_EMPLOYMENT")
    sandbox.misbehave("count_needs_all_columns")
    sandbox.misbehave("page_cap", rows=50)
    assert len(jobs.facts(where={"Sector": "31"}, page_size=100, measures=[]).fetch()) == 228


def test_in_is_never_sent(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    connect_to(sandbox).model("US_EMPLOYMENT").facts(where={"Sector": ["31", "32"]}).fetch()
    assert " in " not in unquote(sandbox.log[-1].query)
