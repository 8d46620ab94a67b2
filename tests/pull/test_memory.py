"""A pull holds a few pages, and nothing of what it has given out or written, however much that is."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sacnb._odata.page import Page, cut_page
from sacnb._tenant import Tenant

PULL = """
import gc, json, re, sys
from pathlib import Path
from types import SimpleNamespace
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with

told = json.loads(sys.argv[1])
settings = Settings.resolve(environ={"SAC_TENANT_URL": "sandbox"}, cache_dir=told["cache_dir"])
facts = connect_with(settings, sandbox=SimpleNamespace(**told["sandbox"])).model("SCALE").facts()

def most_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

seen = []
def progress(now):
    seen.append((now.rows, most_mb()))

gc.disable()  # what waits for the collector is kept as well, perhaps for long
if told["method"] == "stream":
    rows = sum(batch.num_rows for batch in facts.stream(progress=progress))
else:
    rows = facts.to_parquet(told["folder"], progress=progress).row_count
assert rows == 1_000_000
print(json.dumps(seen))
"""


@pytest.mark.timeout(120)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the process's memory off /proc")
@pytest.mark.parametrize(
    ("method", "settled_at"), [("stream", 300_000), pytest.param("to_parquet", 600_000, marks=pytest.mark.long)]
)
def test_memory_is_flat(far_sandbox: Any, tmp_path: Path, method: str, settled_at: int) -> None:
    told = {
        "method": method,
        "folder": str(tmp_path / "x"),
        "cache_dir": str(tmp_path / "cache"),
        "sandbox": vars(far_sandbox),
    }

    def grown_mb() -> float:
        done = subprocess.run(
            [sys.executable, "-c", PULL, json.dumps(told)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        most_mb = dict(json.loads(done.stdout))
        return float(most_mb[1_000_000] - most_mb[settled_at])

    # A page is 8 MB of JSON; what comes after this one is 400,000 rows, or 65 MB, or more. Where the machine is busy, a
    # pull may run a few pages further ahead late; what is kept by mistake is kept by each pull.
    assert grown_mb() < 40 or grown_mb() < 40


@pytest.fixture
def _no_collector() -> Iterator[None]:
    """A cycle of references keeps a page until the garbage collector runs, which may be late."""
    gc.collect()
    gc.freeze()  # what is there before is not looked through again and again
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def pages_alive() -> int:
    return sum(isinstance(one, Page) for one in gc.get_objects())


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("method", ["fetch", "stream", "to_parquet", "refresh"])
def test_no_page_outlives_its_turn(
    sandbox: Any, connect_to: Callable[..., Tenant], tmp_path: Path, method: str
) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(page_size=200)
    before, most = pages_alive(), 0

    def look(_: object) -> None:
        nonlocal most
        most = max(most, pages_alive() - before)

    match method:
        case "stream":
            rows = sum(batch.num_rows for batch in facts.stream(progress=look))
        case "to_parquet":
            rows = facts.to_parquet(tmp_path / "x", progress=look).row_count
        case _:
            rows = len(getattr(facts, method)(progress=look))
    assert rows == 3420  # 18 pages
    assert most < 8
    assert pages_alive() == before
    one = cut_page(b'{"value":[]}')
    assert pages_alive() == before + 1, f"{one} is not seen, so that nothing was looked at"
