"""Slices hold no secret, and their rows together are those of ``fetch()``."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from engines import CANARY, connected
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import sacnb
from sacnb import Slice, Tenant
from sacnb._slices import slice as slice_module
from sacnb.errors import BadAnswer, QueryError, RepeatedKeysWarning, SettingsError, UnknownNameError
from sacnb.sandbox import Sandbox


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Tenant]]:
    """A sandbox whose secret is a canary, and a tenant as a user connects to one."""
    with sacnb.sandbox.start(scale_rows=3_000, client_secret=CANARY) as sandbox:
        yield sandbox, connected(sandbox, tmp_path_factory.mktemp("cache"))


def rows_of(tables: Sequence[pa.Table]) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(pa.concat_tables(tables))).sort(pl.all())


QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("SCALE", {}),
    ("SCALE", {"where": {"Region": ["#", "Zürich"]}, "measures": ["Quantity"]}),
    ("SCALE", {"dims": ["Date", "Region"]}),
    ("PLANNING", {"since": "2024-03", "where": sacnb.col("Version") == "public.Actual"}),
    ("EDM_TYPES", {}),
    ("RECORDS", {}),
    ("RECORDS", {"repeated": "keep"}),
    ("HIERARCHIES", {}),
]


@pytest.mark.filterwarnings("ignore::sacnb.errors.RepeatedKeysWarning", "ignore::sacnb.errors.MixedVersionsWarning")
@given(query=st.sampled_from(QUERIES), partitions=st.sampled_from([1, 2, 3, 7, "auto"]))
def test_the_slices_together_have_the_rows_of_fetch(
    shared: tuple[Sandbox, Tenant], query: tuple[str, dict[str, Any]], partitions: int | str
) -> None:
    _, tenant = shared
    model, question = query
    facts = tenant.model(model).facts(**question)
    slices = facts.partitions(partitions)
    read = [sacnb.read_slice(pickle.loads(pickle.dumps(one)), tenant=tenant).read_all() for one in slices]
    whole = facts.fetch().arrow()
    assert_frame_equal(rows_of(read), rows_of([whole]), check_exact=True)
    assert {table.schema for table in read} == {slices[0].schema}
    assert [one.number for one in slices] == list(range(1, len(slices) + 1))


def test_there_are_as_many_as_asked_for(shared: tuple[Sandbox, Tenant]) -> None:
    _, tenant = shared
    slices = tenant.model("SCALE").facts().partitions(4)
    assert len(slices) == 4
    assert sum(one.expected_rows or 0 for one in slices) == 3_000
    assert repr(slices[0]).startswith("Slice(1 of 4 of 'SCALE', ")


def test_one_holds_no_secret_and_no_token(shared: tuple[Sandbox, Tenant]) -> None:
    _, tenant = shared
    (one, *_) = tenant.model("SCALE").facts().partitions(3)
    token = tenant._connection.context.guard.ensure().token.value.reveal()
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        packed = pickle.dumps(one, protocol)
        assert CANARY.encode() not in packed
        assert token.encode() not in packed
        assert pickle.loads(packed) == one
    assert CANARY not in repr(one) + repr(one.spec)


def test_a_worker_connects_with_its_own_secret_and_once(
    shared: tuple[Sandbox, Tenant], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sandbox, _ = shared
    monkeypatch.chdir(tmp_path)
    slices = connected(sandbox, tmp_path / "another").model("SCALE").facts().partitions(3)
    with pytest.raises(SettingsError, match="SAC_CLIENT_SECRET is missing"):
        sacnb.read_slice(slices[0])
    monkeypatch.setenv("SAC_CLIENT_SECRET", CANARY)
    before = sandbox.counts["token_requests"]
    rows = [sacnb.read_slice(one).read_all().num_rows for one in slices]
    assert rows == [one.expected_rows for one in slices]
    assert sandbox.counts["token_requests"] - before == 1


def test_one_of_another_release_is_refused(shared: tuple[Sandbox, Tenant], monkeypatch: pytest.MonkeyPatch) -> None:
    _, tenant = shared
    (one,) = tenant.model("SCALE").facts().partitions(1)
    monkeypatch.setattr(slice_module, "_FORMAT", 7)
    packed = pickle.dumps(one)
    monkeypatch.undo()
    with pytest.raises(QueryError, match="another release of sacnb: its format is 7") as caught:
        pickle.loads(packed)
    assert "same release" in (caught.value.hint or "")


def test_one_whose_model_was_changed_is_refused(shared: tuple[Sandbox, Tenant]) -> None:
    _, tenant = shared
    (one,) = tenant.model("SCALE").facts().partitions(1)
    before = replace(one.model_schema, columns=one.model_schema.columns[:-1])
    with pytest.raises(BadAnswer, match="'SCALE' was changed after its slices were made: it is now with 'Quantity'"):
        sacnb.read_slice(replace(one, model_schema=before), tenant=tenant)


def test_one_with_other_rows_than_were_counted_is_refused(shared: tuple[Sandbox, Tenant]) -> None:
    _, tenant = shared
    (one,) = tenant.model("SCALE").facts().partitions(1)
    with pytest.raises(BadAnswer, match=r"announced 2,999 rows of SCALE/FactData and sent 3,000"):
        sacnb.read_slice(replace(one, expected_rows=2_999), tenant=tenant).read_all()


def test_records_are_added_up_in_the_worker_and_it_says_so(shared: tuple[Sandbox, Tenant]) -> None:
    _, tenant = shared
    slices = tenant.model("RECORDS").facts().partitions(1)
    with pytest.warns(RepeatedKeysWarning, match="several records"):
        sacnb.read_slice(slices[0], tenant=tenant).read_all()
    kept = tenant.model("RECORDS").facts(repeated="error").partitions(1)
    with pytest.raises(BadAnswer):
        sacnb.read_slice(kept[0], tenant=tenant).read_all()


@pytest.mark.parametrize(
    ("question", "partitions", "match"),
    [
        ({"limit": 5}, 3, "limit and partitions"),
        ({"order_by": "Date"}, 3, "order_by and partitions=3 cannot be combined"),
        ({}, "package", "divided by the members"),
        ({}, None, "divided by the members"),
        ({}, 0, "partitions=0 is not understood"),
        ({}, 257, "is not understood"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    shared: tuple[Sandbox, Tenant], question: dict[str, Any], partitions: Any, match: str
) -> None:
    _, tenant = shared
    with pytest.raises(QueryError, match=match):
        tenant.model("SCALE").facts(**question).partitions(partitions)


def test_a_member_that_does_not_exist_is_an_error_before_any_worker_starts(shared: tuple[Sandbox, Tenant]) -> None:
    _, tenant = shared
    with pytest.raises(UnknownNameError, match="P-99x"):
        tenant.model("SCALE").facts(where={"Product": ["P-001", "P-99x"]}).partitions(2)


def test_a_filter_that_keeps_no_row_is_one_empty_slice(shared: tuple[Sandbox, Tenant]) -> None:
    _, tenant = shared
    (one,) = tenant.model("SCALE").facts(where={"Product": []}).partitions(4)
    assert one.expected_rows == 0
    assert sacnb.read_slice(one, tenant=tenant).read_all().num_rows == 0


def test_one_page_costs_four_requests(shared: tuple[Sandbox, Tenant]) -> None:
    """Columns and count to make the slice, columns and the page to read it; docs/scale.md counts on it."""
    sandbox, tenant = shared
    before = sandbox.counts["requests"]
    (one,) = tenant.model("US_EMPLOYMENT").facts().partitions(1)
    sacnb.read_slice(one, tenant=tenant).read_all()
    assert sandbox.counts["requests"] - before == 4


def test_the_streams_are_shared_out(shared: tuple[Sandbox, Tenant], tmp_path: Path) -> None:
    sandbox, tenant = shared
    facts = tenant.model("SCALE").facts()
    assert [one.share for one in facts.partitions(2)] == [1.0, 1.0]
    assert {one.share for one in facts.partitions(8)} == {0.5}
    assert {one.share for one in facts.partitions(8, at_once=2)} == {1.0}
    alone = connected(sandbox, tmp_path, streams=1).model("SCALE").facts()
    assert {one.share for one in alone.partitions(5)} == {0.2}


def test_columns_can_be_left_out_but_no_dimension(shared: tuple[Sandbox, Tenant]) -> None:
    _, tenant = shared
    (one,) = tenant.model("SCALE").facts().partitions(1)
    narrow = one.narrowed(["Quantity", "Date"])
    assert [column.name for column in narrow.columns if column.role == "measure"] == ["Quantity"]
    assert sacnb.read_slice(narrow, tenant=tenant).read_all().num_rows == 3_000
    with pytest.raises(UnknownNameError, match="Quantty"):
        one.narrowed(["Quantty"])


@pytest.mark.parametrize("value", [None, "SCALE", 3, object()])
def test_only_slices_are_read(value: Any) -> None:
    with pytest.raises(QueryError, match="reads a Slice"):
        sacnb.read_slice(value)


def test_only_a_tenant_is_read_from(shared: tuple[Sandbox, Tenant]) -> None:
    _, tenant = shared
    (one,) = tenant.model("SCALE").facts().partitions(1)
    with pytest.raises(QueryError, match="tenant must be a Tenant, got str"):
        sacnb.read_slice(one, tenant="sandbox")  # type: ignore[arg-type]
    assert isinstance(one, Slice)
