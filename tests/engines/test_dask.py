"""Dask reads slices in processes of its own: the rows of ``fetch()``, and no secret in what it sends around."""

from __future__ import annotations

import pickle
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pandas as pd
import pytest
from distributed import Client, LocalCluster

import sacnb.dask
from sacnb.errors import QueryError, UnknownNameError

ORDER = ["Version", "Date", "Region", "Channel", "Product", "Customer"]

# Run in a worker: its process dies in the middle of a slice, unless another one died before.
DIE_ONCE = """
import os, signal
from sacnb._pull.stream import BatchStream

given = BatchStream.__next__
seen = []

def take(stream):
    batch = given(stream)
    seen.append(batch.num_rows)
    if len(seen) == 2 and not os.path.exists({marker!r}):
        open({marker!r}, "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return batch

BatchStream.__next__ = take
"""


@pytest.fixture(scope="module")
def client(place: Any) -> Iterator[Client]:
    """Two worker processes of one thread; they inherit the environment, and so the secret."""
    with (
        dask.config.set({"distributed.worker.memory.terminate": False, "distributed.comm.timeouts.connect": "60s"}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def check(found: pd.DataFrame, whole: pd.DataFrame) -> None:
    """Compare rows and types; texts in the type that Dask's setting ``dataframe.convert-string`` asks for."""
    by = [name for name in ORDER if name in whole]
    expected = whole.astype({name: found.dtypes[name] for name in by})
    pd.testing.assert_frame_equal(*(one.sort_values(by, ignore_index=True) for one in (found, expected)))


def test_the_frame_has_the_rows_and_types_of_fetch(place: Any, client: Client) -> None:
    facts = place.tenant.model("SCALE").facts()
    frame = sacnb.dask.read(facts, partitions=4)
    assert frame.npartitions == 4
    found = frame.compute()
    check(found, facts.fetch().pandas())
    assert frame.dtypes.to_dict() == found.dtypes.to_dict()


def test_a_worker_that_dies_in_a_slice_costs_no_row_and_repeats_none(
    place: Any, client: Client, tmp_path: Path
) -> None:
    facts = place.tenant.model("SCALE").facts(page_size=200)
    marker = tmp_path / "died"
    frame = sacnb.dask.read(facts, partitions=4)
    before = set(client.scheduler_info()["workers"])
    client.run(exec, DIE_ONCE.format(marker=str(marker)), {})
    found = frame.compute()
    assert marker.exists()
    assert set(client.scheduler_info()["workers"]) != before
    check(found, facts.fetch().pandas())


def test_columns_that_are_not_needed_are_not_requested(place: Any, client: Client) -> None:
    frame = sacnb.dask.read(place.tenant.model("SCALE").facts(), partitions=2)
    seen = len(place.sandbox.log)
    total = frame["Quantity"].sum().compute()
    asked = [one.query for one in place.sandbox.log[seen:] if one.rows]
    assert asked
    assert not any("Amount" in query for query in asked)
    assert total == place.tenant.model("SCALE").facts().fetch().pandas()["Quantity"].sum()


def test_neither_the_graph_nor_a_page_of_the_dashboard_holds_a_secret(place: Any, client: Client) -> None:
    frame = sacnb.dask.read(place.tenant.model("SCALE").facts(), partitions=3)
    frame["Quantity"].sum().compute()
    place.refuse_secrets(pickle.dumps(dict(frame.dask)), pickle.dumps(frame), repr(frame).encode())
    port = client.scheduler_info()["services"]["dashboard"]
    for page in ("info/main/workers.html", "info/main/logs.html", "json/counts.json"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=30) as answer:
            place.refuse_secrets(answer.read())


def test_the_id_of_a_model_will_do(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_CLIENT_ID", place.sandbox.client_id)
    monkeypatch.setenv("SAC_TOKEN_URL", place.sandbox.token_url)
    with dask.config.set(scheduler="threads"):
        frame = sacnb.dask.read(
            "SCALE",
            tenant_url=place.sandbox.tenant_url,
            partitions=2,
            dims=["Version", "Date"],
            decimals=True,
            at_once=1,
        )
        found = frame.compute()
    whole = place.tenant.model("SCALE").facts(dims=["Version", "Date"]).fetch().pandas(decimals=True)
    check(found, whole)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"facts": 3}, "a query or the id of a model"),
        ({"profile": "prod"}, "profile cannot be given beside a query"),
        ({"decimals": "yes"}, "decimals"),
        ({"partitions": "many"}, "is not understood"),
    ],
)
def test_arguments_are_checked_at_the_door(place: Any, given: dict[str, Any], match: str) -> None:
    facts = place.tenant.model("SCALE").facts()
    with pytest.raises(QueryError, match=match):
        sacnb.dask.read(**{"facts": facts, "partitions": 2, **given})


def test_an_unknown_member_is_an_error_before_any_task_runs(place: Any) -> None:
    with pytest.raises(UnknownNameError, match="Nowhere"):
        sacnb.dask.read(place.tenant.model("SCALE").facts(where={"Region": "Nowhere"}), partitions=2)
