"""Daft reads slices: the rows of ``fetch()``, with its filters sent to SAC, and no secret in its tasks."""

from __future__ import annotations

import pickle
from typing import Any
from urllib.parse import unquote

import pytest

daft = pytest.importorskip("daft", reason="Daft is not installed: make engines")

from engines import in_order  # noqa: E402 - after the skip

import sacnb.daft  # noqa: E402
from sacnb.daft.source import FactsSource  # noqa: E402
from sacnb.errors import QueryError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of Daft and what it imports


def rows(frame: Any) -> list[tuple[Any, ...]]:
    return in_order(tuple(row.values()) for row in frame.to_arrow().to_pylist())


def asked(place: Any, seen: int) -> list[str]:
    return [unquote(one.query) for one in place.sandbox.log[seen:] if one.kind == "facts" and one.rows > 1]


@pytest.mark.parametrize("model", ["SCALE", "RECORDS"])
def test_the_frame_has_the_rows_of_fetch(place: Any, model: str) -> None:
    facts = place.tenant.model(model).facts()
    frame = sacnb.daft.read(facts, partitions=3)
    whole = facts.fetch().arrow()
    assert frame.column_names == whole.column_names
    assert rows(frame) == in_order(tuple(row.values()) for row in whole.to_pylist())


def test_filters_and_columns_reach_sac_and_daft_checks_them_again(place: Any) -> None:
    facts = place.tenant.model("SCALE").facts()
    frame = sacnb.daft.read(facts, partitions=2)
    found = frame.where((daft.col("Region") == "Zürich") & (daft.col("Quantity") > 500)).select("Customer", "Quantity")
    whole = place.tenant.model("SCALE").facts(where={"Region": "Zürich"}).fetch().arrow().to_pylist()
    wanted = [(row["Customer"], row["Quantity"]) for row in whole if row["Quantity"] > 500]
    assert wanted
    seen = len(place.sandbox.log)
    assert rows(found) == in_order(wanted)
    queries = asked(place, seen)
    assert queries
    assert all("Region eq 'Zürich'" in query and "Amount" not in query for query in queries)
    assert not any("Quantity gt" in query for query in queries), "SAC would filter before it adds up"


def test_a_limit_takes_as_many_rows(place: Any) -> None:
    assert len(rows(sacnb.daft.read(place.tenant.model("SCALE").facts(), partitions=2).limit(7))) == 7


def test_a_task_holds_no_secret(place: Any) -> None:
    from daft.io.pushdowns import Pushdowns

    source = FactsSource(place.tenant.model("SCALE").facts(), 2, None)
    tasks = list(source._tasks(Pushdowns.empty()))
    assert len(tasks) == 2
    place.refuse_secrets(*map(pickle.dumps, tasks))


def test_arguments_are_checked_at_the_door(place: Any) -> None:
    with pytest.raises(QueryError, match="a query or the id of a model"):
        sacnb.daft.read(7, partitions=2)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="is not understood"):
        sacnb.daft.read(place.tenant.model("SCALE").facts(), partitions="many")
