"""Dask reads slices in processes of its own: the rows of ``fetch()``, and no secret in what it sends around."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import dask
import pandas as pd
import pytest
import requests
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context
from engines import DIE_ONCE, connected

import sacnb.dask
from sacnb.errors import QueryError, UnknownNameError

ORDER = ["Version", "Date", "Region", "Channel", "Product", "Customer"]


@pytest.fixture(scope="module")
def client(place: Any) -> Iterator[Client]:
    """Two worker processes of one thread; they inherit the environment, and so the secret.

    They are forked from a process that has imported what they need.
    """
    config = {
        "distributed.worker.memory.terminate": False,
        "distributed.comm.timeouts.connect": "60s",
        "distributed.worker.multiprocessing-method": "forkserver",
    }
    with dask.config.set(config):
        get_mp_context().set_forkserver_preload(["distributed", "dask.dataframe", "sacnb.dask", "sacnb._slices.read"])
        with (
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


def test_workers_share_the_streams_as_the_server_counts_them(place: Any, client: Client, tmp_path: Path) -> None:
    slices = connected(place.sandbox, tmp_path, streams=1).model("SCALE").facts(page_size=200).partitions(2)
    client.wait_for_workers(2)
    client.run(rows_in, slices[0].narrowed([]))  # so that both are connected, and begin at the same time below
    seen, latency_s = len(place.sandbox.log), 0.05
    place.sandbox.latency_s = latency_s
    try:
        pairs = zip(slices, client.nthreads(), strict=True)
        asked = [client.submit(rows_in, one, workers=[worker], pure=False) for one, worker in pairs]
        assert client.gather(asked) == [one.expected_rows for one in slices]
    finally:
        place.sandbox.latency_s = 0.0
    pages = [one for one in place.sandbox.log[seen:] if one.kind == "facts" and one.rows > 1]
    early = {parse_qs(one.query)["$filter"][0] for one in pages[: len(pages) // 2]}
    assert len(early) == 2, "the workers took turns, and did not come one after the other"
    # Each page was under way for as long as the server waited, or longer.
    lasted_s = (pages[-1].at - pages[0].at).total_seconds() + latency_s
    assert len(pages) * latency_s / lasted_s < 1.3, "on average one request was under way, of two workers"


def rows_in(one: Any) -> int:
    return int(sacnb.read_slice(one).read_all().num_rows)


def test_neither_the_graph_nor_the_cluster_nor_a_page_of_its_dashboard_holds_a_secret(
    place: Any, client: Client, tmp_path: Path
) -> None:
    frame = sacnb.dask.read(place.tenant.model("SCALE").facts(), partitions=3)
    kept = frame.persist()
    kept["Quantity"].sum().compute()
    (one,) = place.tenant.model("SCALE").facts().partitions(1)
    task = client.submit(rows_in, one, key="a-slice")
    assert task.result() == 3_000
    place.refuse_secrets(
        pickle.dumps(dict(frame.dask)), pickle.dumps(frame), repr(frame).encode(), frame._repr_html_().encode()
    )
    # What scheduler and workers know of tasks, their story, events and log lines.
    client.dump_cluster_state(str(tmp_path / "state"), format="yaml", exclude=())
    state = (tmp_path / "state.yaml").read_bytes()
    assert b"a-slice" in state
    place.refuse_secrets(state)
    dashboard = f"http://127.0.0.1:{client.scheduler_info()['services']['dashboard']}/"
    paths = requests.get(f"{dashboard}sitemap.json", timeout=30).json()["paths"]
    worker = quote(next(iter(client.nthreads())), safe="")
    # Routes of one task or one worker stand there as patterns.
    pages = [path.replace("(.*)", "a-slice" if "/task/" in path else worker) for path in paths]
    pages = [path for path in pages if path.endswith((".html", ".json")) and "/call-stack/" not in path]
    assert {"/info/task/a-slice.html", "/info/main/logs.html", f"/info/logs/{worker}.html"} <= set(pages)
    for page in pages:
        answer = requests.get(dashboard + page.lstrip("/"), timeout=30)
        assert answer.status_code == 200, page
        place.refuse_secrets(answer.content)


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
