"""One tenant used from many processes: forked, spawned, of joblib, of dask, and of a kernel that is restarted."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import forking
import pytest
from sales import sales

import sacnb.sandbox
from sacnb.sandbox import Sandbox

from . import workers
from .workers import STORES, rows_of

CLIENT = {"client_id": "workers", "client_secret": "canary-secret-of-the-workers"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sacnb.sandbox.start(models=[sales()], scale_rows=10, **CLIENT) as started:
        yield started


@pytest.fixture
def address(sandbox: Sandbox) -> dict[str, str]:
    return {"tenant_url": sandbox.tenant_url, "token_url": sandbox.token_url, **CLIENT}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system neither forks nor kills so")
@pytest.mark.parametrize(
    "how", ["forked", *(pytest.param(one, marks=pytest.mark.long) for one in ("spawned", "joblib", "dask"))]
)
def test_every_process_gets_its_own_answers_also_where_one_was_killed(
    how: str, address: dict[str, str], tmp_path: Path
) -> None:
    """Forks use neither polars nor a socket of their parent; the others share its cache."""
    mark = tmp_path / "killed" if how in {"joblib", "dask"} else None
    told = {"address": address, "cache": str(tmp_path / "cache"), "mark": str(mark or "")}
    command = [sys.executable, str(Path(workers.__file__)), how, json.dumps(told)]
    if how == "forked":
        done = forking.run(command, text=True, timeout=100)
    else:  # their workers import what the program is
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    with sacnb.connect(**address, cache_dir=tmp_path / "other") as tenant:
        model = tenant.model("SALES")
        right = [rows_of(model.facts(where={"Store": store}).fetch(progress=None)) for store in STORES]
    assert json.loads(done.stdout) == right
    assert mark is None or mark.exists()


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
