"""Daft reads slices: the rows of ``fetch()``, with its filters sent to SAC, and no secret in its tasks."""

from __future__ import annotations

import io
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest

daft = pytest.importorskip("daft", reason="Daft is not installed: make engines")

from daft.io.pushdowns import Pushdowns  # noqa: E402 - after the skip
from engines import DIE_ONCE, in_order  # noqa: E402

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


def test_neither_a_task_nor_a_plan_holds_a_secret(place: Any) -> None:
    source = FactsSource(place.tenant.model("SCALE").facts(), 2, None)
    tasks = list(source._tasks(Pushdowns.empty()))
    assert len(tasks) == 2
    place.refuse_secrets(*map(pickle.dumps, tasks))
    frame = sacnb.daft.read(place.tenant.model("SCALE").facts(), partitions=2).where(daft.col("Region") == "Zürich")
    plan = io.StringIO()
    frame.explain(show_all=True, file=plan)
    assert "sacnb-SCALE" in plan.getvalue()
    frame.collect()
    place.refuse_secrets((plan.getvalue() + repr(frame) + frame._repr_html_()).encode())


def test_nothing_that_daft_tells_its_dashboard_and_its_event_log_holds_a_secret(place: Any) -> None:
    subscribers = pytest.importorskip("daft.subscribers", reason="Daft 0.6.0 has neither")
    told: list[str] = []

    def note(_: Any, *values: Any) -> None:
        for value in values:
            told.append(repr(value))
            told.extend(repr(getattr(value, name)) for name in dir(value) if not name.startswith("_"))

    heard = [name for name in dir(subscribers.Subscriber) if name.startswith("on_")]
    listener = type("Listener", (subscribers.Subscriber,), dict.fromkeys(heard, note))()
    daft.context.get_context().attach_subscriber("test", listener)
    try:
        frame = sacnb.daft.read(place.tenant.model("SCALE").facts(), partitions=2)
        frame.where(daft.col("Region") == "Zürich").collect()
    finally:
        daft.context.get_context().detach_subscriber("test")
    assert any("sacnb-SCALE" in one for one in told)
    place.refuse_secrets("\n".join(told).encode())


READ = """
import pickle, sys
import sacnb, sacnb.daft

spec, folder = pickle.loads(bytes.fromhex(sys.argv[1])), sys.argv[2]
facts = sacnb.connect(spec).model("SCALE").facts(page_size=200)
sacnb.daft.read(facts, partitions=4).write_parquet(folder, write_mode="overwrite")
"""


def test_a_process_that_dies_in_a_slice_and_is_run_again_writes_every_row_once(place: Any, tmp_path: Path) -> None:
    """Daft's own runner works with threads: there is no worker that could die alone."""
    marker, folder = tmp_path / "died", tmp_path / "rows"
    program = DIE_ONCE.format(marker=str(marker)) + READ
    command = [sys.executable, "-c", program, pickle.dumps(place.tenant.spec).hex(), str(folder)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    assert marker.exists()
    subprocess.run(command, check=True, timeout=120)
    found = pq.read_table(folder).to_pylist()
    whole = place.tenant.model("SCALE").facts().fetch().arrow().to_pylist()
    assert in_order(tuple(row.values()) for row in found) == in_order(tuple(row.values()) for row in whole)


def test_arguments_are_checked_at_the_door(place: Any) -> None:
    with pytest.raises(QueryError, match="a query or the id of a model"):
        sacnb.daft.read(7, partitions=2)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="is not understood"):
        sacnb.daft.read(place.tenant.model("SCALE").facts(), partitions="many")
