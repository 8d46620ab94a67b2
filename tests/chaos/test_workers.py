"""One tenant used from many processes: forked, spawned, of joblib, of dask, and of a kernel that is restarted."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sales import sales

import sacnb.sandbox
from sacnb.sandbox import Sandbox

from . import workers
from .workers import STORES, pull, rows_of

CLIENT = {"client_id": "workers", "client_secret": "canary-secret-of-the-workers"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:  # type: ignore[override]
    with sacnb.sandbox.start(models=[sales()], scale_rows=10, **CLIENT) as started:  # type: ignore[arg-type]
        yield started


@pytest.fixture
def address(sandbox: Sandbox) -> dict[str, str]:
    return {"tenant_url": sandbox.tenant_url, "token_url": sandbox.token_url, **CLIENT}


@pytest.fixture
def told(address: dict[str, str], tmp_path: Path) -> dict[str, Any]:
    """What a worker is told: settings without a secret, and the secret beside them."""
    with sacnb.connect(**address, cache_dir=tmp_path / "cache") as tenant:  # type: ignore[arg-type]
        return {"spec": tenant.spec, "client_secret": CLIENT["client_secret"]}


@pytest.fixture
def right(address: dict[str, str], tmp_path: Path) -> dict[str, list[list[str]]]:
    with sacnb.connect(**address, cache_dir=tmp_path / "other") as tenant:  # type: ignore[arg-type]
        return {
            store: rows_of(tenant.model("SALES").facts(where={"Store": store}).fetch(progress=None)) for store in STORES
        }


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other processes import what they are to run."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forks_of_a_connected_process_get_their_own_answers(
    address: dict[str, str], tmp_path: Path, right: dict[str, list[list[str]]]
) -> None:
    """Neither polars nor a socket of the parent is used: each has its own connection and all have its token."""
    command = [sys.executable, str(Path(workers.__file__)), json.dumps(address), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == right


@pytest.mark.long
def test_spawned_processes_share_one_cache(told: dict[str, Any], right: dict[str, list[list[str]]]) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.starmap(pull, [(told, store) for store in STORES for _ in range(2)])
    assert found == [right[store] for store in STORES for _ in range(2)]


@pytest.mark.long
def test_joblib_goes_on_after_a_worker_was_killed(
    told: dict[str, Any], right: dict[str, list[list[str]]], tmp_path: Path
) -> None:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    mark = str(tmp_path / "killed")
    with pytest.raises(TerminatedWorkerError):
        Parallel(n_jobs=2)(delayed(pull)(told, store, mark) for store in STORES)
    assert Parallel(n_jobs=2)(delayed(pull)(told, store, mark) for store in STORES) == [right[s] for s in STORES]


@pytest.mark.long
def test_dask_repeats_what_a_killed_worker_had_begun(
    told: dict[str, Any], right: dict[str, list[list[str]]], tmp_path: Path
) -> None:
    from dask.distributed import Client, LocalCluster

    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}
    with LocalCluster(**options, local_directory=str(tmp_path)) as cluster, Client(cluster) as client:
        futures = client.map(pull, [told] * len(STORES), STORES, [str(tmp_path / "killed")] * len(STORES))
        assert client.gather(futures) == [right[store] for store in STORES]
    assert (tmp_path / "killed").exists()


CELL = """
import os, sacnb, sys
from pathlib import Path
with sacnb.connect(**{address!r}, cache_dir={cache!r}) as tenant:
    def progress(now):
        if {pages} and now.pages == {pages}:
            Path({mark!r}).touch()
            __import__("threading").Event().wait()
    rows = tenant.model("SALES").facts(page_size=20).refresh(progress=progress)
    print("rows", len(rows), "resumed", progress.__name__)
"""


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_kernel_that_is_restarted_in_a_pull_resumes_it(
    address: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    from jupyter_client.manager import start_new_kernel

    told = {"address": address, "cache": str(tmp_path / "cache"), "mark": str(tmp_path / "mark")}
    manager, client = start_new_kernel()
    try:
        client.execute(CELL.format(**told, pages=5))
        for _ in range(600):
            if (tmp_path / "mark").exists():
                break
            with contextlib.suppress(queue.Empty):  # nothing is said while the pull runs
                client.get_shell_msg(timeout=0.1)
        assert (tmp_path / "mark").exists()
        before = sandbox.counts["facts_requests"]
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
        said = []
        reply = client.execute_interactive(CELL.format(**told, pages=0), timeout=60, output_hook=said.append)
        assert reply["content"]["status"] == "ok", said
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    text = "".join(message["content"].get("text", "") for message in said)
    assert "rows 240" in text
    # 12 pages, of which five were kept; and the count.
    assert sandbox.counts["facts_requests"] - before <= 9
